"""The signatures of an image in a registry, read from and written to the lookaside store that is configured for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import LimitExceededError, NotSupportedError
from ocikit.image.lookaside.fetching import fetch_signatures
from ocikit.image.lookaside.files import delete_files, read_files, write_files
from ocikit.image.lookaside.stores import Store, parts_of
from ocikit.image.registries_d.reading import signature_storage
from ocikit.image.stored_signature import MAX_SIGNATURE_BYTES, MAX_SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.image.context import SystemContext
    from ocikit.image.reference import Named
    from ocikit.spec import Digest

__all__ = ["delete_signatures", "read_signatures", "write_signatures"]


def read_signatures(named: Named, digest: Digest, sys: SystemContext | None = None) -> tuple[bytes, ...]:
    """Return the signatures that the lookaside store for an image has, each as it is stored; **not verified**.

    Args:
        named: The image; its tag or digest matters only for which store it is.
        digest: The digest of its manifest, or of one that it lists.
        sys: Where the stores are configured.

    Raises:
        LayoutError: The configuration is malformed, or something else is where signatures are expected.
        NotSupportedError: The store is of a kind that is not read.
        TransportError: The store does not answer as it should.
        LimitExceededError: There are more than 128, one is larger than 4 MiB, or all of them larger than 32 MiB.
        MissingDependencyError: PyYAML is needed and not installed.
        OSError: A file cannot be read.
    """
    store = Store.parse(signature_storage(named, sys))
    parts = parts_of(named.path, digest)
    if store.path is not None:
        return read_files(store.path, parts)
    return fetch_signatures("/".join((store.url, *parts)), store.credentials)


def write_signatures(
    named: Named, digest: Digest, signatures: Iterable[bytes], sys: SystemContext | None = None
) -> None:
    """Have the lookaside store for an image hold these signatures, and no others; durable when this returns.

    Those that are there already stay where they are, new ones come behind them.

    Args:
        named: The image.
        digest: The digest of its manifest, or of one that it lists.
        signatures: The signatures, each as it is stored; those that are there twice are written once.
        sys: Where the stores are configured.

    Raises:
        NotSupportedError: The store is behind HTTP, where nothing is written.
        Exception: As :func:`read_signatures`.
    """
    path, parts = _writable(named, sys), parts_of(named.path, digest)
    wanted = tuple(dict.fromkeys(signatures))
    if len(wanted) > MAX_SIGNATURES:
        raise LimitExceededError(f"signatures of {named.name}@{digest}", MAX_SIGNATURES, len(wanted))
    for blob in wanted:
        if len(blob) > MAX_SIGNATURE_BYTES:
            raise LimitExceededError("bytes of a signature", MAX_SIGNATURE_BYTES, len(blob))
    if wanted:
        write_files(path, parts, wanted)
    else:
        delete_files(path, parts)


def delete_signatures(named: Named, digest: Digest, sys: SystemContext | None = None) -> bool:
    """Remove the signatures of an image from its lookaside store; say whether there were any.

    Args:
        named: The image.
        digest: The digest of its manifest, or of one that it lists.
        sys: Where the stores are configured.

    Raises:
        NotSupportedError: The store is behind HTTP, where nothing is removed.
        Exception: As :func:`read_signatures`.
    """
    return delete_files(_writable(named, sys), parts_of(named.path, digest))


def _writable(named: Named, sys: SystemContext | None) -> bytes:
    store = Store.parse(signature_storage(named, sys, write=True))
    if store.path is None:
        raise NotSupportedError(
            f"{named.name}: the lookaside store {store.url} is only read; configure a directory to write to, "
            "lookaside-staging: file:///…, in registries.d"
        )
    return store.path
