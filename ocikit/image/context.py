"""The circumstances of a call that are no part of a reference: paths, choices, preferences. Only data."""

from __future__ import annotations

import re

from attrs import field, frozen

__all__ = ["SystemContext"]


def _without_user(host: str | None) -> str:
    """Show an address without what may be a password: such an address is refused where it is used."""
    if host is None or host.startswith("unix:///"):
        return repr(host)
    return repr(re.sub(r"^(\w+://)?.*@", r"\1…@", host, flags=re.DOTALL))


@frozen(kw_only=True)
class SystemContext:
    """The circumstances of a call that are no part of a reference: paths, choices, preferences.

    Every field has a default that suits a plain call; source and destination of a copy may have different ones.

    Attributes:
        root_for_implicit_absolute_paths: A prefix for every path that is implied rather than given
            (``/etc/containers/policy.json``).
        signature_policy_path: The signature policy to use in place of the default files.
        registries_dir_path: The directory that says where the signatures of images in registries are kept, in place of
            the default ones (``registries.d``).
        os_choice: The operating system to choose from an index, in place of the running one.
        architecture_choice: The architecture to choose from an index, in place of the running one (GOARCH names).
        variant_choice: The variant of the architecture to choose from an index (``v8``).
        big_files_temporary_dir: Where large temporary files go; None for ``$TMPDIR``, else ``/var/tmp``.
        oci_shared_blob_dir_path: A directory that ``oci`` layouts keep their blobs in, in place of their own ``blobs``.
            Nothing is ever deleted from it: other layouts may use what is there.
        destination_timestamp: The time of the files in an archive that is written, in seconds since the epoch. A
            constant, so that equal images give equal archives.
        compression_format: The format that layers are to have at a destination (``gzip``, ``zstd``); None keeps them as
            they are. A destination asks for it; whoever copies does it or refuses.
        compression_level: The level for that format; None for the format's default.
        archive_compression: How an archive that is written is compressed as a whole (``gzip``, ``zstd``, ``bzip2``,
            ``xz``); None for not at all, as its layers mostly are compressed.
        dir_force_compress: Whether plain layers are compressed on their way into a ``dir`` directory.
        dir_force_decompress: Whether layers are decompressed on their way into a ``dir`` directory.
        docker_archive_additional_tags: Further names, ``name:tag`` each, that an image gets in a ``docker-archive``.
        docker_daemon_host: Where a Docker API is served (``unix:///run/podman/podman.sock``, ``tcp://127.0.0.1:2375``);
            None for ``$DOCKER_HOST``, else ``unix:///var/run/docker.sock``.
        docker_daemon_cert_path: A directory with ``ca.pem``, ``cert.pem`` and ``key.pem`` for a Docker API behind TLS.
        docker_daemon_insecure_skip_tls_verify: Whether the certificate of a Docker API is taken unseen.
    """

    root_for_implicit_absolute_paths: str | None = None
    signature_policy_path: str | None = None
    registries_dir_path: str | None = None
    os_choice: str | None = None
    architecture_choice: str | None = None
    variant_choice: str | None = None
    big_files_temporary_dir: str | None = None
    oci_shared_blob_dir_path: str | None = None
    destination_timestamp: int = 0
    compression_format: str | None = None
    compression_level: int | None = None
    archive_compression: str | None = None
    dir_force_compress: bool = False
    dir_force_decompress: bool = False
    docker_archive_additional_tags: tuple[str, ...] = ()
    docker_daemon_host: str | None = field(default=None, repr=_without_user)
    docker_daemon_cert_path: str | None = None
    docker_daemon_insecure_skip_tls_verify: bool = False
