"""Transport ``containers-storage``: images in the stores of podman, buildah and CRI-O; they are read, not written.

``[driver@graphroot+runroot:options]name[:tag][@digest][@id]``; what stands in brackets may be shorter, or left out for
the store of this machine or user (storage.conf). A name is completed as Docker does it. An id has 64 hexadecimal
digits; three of them will do when the store has one image that begins with them.

Manifests are those that the images came with. Their layers were unpacked: what the store gives is the plain tar stream
of each, of another digest than the manifest mostly has, so that ``layer_infos_for_copy`` says what there is.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from ocikit.errors import (
    BlobNotFoundError,
    ImageError,
    ImageNotFoundError,
    InvalidDigestError,
    InvalidReferenceError,
    LayoutError,
    NotSupportedError,
)
from ocikit.image.found import FoundImage
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.image.reference import parse_normalized_named
from ocikit.image.storage.conf import StoreLocation, default_location
from ocikit.image.storage.store import Store
from ocikit.image.types import BlobInfo, ImageReference, ImageSource, ImageTransport
from ocikit.spec import Descriptor, Digest, DockerManifest, DockerManifestList, Index, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.reference import Named
    from ocikit.image.storage.records import ImageRecord
    from ocikit.image.types import ByteStream, ImageDestination, SystemContext

__all__ = ["TRANSPORT", "StorageReference", "list_store"]

_ID: Final = re.compile(r"[0-9a-f]{64}")
_SHORT_ID: Final = re.compile(r"[0-9a-f]{3,63}")
_MANIFEST: Final = "manifest"
_SOME: Final = 10
_COPY_HINT: Final = "copy the image there with the tool that owns the store"


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "containers-storage"

    def parse_reference(self, reference: str) -> StorageReference:
        location, text = _split_store(reference)
        implied = location is None
        place = location if location is not None else default_location()
        if not text:
            raise InvalidReferenceError(f"{reference!r}: expected the name or the id of an image, found nothing")
        named, id_ = _parse_image(text, place, reference)
        return StorageReference(store=place, is_store_implied=implied, named=named, id=id_)

    def list_images(self, place: str, sys: SystemContext | None = None) -> Iterator[FoundImage]:
        """Yield the images in a store, those with several names several times; one without goes by its id.

        Args:
            place: As for :func:`list_store`; or an image, which then is the only one.
            sys: The circumstances.

        Raises:
            InvalidReferenceError: The text is neither a store nor an image.
            LayoutError: It is no store, or damaged.
            OSError: It cannot be opened.
        """
        if _split_store(place)[1]:
            one = self.parse_reference(place)
            yield FoundImage(reference=one, name=str(one.named) if one.named is not None else one.id)
            return
        for _, name, reference, _ in list_store(place, sys):
            yield FoundImage(reference=reference, name=name if name is not None else reference.id)

    def image_in(self, place: str, name: str) -> StorageReference:
        """Return the reference for an image of a name in a store.

        Args:
            place: The store in brackets; empty for the one of this machine or user.
            name: The name.

        Raises:
            InvalidReferenceError: It is not the name of an image.
        """
        return self.parse_reference(f"{place}{name}")

    def validate_policy_configuration_scope(self, scope: str) -> None:
        store, bracket, rest = scope.removeprefix("[").partition("]")
        driver, at, graph_root = store.partition("@") if "@" in store else ("", "", store)
        if not scope.startswith("[") or not bracket or (at and not driver) or not graph_root.startswith("/"):
            raise ValueError(f"{scope!r} can never match: expected [driver@graphroot] or [graphroot], an absolute path")
        _, *marks = rest.split("@", 2)
        *digests, last = marks or [""]
        if last and not _ID.fullmatch(last):
            digests.append(last)
        if len(digests) > 1 or (marks and not last) or not all(map(_is_digest, digests)):
            raise ValueError(f"{scope!r} can never match: expected name[:tag][@digest][@id] behind the store")


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class StorageReference(ImageReference):
    """An image in a store.

    Attributes:
        store: Where the store is.
        is_store_implied: Whether that is what storage.conf says, and not the reference.
        named: The name of the image; None for none.
        id: Its id, in full; empty for none.
    """

    store: StoreLocation
    is_store_implied: bool = field(default=False, eq=False)
    named: Named | None
    id: str = ""

    @property
    def transport(self) -> ImageTransport:
        """``containers-storage``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """The store in brackets, and the name and id of the image."""
        return f"{self.store.specifier}{self._image}"

    @property
    def _image(self) -> str:
        return f"{self.named or ''}" + (f"@{self.id}" if self.id else "")

    @property
    def docker_reference(self) -> Named | None:
        """The name of the image."""
        return self.named

    @property
    def policy_configuration_identity(self) -> str:
        """``[driver@graphroot]`` and the name and id of the image (containers-policy.json(5))."""
        return f"{self._scope}{self._image}"

    @property
    def _scope(self) -> str:
        return f"[{self.store.driver}@{self.store.graph_root}]"

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        """The name without the id, the repository and what is above it, then the store alone."""
        spaces = []
        if self.named is not None:
            spaces += [f"{self._scope}{self.named}"] if self.id else []
            parts = self.named.name.split("/")
            spaces += [f"{self._scope}{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
        return (*spaces, self._scope, f"[{self.store.graph_root}]")

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        """See :class:`ImageReference`. While it is open nobody can change the layers of the store.

        Raises:
            TimeoutError: Somebody writes the store and does not end.
        """
        location = default_location(sys) if self.is_store_implied else self.store
        reference = evolve(self, store=location)
        store = Store(location)
        try:
            image = _find(store, reference)
            return _Source(evolve(reference, id=image.id), store, image)
        except BaseException:
            store.close()
            raise

    def new_image_destination(self, sys: SystemContext | None = None) -> ImageDestination:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: stores are read and not written; {_COPY_HINT}")

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: stores are read and not written; remove the image with `podman rmi`")


def _split_store(reference: str) -> tuple[StoreLocation | None, str]:
    if not reference.startswith("["):
        return None, reference
    text, bracket, rest = reference[1:].partition("]")
    if not bracket:
        raise InvalidReferenceError(f"{reference!r}: the store in brackets has no end")
    return StoreLocation.parse(text, reference), rest


def _is_digest(text: str) -> bool:
    try:
        Digest(text)
    except InvalidDigestError:
        return False
    return True


def _parse_image(text: str, store: StoreLocation, reference: str) -> tuple[Named | None, str]:
    name, at, last = text.rpartition("@")
    if not at:
        whole = _complete_id(text, store) if _SHORT_ID.fullmatch(text) else None
        return (None, whole) if whole is not None else (_tagged(text), "")
    if ":" in last:
        if not name:
            raise InvalidReferenceError(f"{reference!r}: expected a name before the digest, found none")
        return parse_normalized_named(text), ""
    id_ = last if _ID.fullmatch(last) else _complete_id(last, store) if _SHORT_ID.fullmatch(last) else None
    if id_ is None:
        raise InvalidReferenceError(
            f"{reference!r}: expected a digest or the id of an image behind @ (64 hexadecimal digits, or at least 3 "
            f"that one image in {store.graph_root} begins with), found {last!r}"
        )
    return _tagged(name) if name else None, id_


def _tagged(text: str) -> Named:
    named = parse_normalized_named(text)
    return evolve(named, tag="latest") if named.is_name_only else named


def _complete_id(start: str, location: StoreLocation) -> str | None:
    """Return the id of the one image in a store that begins like this; None when there is not exactly one."""
    try:
        with Store(location) as store:
            found = {image.id for image in store.images if image.id.startswith(start)}
    except (OSError, ImageError, NotSupportedError):
        return None
    return found.pop() if len(found) == 1 else None


def _has_repository(image: ImageRecord, named: Named) -> bool:
    # Names in a store are complete: the repository is what stands before the tag or digest.
    return any(_repository(name) == named.name for name in image.names)


def _repository(name: str) -> str:
    path = name.partition("@")[0]
    head, colon, tag = path.rpartition(":")
    return head if colon and "/" not in tag else path


def _find(store: Store, reference: StorageReference) -> ImageRecord:
    """Return the image that a reference leads to."""
    named, images = reference.named, store.images
    if reference.id:
        found = [image for image in images if image.id == reference.id]
        if found and named is not None and not _has_repository(found[0], named):
            raise ImageNotFoundError(f"{reference}: the image with this id has other names: {_some(found[0].names)}")
    else:
        found = [image for image in images if str(named) in image.names]
    if not found and not reference.id and named is not None and named.digest is not None:
        digest = named.digest
        found = [image for image in images if digest in image.manifest_digests and _has_repository(image, named)]
    if found:
        return found[0]
    names = [name for image in images for name in image.names]
    raise ImageNotFoundError(f"{reference}: there is no such image in the store; in it are {_some(names)}")


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _SOME} more" if len(names) > _SOME else ""
    return (", ".join(names[:_SOME]) or "no names") + more


