"""Indexes as data: an index in, another one out. No I/O; what is listed need not be anywhere.

Unknown fields, of the index and of what it lists, stay as they are. A list in Docker's format has no annotations and
no types of artifacts, and lists Docker's own manifests: what cannot be said in it is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from attrs import evolve

from ocikit.errors import ImageNotFoundError, LimitExceededError, ManifestError
from ocikit.image.manifest import LIMIT
from ocikit.spec import DockerManifestList, Index, mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.image.manifest import AnyIndex
    from ocikit.spec import Descriptor, Digest, Platform

__all__ = ["add", "annotate", "empty", "remove", "set_platform"]

_AnyIndex = TypeVar("_AnyIndex", bound=Index | DockerManifestList)
_SHOWN: Final = 5


def empty(
    media_type: str = mediatypes.IMAGE_INDEX,
    *,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str = "",
    subject: Descriptor | None = None,
) -> AnyIndex:
    """Return an index that lists nothing.

    Args:
        media_type: That of an index (image specification, image-index.md) or of Docker's list.
        annotations: Annotations of the index.
        artifact_type: What the index is, when it is not that of a container image.
        subject: A manifest that the index is about.

    Raises:
        ManifestError: The type is that of no index, or Docker's, which has none of the rest.
    """
    if media_type == mediatypes.IMAGE_INDEX:
        return Index(manifests=(), annotations=annotations or {}, artifact_type=artifact_type, subject=subject)
    if media_type != mediatypes.DOCKER_MANIFEST_LIST:
        raise ManifestError(f"{media_type!r} is no type of an index; known are {', '.join(sorted(mediatypes.INDEXES))}")
    if annotations or artifact_type or subject is not None:
        raise ManifestError(f"a list of type {media_type} has no annotations, no artifact type and no subject")
    return DockerManifestList(manifests=())


def add(index: _AnyIndex, descriptor: Descriptor) -> _AnyIndex:
    """Return the index with one more manifest, at its end.

    Args:
        index: The index.
        descriptor: The manifest, as it is to be listed.

    Raises:
        ManifestError: It is no manifest, or one that cannot be listed in this kind of index, or it is listed already
            for the same platform.
        LimitExceededError: It is larger than 4 MiB: nobody would read it.
    """
    _check_listed(index, descriptor)
    if any((entry.digest, entry.platform) == (descriptor.digest, descriptor.platform) for entry in index.manifests):
        raise ManifestError(f"the index lists {descriptor.digest} already for the same platform; remove that first")
    return evolve(index, manifests=(*index.manifests, descriptor))


def remove(index: _AnyIndex, digest: Digest) -> _AnyIndex:
    """Return the index without a manifest.

    Args:
        index: The index.
        digest: The manifest; every entry of it goes.

    Raises:
        ImageNotFoundError: The index does not list it.
    """
    _check_there(index, digest)
    return evolve(index, manifests=tuple(entry for entry in index.manifests if entry.digest != digest))


def annotate(index: _AnyIndex, annotations: Mapping[str, str | None], digest: Digest | None = None) -> _AnyIndex:
    """Return the index with other annotations: of itself, or of a manifest that it lists.

    Args:
        index: The index.
        annotations: What is added or replaced; None for what is to go.
        digest: The manifest, every entry of it; None for the index itself.

    Raises:
        ImageNotFoundError: The index does not list the manifest.
        ManifestError: The index is Docker's, which has no annotations.
    """
    if not isinstance(index, Index):
        raise ManifestError(f"a list of type {index.MEDIA_TYPE} has no annotations; make an OCI index instead")
    if digest is None:
        return evolve(index, annotations=_merged(index.annotations, annotations))
    return _changed(index, digest, lambda entry: evolve(entry, annotations=_merged(entry.annotations, annotations)))


def set_platform(index: _AnyIndex, digest: Digest, platform: Platform | None) -> _AnyIndex:
    """Return the index with another platform for a manifest.

    Args:
        index: The index.
        digest: The manifest; it is listed once.
        platform: The platform; None for none.

    Raises:
        ImageNotFoundError: The index does not list the manifest.
        ManifestError: It lists it more than once: all of them would be for the same platform.
    """
    if sum(entry.digest == digest for entry in index.manifests) > 1:
        raise ManifestError(f"the index lists {digest} more than once, for several platforms; remove that first")
    return _changed(index, digest, lambda entry: evolve(entry, platform=platform))


def _merged(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**old, **new}.items() if value is not None}


def _changed(index: _AnyIndex, digest: Digest, change: Callable[[Descriptor], Descriptor]) -> _AnyIndex:
    _check_there(index, digest)
    manifests = tuple(change(entry) if entry.digest == digest else entry for entry in index.manifests)
    return evolve(index, manifests=manifests)


def _check_there(index: AnyIndex, digest: Digest) -> None:
    if all(entry.digest != digest for entry in index.manifests):
        listed = [str(entry.digest) for entry in index.manifests]
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        raise ImageNotFoundError(
            f"the index does not list {digest}; it lists {', '.join(listed[:_SHOWN]) or 'nothing'}{more}"
        )


def _check_listed(index: AnyIndex, descriptor: Descriptor) -> None:
    if not 0 <= descriptor.size <= LIMIT:
        raise LimitExceededError(f"bytes of the manifest {descriptor.digest}", LIMIT, descriptor.size)
    if descriptor.media_type not in mediatypes.MANIFESTS:
        raise ManifestError(f"{descriptor.digest}: an index lists manifests, found type {descriptor.media_type!r}")
    if isinstance(index, Index):
        return
    if descriptor.media_type != mediatypes.DOCKER_MANIFEST:
        raise ManifestError(
            f"{descriptor.digest}: a list of type {index.MEDIA_TYPE} lists manifests of type "
            f"{mediatypes.DOCKER_MANIFEST}, found {descriptor.media_type}; make an OCI index instead"
        )
    if descriptor.annotations or descriptor.artifact_type:
        raise ManifestError(
            f"{descriptor.digest}: a list of type {index.MEDIA_TYPE} has no annotations and no artifact types in it"
        )
