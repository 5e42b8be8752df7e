"""The circumstances of a call that are no part of a reference: paths, choices, preferences. Only data."""

from __future__ import annotations

import enum
import re

from attrs import field, frozen

__all__ = ["DockerAuthConfig", "RetryPolicy", "ShortNameMode", "SystemContext"]


def _without_user(host: str | None) -> str:
    """Show an address without what may be a password: such an address is refused where it is used."""
    if host is None or host.startswith("unix:///"):
        return repr(host)
    return repr(re.sub(r"^(\w+://)?.*@", r"\1…@", host, flags=re.DOTALL))


def _unless_secret(value: str | None) -> str:
    """Show whether there is a secret, and nothing of it."""
    return "…" if value else repr(value)


class ShortNameMode(enum.Enum):
    """What happens to a name without a registry that stands for several images (containers-registries.conf(5))."""

    #: All search registries are candidates, in their order.
    DISABLED = "disabled"
    #: The same here, as nobody is ever asked; programs with a terminal ask.
    PERMISSIVE = "permissive"
    #: More than one candidate is an error.
    ENFORCING = "enforcing"


@frozen(kw_only=True)
class DockerAuthConfig:
    """What to show a registry. Secrets are in no repr.

    Attributes:
        username: The name of the user.
        password: The password.
        identity_token: A token that stands for both, which the token server of a registry has given.
    """

    username: str = ""
    password: str = field(default="", repr=_unless_secret)
    identity_token: str = field(default="", repr=_unless_secret)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.username or self.password or self.identity_token)


@frozen(kw_only=True)
class RetryPolicy:
    """How often, and after what time, a registry is asked again that fails or cannot be reached.

    Attributes:
        attempts: How many tries there are in all, at least 1. A blob of which something came begins to count anew.
        delay: The time before the second try, in seconds; it doubles each time.
        longest_delay: What it grows to. A registry that wants to be left alone for longer is not asked again.
    """

    attempts: int = 6
    delay: float = 0.5
    longest_delay: float = 60.0


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
        system_registries_conf_path: The file to use in place of registries.conf of the user and of the system.
        system_registries_conf_dir_path: The directory of drop-ins to use in place of registries.conf.d of both.
        short_name_mode: What happens to ambiguous short names, in place of what registries.conf says.
        user_short_name_alias_conf_path: Where recorded short names are, in place of the file of the user.
        docker_auth_config: The credentials for registries, in place of all that are stored. Not for mirrors with
            another host.
        docker_bearer_registry_token: A bearer token for registries, in place of asking for one.
        auth_file_path: The file with credentials, in place of auth.json of the user and the files of Docker. Excludes
            the next two.
        docker_compat_auth_file_path: A file with credentials that Docker uses too; written so that it can.
        legacy_format_auth_file_path: A file with credentials in the format of ``.dockercfg``; only read.
        docker_use_creds_store: Whether the ``credsStore`` of a file with credentials is asked too, as Docker does.
        docker_cert_path: A directory with certificates for every registry.
        docker_per_host_cert_dir_path: A directory of directories with certificates, one for each ``host[:port]``, in
            place of the default ones.
        docker_retry: How often a registry is asked again.
        docker_timeout: How long a registry may say nothing, in seconds.
        docker_proxy_url: The proxy for registries, in place of those that the environment names (``HTTPS_PROXY``, …).
        docker_registry_user_agent: What we call ourselves, in place of ``ocikit/VERSION``.
        docker_insecure_skip_tls_verify: Whether certificates of registries are taken unseen; None leaves that to
            registries.conf.
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
    system_registries_conf_path: str | None = None
    system_registries_conf_dir_path: str | None = None
    short_name_mode: ShortNameMode | None = None
    user_short_name_alias_conf_path: str | None = None
    docker_auth_config: DockerAuthConfig | None = None
    docker_bearer_registry_token: str | None = field(default=None, repr=_unless_secret)
    auth_file_path: str | None = None
    docker_compat_auth_file_path: str | None = None
    legacy_format_auth_file_path: str | None = None
    docker_use_creds_store: bool = False
    docker_cert_path: str | None = None
    docker_per_host_cert_dir_path: str | None = None
    docker_insecure_skip_tls_verify: bool | None = None
    docker_daemon_host: str | None = field(default=None, repr=_without_user)
    docker_daemon_cert_path: str | None = None
    docker_daemon_insecure_skip_tls_verify: bool = False
    docker_retry: RetryPolicy = RetryPolicy()
    docker_timeout: float = 60.0
    docker_proxy_url: str | None = field(default=None, repr=_without_user)
    docker_registry_user_agent: str | None = None