class _Source(ImageSource):
    def __init__(self, reference: StorageReference, store: Store, image: ImageRecord) -> None:
        self._reference = reference
        self._store = store
        self._image = image

    @property
    def reference(self) -> ImageReference:
        """The reference with the id of the image that it led to, which a policy may name."""
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        return True

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        if instance is not None:
            image, key = self._holder(instance)
            return self._store.read_data(image, key), ""
        named = self._reference.named
        asked = f"{_MANIFEST}-{named.digest}" if named is not None and named.digest is not None else ""
        key = asked if asked in self._image.data_keys else _MANIFEST
        return self._store.read_data(self._image, key), ""

    def _holder(self, instance: Digest) -> tuple[ImageRecord, str]:
        """Return the image that has a manifest, and the key it is kept by.

        What an index lists are images of their own in the store, where they are there at all.
        """
        key = f"{_MANIFEST}-{instance}"
        for image in (self._image, *self._store.images):
            if key in image.data_keys:
                return image, key
        for image in self._store.images:
            if instance in image.manifest_digests:
                return image, _MANIFEST
        raise BlobNotFoundError(
            f"{self._reference}: the store has no image with the manifest {instance}; a store mostly holds those for "
            "one platform"
        )

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        if info.digest is None:
            raise LayoutError(f"{self._reference}: a blob of a store is found by its digest, and none was given")
        layer = self._store.open_layer(info.digest)
        if layer is not None:
            return layer
        for image in (self._image, *self._store.images):
            if info.digest in image.data_keys:
                return self._store.open_data(image, info.digest)
        raise BlobNotFoundError(
            f"{self._reference}: the store has neither a configuration nor a plain layer with the digest "
            f"{info.digest}; layers are unpacked in it, and are there by the digests that layer_infos_for_copy gives"
        )

    def get_signatures(self, instance: Digest | None = None) -> tuple[bytes, ...]:
        image, digest = self._image, instance
        key, sizes = "signatures", image.signature_sizes
        if instance is not None:
            image, _ = self._holder(instance)
        elif not sizes:
            digest = Digest.from_bytes(self.get_manifest()[0])
        if digest is not None:
            key, sizes = f"signature-{digest.hex}", image.signatures_sizes.get(digest, ())
        if not any(sizes):
            return ()
        return _cut(self._store.read_data(image, key), sizes, f"{self._reference}: {key}")

    def layer_infos_for_copy(self, instance: Digest | None = None) -> tuple[BlobInfo, ...] | None:
        data, _ = self.get_manifest(instance)
        media_type = guess_media_type(data)
        manifest = parse_manifest(data, media_type)
        if isinstance(manifest, Index | DockerManifestList):
            return None
        plain = mediatypes.DOCKER_LAYER if isinstance(manifest, DockerManifest) else mediatypes.IMAGE_LAYER
        image = self._image if instance is None else self._holder(instance)[0]
        layers = self._store.chain(image)
        if len(layers) != len(manifest.layers):
            raise LayoutError(
                f"{self._reference}: its manifest has {len(manifest.layers)} layers, the store has {len(layers)} for it"
            )
        unknown = [layer.id for layer in layers if layer.diff_digest is None]
        if unknown:
            raise LayoutError(f"{self._reference}: the store does not know the digest of layer {unknown[0]}")
        return tuple(BlobInfo(digest=layer.diff_digest, size=layer.diff_size, media_type=plain) for layer in layers)

    def close(self) -> None:
        self._store.close()


