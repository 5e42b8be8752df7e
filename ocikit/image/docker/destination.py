"""An image written to a registry: blobs, what an index lists, signatures, and at the very end what makes it visible."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.errors import (
    ImageNotFoundError,
    LayoutError,
    ManifestTypeRejectedError,
    RegistryError,
    UploadLostError,
)
from ocikit.image.conversion.digests import manifest_digest, verify_manifest
from ocikit.image.docker.attaching import put_referrer, write_signatures
from ocikit.image.docker.blobs import blob_size
from ocikit.image.docker.client import RegistryClient
from ocikit.image.docker.manifests import get_manifest, put_manifest
from ocikit.image.docker.places import client_to_write
from ocikit.image.docker.source import open_repositories
from ocikit.image.docker.uploads import mount_blob, upload_blob, wait_for_another
from ocikit.image.manifest import check_size, guess_media_type, normalise_media_type
from ocikit.image.types import ImageDestination, LayerCompression
from ocikit.spec import Descriptor, Digest, mediatypes

if TYPE_CHECKING:
    from ocikit.image.reference import Named
    from ocikit.image.types import BlobInfo, ByteStream, ImageReference, SystemContext

__all__ = ["DockerDestination"]

_ACCEPTED = (
    mediatypes.IMAGE_MANIFEST,
    mediatypes.IMAGE_INDEX,
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_MANIFEST_LIST,
)
# How registries say that they do not take manifests of a type: old ones know schema 2 only, or take no indexes.
_REJECTIONS = frozenset({"MANIFEST_INVALID", "TAG_INVALID", "UNSUPPORTED"})
_UNSUPPORTED_MEDIA_TYPE = 415


class DockerDestination(ImageDestination):
    """A place for one image in a registry.

    Args:
        reference: What it was opened from.
        named: The name that the image gets; with neither tag nor digest, none.
        sys: The circumstances.
    """

    def __init__(self, reference: ImageReference, named: Named, sys: SystemContext | None) -> None:
        self._reference = reference
        self._named = named
        self._sys = sys
        self._client = client_to_write(named, sys)
        self._manifest: bytes | None = None
        self._signatures: list[tuple[Digest | None, tuple[bytes, ...]]] = []
        self._described: dict[Digest, Descriptor] = {}
        self._referrers: list[bytes] = []
        self._required: Digest | None = None
        self._neighbours: dict[str, RegistryClient] = {}
        self._guard = threading.Lock()
        self._lost: Counter[Digest | None] = Counter()

    @property
    def reference(self) -> ImageReference:
        """See :class:`ImageDestination`."""
        return self._reference

    @property
    def supported_manifest_mime_types(self) -> tuple[str, ...]:
        """What registries know; one that does not says so when it is put."""
        return _ACCEPTED

    @property
    def supports_signatures(self) -> bool:
        """Whether those of sigstore are taken is said by registries.d."""
        return True

    @property
    def desired_layer_compression(self) -> LayerCompression:
        """As they are, unless a format is asked for."""
        is_asked = self._sys is not None and self._sys.compression_format is not None
        return LayerCompression.COMPRESS if is_asked else LayerCompression.PRESERVE

    @property
    def accepts_foreign_layer_urls(self) -> bool:
        """Layers may be elsewhere."""
        return True

    @property
    def has_thread_safe_put_blob(self) -> bool:
        """Every blob has a connection of its own."""
        return True

    def put_blob(self, stream: ByteStream, info: BlobInfo, *, is_config: bool = False) -> BlobInfo:
        """See :class:`ImageDestination`."""
        del is_config
        try:
            return upload_blob(self._client, stream, info)
        except UploadLostError as error:
            with self._guard:
                self._lost[info.digest] += 1
                times = self._lost[info.digest]
            wait_for_another(self._client, times, error)
            raise

    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        """See :class:`ImageDestination`. What another repository of the registry has is taken over from there."""
        del can_substitute
        if info.digest is None:
            return None
        size = blob_size(self._client, info.digest)
        if size is None:
            return evolve(info) if info.size >= 0 and self._mounted(info.digest) else None
        if size >= 0 and 0 <= info.size != size:
            return None
        return evolve(info, size=size if size >= 0 else info.size)

    def put_manifest(self, manifest: bytes, instance: Digest | None = None) -> None:
        """See :class:`ImageDestination`."""
        what = f"manifest for {self._reference}" + (f", instance {instance}" if instance is not None else "")
        check_size(manifest, what)
        if instance is None:
            # One that was rejected in its type comes in another one, with signatures of its own.
            self._manifest = manifest
            self._signatures = [one for one in self._signatures if one[0] is not None]
            return
        instance.verify(manifest, what=what)
        media_type = guess_media_type(manifest)
        self._put(str(instance), manifest, media_type)
        self._described[instance] = Descriptor(media_type=media_type, digest=instance, size=len(manifest))

    def put_signatures(self, signatures: tuple[bytes, ...], instance: Digest | None = None) -> None:
        """See :class:`ImageDestination`. They are added to those that are there."""
        if signatures:
            self._signatures.append((instance, signatures))

    def require_manifest(self, digest: Digest) -> None:
        """See :class:`ImageDestination`."""
        self._required = digest

    @property
    def supports_referrers(self) -> bool:
        """Where a registry keeps no list of them, it is kept in a tag."""
        return True

    def put_referrer(self, manifest: bytes) -> None:
        """See :class:`ImageDestination`."""
        self._referrers.append(manifest)

    def commit(self) -> None:
        """See :class:`ImageDestination`. The manifest gets its tag when all that belongs to it is there."""
        if self._manifest is None and not self._referrers and not self._signatures:
            raise LayoutError(f"{self._reference}: nothing to commit: no manifest was put")
        top = self._top() if self._manifest is not None else None
        if top is not None and self._manifest is not None and self._is_referred_to:
            # Whether it is taken at all is known before anything that speaks of it is there.
            self._put(str(top.digest), self._manifest, top.media_type)
        for instance, signatures in self._signatures:
            subject = top if instance is None and top is not None else self._subject(instance)
            write_signatures(self._client, self._named, subject, signatures, self._sys)
        for referrer in self._referrers:
            put_referrer(self._client, referrer)
        if top is not None and self._manifest is not None:
            name = self._named.tag or str(self._named.digest or top.digest)
            self._put(name, self._manifest, top.media_type)

    def interrupt(self) -> None:
        """See :class:`ImageDestination`."""
        for client in (self._client, *self._neighbours.values()):
            client.call.cancel()

    def close(self) -> None:
        """See :class:`ImageDestination`; connections stay for others."""

    @property
    def _is_referred_to(self) -> bool:
        return bool(self._referrers) or any(instance is None for instance, _ in self._signatures)

    def _put(self, reference: str, manifest: bytes, media_type: str) -> None:
        try:
            put_manifest(self._client, reference, manifest, media_type)
        except RegistryError as error:
            if error.code in _REJECTIONS or error.status == _UNSUPPORTED_MEDIA_TYPE:
                raise ManifestTypeRejectedError(f"{media_type}: {error}") from error
            raise

    def _top(self) -> Descriptor:
        data = self._manifest or b""
        digest = Digest.from_bytes(data, self._named.digest.algorithm if self._named.digest is not None else "sha256")
        return Descriptor(media_type=guess_media_type(data), digest=digest, size=len(data))

    def _subject(self, instance: Digest | None) -> Descriptor:
        """Return a manifest that was put, or is there: what the name leads to, or what an index there lists."""
        if instance is not None and instance in self._described:
            return self._described[instance]
        name = str(instance or self._named.digest or self._named.tag)
        served = get_manifest(self._client, name)
        media_type = normalise_media_type(served.media_type, served.data)
        digest = instance or self._named.digest or manifest_digest(served.data, media_type)
        verify_manifest(digest, served.data, media_type, what=f"manifest {name} of {self._client.endpoint}")
        if instance is None and self._required not in {None, digest}:
            raise ImageNotFoundError(
                f"{self._reference}: expected {self._required}, which is to be signed, found {digest}; another image "
                "has got the name meanwhile"
            )
        return Descriptor(media_type=media_type, digest=digest, size=len(served.data))

    def _mounted(self, digest: Digest) -> bool:
        endpoint = self._client.endpoint
        for repository in open_repositories(self._client):
            is_other = repository != endpoint.reference.path
            if is_other and mount_blob(self._reading_too(repository), digest, repository):
                return True
        return False

    def _reading_too(self, repository: str) -> RegistryClient:
        """Return who may write here and read in another repository; one for all blobs, that asks once how to."""
        if repository not in self._neighbours:
            scope = f"repository:{repository}:pull"
            made = RegistryClient(self._client.endpoint, "pull,push", more=(scope,))
            return self._neighbours.setdefault(repository, made)
        return self._neighbours[repository]
