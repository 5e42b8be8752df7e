"""The manifest of an artifact, as data: what is given to make one, and what one says. No I/O.

The rules are those of the image specification 1.1, manifest.md: an artifact without a configuration of its own has
the empty one, ``{}``, and then must state its type; one without files has ``{}`` in their place.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import LimitExceededError, ManifestError
from ocikit.image.artifact.titles import split_titles
from ocikit.image.manifest import check_size
from ocikit.spec import DESCRIPTOR_EMPTY_JSON, Descriptor, Manifest, mediatypes
from ocikit.spec.annotation_keys import TITLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.image.types import ImageReference
    from ocikit.spec import Digest

__all__ = ["Artifact", "ArtifactFile", "ListedFile", "as_files", "check_files", "make_manifest", "read_manifest"]

#: What a file is when nobody says.
_UNKNOWN: Final = "application/octet-stream"
_MAX_FILES: Final = 10_000
# RFC 6838, section 4.2; without parameters, as the image specification has it.
_RESTRICTED: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE: Final = re.compile(rf"{_RESTRICTED}/{_RESTRICTED}")


@frozen(kw_only=True)
class ArtifactFile:
    """A file that is to become part of an artifact, or its configuration.

    Attributes:
        content: The content, or the path of a regular file with it.
        title: The name that the file gets when the artifact is pulled, with ``/`` between directories; None for the
            name of the file that ``content`` is the path of, or for none.
        media_type: What it is (RFC 6838).
        annotations: Further annotations of its descriptor.
    """

    content: bytes | os.PathLike[str]
    title: str | None = None
    media_type: str = _UNKNOWN
    annotations: Mapping[str, str] = field(factory=dict)

    @property
    def name(self) -> str | None:
        """The title, or in its place the name of the file."""
        if self.title is None and not isinstance(self.content, bytes):
            return os.path.basename(os.fspath(self.content))
        return self.title

    def described(self, digest: Digest, size: int) -> Descriptor:
        """Return the descriptor of the file, once its content is known.

        Args:
            digest: The digest of the content.
            size: Its size in bytes.
        """
        titled = {TITLE: name} if (name := self.name) is not None else {}
        return Descriptor(
            media_type=self.media_type, digest=digest, size=size, annotations={**self.annotations, **titled}
        )


@frozen(kw_only=True)
class ListedFile:
    """A file of an artifact, as its manifest lists it.

    Attributes:
        title: The name of the file; None when it has none. Not checked: :func:`~ocikit.image.artifact.pull` is.
        descriptor: Its type, digest, size and annotations.
    """

    title: str | None
    descriptor: Descriptor


@frozen(kw_only=True)
class Artifact:
    """What an artifact says of itself.

    Attributes:
        reference: Where it is; of an attached one the image that it was asked for by.
        digest: The digest of its manifest.
        raw_manifest: The exact bytes of its manifest.
        artifact_type: Its type: what the manifest states, else the type of the configuration.
        config: Its configuration; that of :data:`~ocikit.spec.DESCRIPTOR_EMPTY_JSON` when it has none.
        files: Its files, in the order of the manifest.
        subject: The manifest that it is about; None when there is none.
        annotations: The annotations of the manifest.
    """

    reference: ImageReference
    digest: Digest
    raw_manifest: bytes = field(repr=False)
    artifact_type: str
    config: Descriptor
    files: tuple[ListedFile, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]


def as_files(files: Iterable[ArtifactFile | str | os.PathLike[str]]) -> tuple[ArtifactFile, ...]:
    """Return files for whatever a call takes as such; a path is a file of no known type."""
    return tuple(one if isinstance(one, ArtifactFile) else ArtifactFile(content=Path(one)) for one in files)


def check_files(files: tuple[ArtifactFile, ...], config: ArtifactFile | None, artifact_type: str | None) -> None:
    """Refuse what would make an artifact that is none, or that nobody could pull.

    Args:
        files: The files.
        config: The configuration; None for the empty one.
        artifact_type: The type of the artifact; None for none.

    Raises:
        ManifestError: A type is missing or is none, a title is no path, or two do not fit in one directory.
        LimitExceededError: There are more than 10,000 files.
    """
    if len(files) > _MAX_FILES:
        raise LimitExceededError("files of an artifact", _MAX_FILES, len(files))
    if artifact_type is None and (config is None or config.media_type == mediatypes.EMPTY_JSON):
        raise ManifestError(
            "an artifact without a configuration must state its type: pass artifact_type=, such as "
            "'application/vnd.example.report' (image specification, manifest.md)"
        )
    types = {"the artifact": artifact_type, "its configuration": config.media_type if config is not None else None}
    types |= {f"file {one.name!r}": one.media_type for one in files}
    for what, media_type in types.items():
        if media_type is not None and not _MEDIA_TYPE.fullmatch(media_type):
            raise ManifestError(f"the type of {what}: expected type/subtype (RFC 6838), found {media_type!r}")
    split_titles((name for one in files if (name := one.name) is not None), "the artifact")


def make_manifest(
    files: tuple[Descriptor, ...],
    *,
    config: Descriptor,
    artifact_type: str | None,
    subject: Descriptor | None,
    annotations: Mapping[str, str],
) -> bytes:
    """Return the manifest of an artifact; the same for the same arguments.

    Args:
        files: Its files.
        config: Its configuration.
        artifact_type: Its type; None for none.
        subject: The manifest that it is about; None for none.
        annotations: Its annotations.

    Raises:
        ValidationError: A value is of another type than its field.
        LimitExceededError: The manifest would be larger than 4 MiB.
    """
    data = Manifest(
        artifact_type=artifact_type or "",
        config=config,
        layers=files or (DESCRIPTOR_EMPTY_JSON,),
        subject=subject,
        annotations=annotations,
    ).to_json()
    check_size(data, "the manifest of the artifact:")
    return data


def read_manifest(manifest: object, reference: ImageReference, digest: Digest, raw_manifest: bytes) -> Artifact:
    """Return what the manifest of an artifact says.

    Args:
        manifest: The parsed manifest.
        reference: Where it is.
        digest: Its digest.
        raw_manifest: Its bytes, verified.

    Raises:
        ManifestError: It is one of Docker's, in which no artifacts are kept.
    """
    if not isinstance(manifest, Manifest):
        raise ManifestError(f"{reference}: expected an artifact, found an image in Docker's own format")
    files = tuple(
        ListedFile(title=layer.annotations.get(TITLE), descriptor=layer)
        for layer in manifest.layers
        if layer.media_type != mediatypes.EMPTY_JSON or TITLE in layer.annotations
    )
    return Artifact(
        reference=reference,
        digest=digest,
        raw_manifest=raw_manifest,
        artifact_type=manifest.artifact_type or manifest.config.media_type,
        config=manifest.config,
        files=files,
        subject=manifest.subject,
        annotations=manifest.annotations,
    )