def _cut(data: bytes, sizes: tuple[int, ...], what: str) -> tuple[bytes, ...]:
    if sum(sizes) != len(data):
        raise LayoutError(f"{what}: the metadata says {sum(sizes):,} bytes of signatures, there are {len(data):,}")
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return tuple(data[end - size : end] for end, size in zip(ends, sizes, strict=True))


def list_store(
    text: str, sys: SystemContext | None = None
) -> Iterator[tuple[int, str | None, StorageReference, Descriptor]]:
    """List the images in a store, those with several names several times.

    Args:
        text: The store in brackets; empty for the one of this machine or user.
        sys: The circumstances.

    Yields:
        The position of the image in images.json, a name of it (None when it has none), a reference that leads to it,
        and the descriptor of its manifest. What has no manifest is no image, and left out.

    Raises:
        InvalidReferenceError: The text is not a store in brackets.
        LayoutError: It is no store, or damaged.
        OSError: It cannot be opened.
    """
    location, rest = _split_store(text)
    if rest:
        raise InvalidReferenceError(f"{text!r}: expected nothing but a store in brackets, found {rest!r}")
    implied = location is None
    place = location if location is not None else default_location(sys)
    with Store(place) as store:
        for position, image in enumerate(store.images):
            if _MANIFEST not in image.data_keys:
                continue
            data = store.read_data(image, _MANIFEST)
            descriptor = Descriptor.from_content(guess_media_type(data), data)
            for name in image.names or (None,):
                yield position, name, _listed(place, name, image.id, implied=implied), descriptor


def _listed(place: StoreLocation, name: str | None, id_: str, *, implied: bool) -> StorageReference:
    named = None
    if name is not None:
        # One that is outside the grammar leads nowhere; the image is there by its id.
        with contextlib.suppress(InvalidReferenceError):
            named = parse_normalized_named(name)
    return StorageReference(store=place, is_store_implied=implied, named=named, id="" if named is not None else id_)
