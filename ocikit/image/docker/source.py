"""An image in a registry, read. The first place that serves its manifest is asked for the rest, and others after it."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

from ocikit._fs import ProcessLocks
from ocikit.errors import (
    BlobNotFoundError,
    ImageNotFoundError,
    MissingDependencyError,
)
from ocikit.image.conversion.digests import manifest_digest
from ocikit.image.docker.attaching import read_signatures
from ocikit.image.docker.blobs import open_blob
from ocikit.image.docker.lists import list_referrers
from ocikit.image.docker.manifests import get_manifest
from ocikit.image.docker.places import by_anybody, clients_to_read
from ocikit.image.manifest import normalise_media_type
from ocikit.image.types import ImageSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocikit.image.docker.client import RegistryClient
    from ocikit.image.docker.manifests import ServedManifest
    from ocikit.image.reference import Named
    from ocikit.image.types import BlobInfo, ByteStream, ImageReference, SystemContext
    from ocikit.spec import Descriptor, Digest

__all__ = ["DockerSource", "open_repositories"]

_log = logging.getLogger(__name__)

# The images that are being read: whoever writes to the same registry can take their blobs over without sending them.
_open: weakref.WeakSet[DockerSource] = weakref.WeakSet()
_guard = ProcessLocks()


def open_repositories(client: RegistryClient) -> tuple[str, ...]:
    """Return the repositories that images are being read from in this process, where they are of use to somebody.

    Args:
        client: Who would like to take blobs over: from the same registry, with the same credentials. What others read
            is nothing that a registry should hear of from this one.
    """
    with _guard.of():
        sources = tuple(_open)
    clients = [one.client for one in sources if one.client.endpoint.host == client.endpoint.host]
    found = [one.endpoint.reference.path for one in clients if one.credentials == client.credentials]
    return tuple(dict.fromkeys(found))


class DockerSource(ImageSource):
    """An image in a registry.

    Args:
        reference: What it was opened from.
        named: Its name.
        sys: The circumstances.

    Raises:
        ImageNotFoundError: Nobody has it.
        DigestMismatchError: Who has it has something else.
        RegistryError: Those who could have it refuse, or cannot be reached.
    """

    def __init__(self, reference: ImageReference, named: Named, sys: SystemContext | None) -> None:
        self._reference = reference
        self._named = named
        self._sys = sys
        self._all = clients_to_read(named, sys)
        self._clients: Sequence[RegistryClient] = self._all
        self._manifest = self._by_anybody(lambda client: get_manifest(client, str(named.digest or named.tag)))
        with _guard.of():
            _open.add(self)

    @property
    def client(self) -> RegistryClient:
        """Who is asked first."""
        return self._clients[0]

    @property
    def reference(self) -> ImageReference:
        """See :class:`ImageSource`."""
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        """Every blob has a connection of its own."""
        return True

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        """See :class:`ImageSource`."""
        if instance is None:
            return self._manifest.data, self._manifest.media_type
        try:
            served = self._by_anybody(lambda client: get_manifest(client, str(instance)))
        except ImageNotFoundError as error:
            raise BlobNotFoundError(str(error)) from error
        return served.data, served.media_type

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        """See :class:`ImageSource`. A stream that breaks goes on where it was, with another place if need be."""
        return self.get_blob_from(info, 0)

    @property
    def resumes_blobs(self) -> bool:
        """By Range; where a registry does not know that, what was there is passed over."""
        return True

    def get_blob_from(self, info: BlobInfo, offset: int) -> tuple[ByteStream, int]:
        """See :class:`ImageSource`."""
        if info.digest is None:
            raise BlobNotFoundError(f"{self._reference}: a blob is found by its digest, and none was given")
        return open_blob(self._clients, info.digest, info.size, offset=offset)

    def get_signatures(self, instance: Digest | None = None) -> tuple[bytes, ...]:
        """See :class:`ImageSource`. Where they are is said by registries.d, for the name of the image."""
        try:
            return read_signatures(self.client, self._named, self._digest(instance), self._sys)
        except MissingDependencyError as error:
            # Without its signatures an image is allowed less, never more.
            _log.warning("%s: signatures are not looked for: %s", self._reference, error)
            return ()

    def get_referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """See :class:`ImageSource`."""
        return list_referrers(self.client, subject)

    def interrupt(self) -> None:
        """See :class:`ImageSource`."""
        for client in self._all:
            client.call.cancel()

    def close(self) -> None:
        """See :class:`ImageSource`; connections stay for others."""
        with _guard.of():
            _open.discard(self)

    def _digest(self, instance: Digest | None) -> Digest:
        if instance is not None:
            return instance
        data, served = self.get_manifest()
        return self._named.digest or manifest_digest(data, normalise_media_type(served, data))

    def _by_anybody(self, ask: Callable[[RegistryClient], ServedManifest]) -> ServedManifest:
        """Ask one place after the other; who answers is asked first from then on."""
        found, self._clients = by_anybody(self._clients, ask)
        return found
