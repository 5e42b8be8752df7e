"""Files become an artifact: checked before anything is written, visible in one step when all of it is there."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from ocikit._fs import Descriptor as FileDescriptor
from ocikit.errors import ManifestError, ManifestTypeRejectedError, NotSupportedError
from ocikit.image.artifact.document import as_files, check_files, make_manifest
from ocikit.image.transports import as_reference
from ocikit.image.types import BlobInfo, LayerCompression
from ocikit.image.unparsed import find_manifest
from ocikit.spec import DESCRIPTOR_EMPTY_JSON, Descriptor, Digest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ocikit.image.artifact.document import ArtifactFile
    from ocikit.image.types import ByteStream, ImageDestination, ImageReference, SystemContext
    from ocikit.image.unparsed import UnparsedImage

__all__ = ["PushedArtifact", "attach", "push"]


@frozen(kw_only=True)
class PushedArtifact:
    """An artifact that was written.

    Attributes:
        reference: Where it is, or the image that it is attached to.
        manifest: Its manifest, exactly as it was written.
        descriptor: What an index or a list of referrers says of it: type, digest, size, artifact type.
        files: Its files, in the order in which they were given.
    """

    reference: ImageReference
    manifest: bytes = field(repr=False)
    descriptor: Descriptor
    files: tuple[Descriptor, ...]

    @property
    def digest(self) -> Digest:
        """The digest of its manifest."""
        return self.descriptor.digest


@frozen(kw_only=True)
class _Parts:
    files: tuple[ArtifactFile, ...]
    artifact_type: str | None
    annotations: Mapping[str, str]
    config: ArtifactFile | None
    subject: Descriptor | None


def push(
    files: Iterable[ArtifactFile | str | os.PathLike[str]] = (),
    *,
    dest: str | ImageReference,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
    config: ArtifactFile | None = None,
    subject: Descriptor | None = None,
    sys: SystemContext | None = None,
) -> PushedArtifact:
    """Make an artifact of files.

    The same files and arguments give the same artifact: no time is written into it.

    Args:
        files: The files; a path is a file of no known type that is called as it is there.
        dest: Where to, a reference or an image name such as ``oci:/srv/layout:report``.
        artifact_type: What the artifact is (RFC 6838); required without ``config``.
        annotations: Annotations of the manifest.
        config: The configuration; None for the empty one.
        subject: The manifest that the artifact is about, in the same place; see :func:`attach`.
        sys: The circumstances.

    Raises:
        ManifestError: A type is missing or is none, a title is no path, a path leads to no regular file.
        ManifestTypeRejectedError: The destination takes no manifests of the image specification.
        NotSupportedError: The destination is told to change the compression of files.
        LimitExceededError: There are more than 10,000 files, or the manifest is larger than 4 MiB.
        OSError: A file cannot be read, or the destination cannot be written.
        OCIKitError: As the transport gives it.
    """
    parts = _checked(files, artifact_type, annotations, config, subject)
    with as_reference(dest).new_image_destination(sys) as destination:
        pushed = _store(parts, destination)
        destination.put_manifest(pushed.manifest)
        destination.commit()
    return pushed


def attach(
    image: str | ImageReference,
    files: Iterable[ArtifactFile | str | os.PathLike[str]] = (),
    *,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
    config: ArtifactFile | None = None,
    digest: Digest | None = None,
    sys: SystemContext | None = None,
) -> PushedArtifact:
    """Make an artifact of files that is about an image, and keep it beside that.

    The image stays as it is. The artifact gets no name; :func:`list_attached` and :func:`ocikit.image.referrers` find
    it.

    Args:
        image: The image, a reference or an image name. What it leads to is the subject, the index itself where it leads
            to one.
        files: As for :func:`push`.
        artifact_type: As for :func:`push`.
        annotations: As for :func:`push`.
        config: As for :func:`push`.
        digest: Another subject in the same place, such as the manifest of one platform, or of an attached artifact.
        sys: The circumstances.

    Raises:
        ImageNotFoundError: There is no such image.
        NotSupportedError: The place keeps no referrers, or nothing is added to it once it is written (archives).
        OCIKitError: As :func:`push` and the transport give it.
        OSError: A file cannot be read, or the place cannot be written.
    """
    reference = as_reference(image)
    parts = _checked(files, artifact_type, annotations, config, None)
    with reference.new_image_source(sys) as source:
        subject = _described(find_manifest(source, digest))
    with reference.new_image_destination(sys) as destination:
        if not destination.supports_referrers:
            raise NotSupportedError(f"{reference}: nothing can be attached to an image there")
        pushed = _store(evolve(parts, subject=subject), destination)
        destination.put_referrer(pushed.manifest)
        destination.commit()
    return pushed


def _described(image: UnparsedImage) -> Descriptor:
    data, media_type = image.manifest()
    return Descriptor(media_type=media_type, digest=image.digest(), size=len(data))


def _checked(
    files: Iterable[ArtifactFile | str | os.PathLike[str]],
    artifact_type: str | None,
    annotations: Mapping[str, str] | None,
    config: ArtifactFile | None,
    subject: Descriptor | None,
) -> _Parts:
    chosen = as_files(files)
    check_files(chosen, config, artifact_type)
    return _Parts(
        files=chosen, artifact_type=artifact_type, annotations=annotations or {}, config=config, subject=subject
    )


def _store(parts: _Parts, destination: ImageDestination) -> PushedArtifact:
    """Store all blobs of an artifact, and return it with the manifest that is still to be put."""
    _check_acceptable(destination)
    config = DESCRIPTOR_EMPTY_JSON if parts.config is None else _put_file(parts.config, destination, is_config=True)
    files = tuple(_put_file(one, destination) for one in parts.files)
    if DESCRIPTOR_EMPTY_JSON in {config, *(files or (DESCRIPTOR_EMPTY_JSON,))}:
        _put_bytes(b"{}", destination, is_config=config == DESCRIPTOR_EMPTY_JSON)
    manifest = make_manifest(
        files,
        config=config,
        artifact_type=parts.artifact_type,
        subject=parts.subject,
        annotations=parts.annotations,
    )
    kind = parts.artifact_type or config.media_type
    plain = Descriptor.from_content(mediatypes.IMAGE_MANIFEST, manifest)
    return PushedArtifact(
        reference=destination.reference,
        manifest=manifest,
        descriptor=Descriptor(media_type=plain.media_type, digest=plain.digest, size=plain.size, artifact_type=kind),
        files=files,
    )


def _check_acceptable(destination: ImageDestination) -> None:
    accepted = destination.supported_manifest_mime_types
    if accepted and mediatypes.IMAGE_MANIFEST not in accepted:
        raise ManifestTypeRejectedError(
            f"{destination.reference}: artifacts are kept in manifests of type {mediatypes.IMAGE_MANIFEST}, and only "
            f"{', '.join(accepted)} are taken there"
        )
    if destination.desired_layer_compression is not LayerCompression.PRESERVE:
        raise NotSupportedError(
            f"{destination.reference}: the files of an artifact stay as they are, and the context asks for another "
            "compression; leave that out"
        )


def _put_file(file: ArtifactFile, destination: ImageDestination, *, is_config: bool = False) -> Descriptor:
    if isinstance(file.content, bytes):
        info = _put_bytes(file.content, destination, is_config=is_config)
    else:
        with _open(file.content) as stream:
            info = destination.put_blob(stream, BlobInfo(media_type=file.media_type), is_config=is_config)
    if info.digest is None or info.size < 0:
        raise ManifestError(f"{destination.reference}: the destination does not say what it stored")
    return file.described(info.digest, info.size)


def _put_bytes(data: bytes, destination: ImageDestination, *, is_config: bool) -> BlobInfo:
    info = BlobInfo(digest=Digest.from_bytes(data), size=len(data))
    there = destination.try_reusing_blob(info)
    return there if there is not None else destination.put_blob(io.BytesIO(data), info, is_config=is_config)


@contextlib.contextmanager
def _open(path: os.PathLike[str]) -> Iterator[ByteStream]:
    # O_NONBLOCK: opening a named pipe would wait for somebody to write to it.
    with FileDescriptor(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fd).st_mode):
            raise ManifestError(f"{os.fspath(path)}: expected a regular file, found something else; pack directories")
        with io.FileIO(opened.fd, closefd=False) as file:
            yield file
