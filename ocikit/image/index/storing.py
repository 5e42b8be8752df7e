"""Indexes where images are kept: made and edited by copying what they list to where they are.

What a new index lists may be in several places. They are put together as one source, which the copy engine reads as
it reads any other: blobs that are there are not copied, and the index appears in one step when everything is there.
The policy was held against every image in its own place before, and the engine is told to accept what is left.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import evolve, field, frozen

from ocikit.errors import BlobNotFoundError, ImageNotFoundError, LayoutBusyError, NotSupportedError
from ocikit.image.copy import CopyOptions, ImageListSelection
from ocikit.image.copy import image as copy_image
from ocikit.image.index.editing import add, empty, remove
from ocikit.image.index.members import Gathering, Member
from ocikit.image.manifest import check_size
from ocikit.image.policy import Policy, policy_context
from ocikit.image.transports import as_reference
from ocikit.image.types import ImageReference, ImageSource, ImageTransport
from ocikit.image.unparsed import UnparsedImage
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import BinaryIO

    from ocikit.image.copy import CopyResult
    from ocikit.image.manifest import AnyIndex
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import BlobInfo, ByteStream, ImageDestination, SystemContext
    from ocikit.spec import Descriptor, Digest

__all__ = ["create", "edit"]


def create(
    policy: PolicyRules | PolicyContext | None,
    *,
    dest: str | ImageReference,
    members: Iterable[Member | str | ImageReference] = (),
    media_type: str = mediatypes.IMAGE_INDEX,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str = "",
    subject: Descriptor | None = None,
    options: CopyOptions | None = None,
) -> CopyResult:
    """Make an index of images, and copy them to where it is.

    Args:
        policy: Which images may be used; None for the policy of the system.
        dest: Where to, a reference or an image name such as ``oci:/srv/layout:1.2``.
        members: What it lists, in this order; an image name stands for a :class:`Member` with nothing else stated.
        media_type: That of an index of the image specification, or of Docker's list.
        annotations: Annotations of the index.
        artifact_type: What the index is, when it is not that of a container image.
        subject: A manifest that the index is about.
        options: How to copy; everything that is listed is copied.

    Returns:
        What was written, as :func:`ocikit.image.copy.image` says it.

    Raises:
        PolicyRequirementError: The policy does not allow one of the images.
        ImageNotFoundError: One of them is not there.
        ManifestError: One of them cannot be listed in this kind of index, or is listed twice.
        VerificationError: Something is not what it is claimed to be.
        OCIKitError: As :func:`ocikit.image.copy.image`.
        OSError: A file could not be read or written.
    """
    options = _checked(options)
    reference = as_reference(dest)
    index = empty(media_type, annotations=annotations, artifact_type=artifact_type, subject=subject)
    with policy_context(policy, options.source_ctx) as context, contextlib.ExitStack() as stack:
        gathering = Gathering(context, options.source_ctx)
        index = _with_members(index, members, gathering, options.source_ctx, stack)
        return _write(index, index.to_json(), gathering, reference, options)


def edit(
    policy: PolicyRules | PolicyContext | None,
    *,
    src: str | ImageReference,
    dest: str | ImageReference | None = None,
    members: Iterable[Member | str | ImageReference] = (),
    remove_digests: Iterable[Digest] = (),
    change: Callable[[AnyIndex], AnyIndex] | None = None,
    options: CopyOptions | None = None,
) -> CopyResult:
    """Make another index of one that is there: under the same name, or elsewhere with all that it lists.

    What it lists and is not there stays listed. The old index stays where it is, without its name, as an image does
    that another one takes the name of. Of two who edit the same index at the same time, the later one wins.

    Args:
        policy: Which images may be used; None for the policy of the system.
        src: The index, a reference or an image name.
        dest: Where to; None for where it is. A ``dir`` is not edited where it is.
        members: What is added at the end, copied to where the index is.
        remove_digests: What is removed, before anything is added.
        change: Makes any other change, in the end: a function of an index that returns another one, such as
            ``lambda index: annotate(index, {"key": "value"})``. What it adds is listed, and not copied.
        options: How to copy; everything that is listed is copied.

    Returns:
        What was written, as :func:`ocikit.image.copy.image` says it.

    Raises:
        PolicyRequirementError: The policy does not allow one of the images.
        ImageNotFoundError: There is no such index, or it does not list what is to be removed.
        ManifestError: It is no index, or something cannot be listed in it, or is listed twice.
        LayoutBusyError: The place cannot be read and written at the same time.
        VerificationError: Something is not what it is claimed to be.
        OCIKitError: As :func:`ocikit.image.copy.image`.
        OSError: A file could not be read or written.
    """
    options = _checked(options)
    reference = as_reference(src)
    with (
        policy_context(policy, options.source_ctx) as context,
        contextlib.ExitStack() as stack,
    ):
        source = stack.enter_context(reference.new_image_source(options.source_ctx))
        top = UnparsedImage(source)
        index = top.index()
        for digest in remove_digests:
            index = remove(index, digest)
        gathering = Gathering(context, options.source_ctx)
        for entry in index.manifests:
            gathering.keep(entry, source)
        index = _with_members(index, members, gathering, options.source_ctx, stack)
        index = change(index) if change is not None else index
        # An index that is what it was keeps its bytes, and with them its digest and its signatures.
        same = top if index == top.index() else None
        data = same.manifest()[0] if same is not None else index.to_json()
        dest = as_reference(dest) if dest is not None else reference
        return _write(index, data, gathering, dest, options, same=same)


def _checked(options: CopyOptions | None) -> CopyOptions:
    options = options or CopyOptions()
    if options.image_list_selection is ImageListSelection.SPECIFIC:
        raise ValueError("what an index lists is said by its members: leave ImageListSelection.SPECIFIC out")
    return options


def _with_members(
    index: AnyIndex,
    members: Iterable[Member | str | ImageReference],
    gathering: Gathering,
    sys: SystemContext | None,
    stack: contextlib.ExitStack,
) -> AnyIndex:
    for one in members:
        member = one if isinstance(one, Member) else Member(image=one)
        source = stack.enter_context(as_reference(member.image).new_image_source(sys))
        for entry in gathering.take(member, source):
            index = add(index, entry)
    return index


def _write(
    index: AnyIndex,
    data: bytes,
    gathering: Gathering,
    dest: ImageReference,
    options: CopyOptions,
    *,
    same: UnparsedImage | None = None,
) -> CopyResult:
    check_size(data, f"index for {dest}:")
    there = tuple(dict.fromkeys(one.digest for one in index.manifests if one.digest in gathering.manifests))
    if index.manifests and not there:
        raise ImageNotFoundError(f"index for {dest}: nothing of what it lists is there")
    if all(one.digest in gathering.manifests for one in index.manifests):
        options = evolve(options, image_list_selection=ImageListSelection.ALL)
    else:
        options = evolve(options, image_list_selection=ImageListSelection.SPECIFIC, instances=there)
    reference = _Reference(dest=str(dest), data=data, media_type=index.MEDIA_TYPE, gathering=gathering, same=same)
    try:
        return copy_image(Policy.insecure_accept_anything(), dest=dest, src=reference, options=options)
    except LayoutBusyError as error:
        error.add_note(
            f"{dest} has a part of the index, and is not read and written at the same time: name another dest"
        )
        raise


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "index-for"

    def parse_reference(self, reference: str) -> ImageReference:
        raise NotSupportedError(f"{reference}: an index that is being made has no name")

    def validate_policy_configuration_scope(self, scope: str) -> None:
        raise NotSupportedError(f"{scope}: an index that is being made is in no policy")


_TRANSPORT: Final = _Transport()
_Read = TypeVar("_Read")


@frozen(kw_only=True, eq=False)
class _Reference(ImageReference):
    dest: str
    data: bytes = field(repr=False)
    media_type: str
    gathering: Gathering = field(repr=False)
    #: The index that it is byte for byte, and whose signatures it keeps; None when it is a new one.
    same: UnparsedImage | None = field(default=None, repr=False)

    @property
    def transport(self) -> ImageTransport:
        return _TRANSPORT

    @property
    def string_within_transport(self) -> str:
        return self.dest

    @property
    def policy_configuration_identity(self) -> str:
        return ""

    @property
    def policy_configuration_namespaces(self) -> tuple[str, ...]:
        return ()

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        del sys
        return _Source(self)

    def new_image_destination(self, sys: SystemContext | None = None) -> ImageDestination:
        del sys
        raise NotSupportedError(f"{self}: only read")

    def delete_image(self, sys: SystemContext | None = None) -> None:
        del sys
        raise NotSupportedError(f"{self}: only read")


class _Source(ImageSource):
    """An index that is nowhere, and what it lists where that is; the sources are closed by whoever opened them."""

    def __init__(self, reference: _Reference) -> None:
        self._reference = reference
        self._manifests = reference.gathering.manifests
        self._blobs = reference.gathering.blobs

    @property
    def reference(self) -> ImageReference:
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        return all(source.has_thread_safe_get_blob for source in self._sources())

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        if instance is None:
            return self._reference.data, self._reference.media_type
        gathered = self._manifests.get(instance)
        if gathered is not None:
            return gathered.image.manifest()
        # What refers to an image, and was asked for by whoever copies.
        return self._first(lambda source: source.get_manifest(instance), f"manifest {instance}")

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        source = self._blobs.get(info.digest) if info.digest is not None else None
        if source is not None:
            return source.get_blob(info)
        return self._first(lambda source: source.get_blob(info), f"blob {info.digest}")

    def _first(self, read: Callable[[ImageSource], _Read], what: str) -> _Read:
        for source in self._sources():
            with contextlib.suppress(BlobNotFoundError):
                return read(source)
        raise BlobNotFoundError(f"{self._reference}: there is no {what} where the images come from")

    def local_blob(self, info: BlobInfo) -> BinaryIO | None:
        source = self._blobs.get(info.digest) if info.digest is not None else None
        return source.local_blob(info) if source is not None else None

    def get_signatures(self, instance: Digest | None = None) -> tuple[bytes, ...]:
        if instance is None:
            return self._reference.same.signatures() if self._reference.same is not None else ()
        gathered = self._manifests.get(instance)
        return gathered.image.signatures() if gathered is not None else ()

    def get_referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        found = {one.digest: one for source in self._sources() for one in source.get_referrers(subject)}
        return tuple(found.values())

    def layer_infos_for_copy(self, instance: Digest | None = None) -> tuple[BlobInfo, ...] | None:
        gathered = self._manifests.get(instance) if instance is not None else None
        return gathered.source.layer_infos_for_copy(gathered.image.instance) if gathered is not None else None

    def close(self) -> None:
        pass

    def _sources(self) -> Iterator[ImageSource]:
        return iter({id(one.source): one.source for one in self._manifests.values()}.values())
