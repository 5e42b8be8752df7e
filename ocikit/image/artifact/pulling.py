"""An artifact becomes files again: allowed by the policy, verified while it streams, whole or not at all.

A title is a path that somebody else wrote. All of them are looked at before anything is made; the files are made in a
new directory that nobody else can enter, each by the descriptor of its directory, and never in place of anything.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit._fs import DIRECTORY, Descriptor, located, write_whole
from ocikit.errors import LimitExceededError, ManifestError
from ocikit.image.artifact.reading import describe
from ocikit.image.artifact.titles import split_titles
from ocikit.image.layout.blobs import receive
from ocikit.image.manifest import LIMIT
from ocikit.image.place import new_directory
from ocikit.image.policy import policy_context
from ocikit.image.transports import as_reference
from ocikit.image.types import BlobInfo
from ocikit.image.unparsed import find_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.artifact.document import Artifact, ListedFile
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ByteStream, ImageReference, ImageSource, SystemContext
    from ocikit.spec import Descriptor as ContentDescriptor
    from ocikit.spec import Digest

__all__ = ["ArtifactInMemory", "FileInMemory", "PulledArtifact", "PulledFile", "pull", "pull_into_memory"]

#: How many bytes the files of an artifact have at most, unless the caller says otherwise.
_ON_DISK: Final = 64 << 30
_IN_MEMORY: Final = 64 << 20
_MAX_FILES: Final = 10_000
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen(kw_only=True)
class PulledFile:
    """A file of an artifact that was pulled.

    Attributes:
        title: Its name in the artifact.
        path: Where it is.
        descriptor: Its type, digest, size and annotations.
    """

    title: str
    path: Path
    descriptor: ContentDescriptor


@frozen(kw_only=True)
class PulledArtifact:
    """An artifact in a directory.

    Attributes:
        artifact: What it says of itself.
        directory: The directory.
        files: The files that were pulled, in the order of the manifest.
        untitled: The files that have no name, and are not in the directory.
    """

    artifact: Artifact
    directory: Path
    files: tuple[PulledFile, ...]
    untitled: tuple[ListedFile, ...]


@frozen(kw_only=True)
class FileInMemory:
    """A file of an artifact, with its content.

    Attributes:
        title: Its name in the artifact, whatever it is; None when it has none.
        content: The content, verified.
        descriptor: Its type, digest, size and annotations.
    """

    title: str | None
    content: bytes = field(repr=False)
    descriptor: ContentDescriptor


@frozen(kw_only=True)
class ArtifactInMemory:
    """An artifact with its content.

    Attributes:
        artifact: What it says of itself.
        config: The content of its configuration, verified; ``{}`` when it has none.
        files: Its files, in the order of the manifest.
    """

    artifact: Artifact
    config: bytes = field(repr=False)
    files: tuple[FileInMemory, ...]


def pull(
    policy: PolicyRules | PolicyContext | None,
    *,
    dest: str | os.PathLike[str],
    src: str | ImageReference,
    digest: Digest | None = None,
    max_bytes: int = _ON_DISK,
    sys: SystemContext | None = None,
) -> PulledArtifact:
    """Pull the files of an artifact into a new directory.

    The directory appears when all of them are in it, verified, and has the mode 0700; files in it have 0644 less the
    umask. Files without a title are left out. Nothing is unpacked.

    Args:
        policy: Which images and artifacts may be used; None for the policy of the system.
        dest: The directory; it does not exist, or is empty.
        src: The artifact, a reference or an image name.
        digest: The digest of another manifest in the same place, such as one that is attached to the image.
        max_bytes: The size of all files together, in bytes.
        sys: The circumstances; of an index they choose the platform.

    Raises:
        PolicyNotFoundError: No policy was given and the system has none.
        PolicyRequirementError: The policy does not allow the artifact.
        ImageNotFoundError: There is no such artifact.
        VerificationError: A file, or the manifest, is not what it is claimed to be.
        ManifestError: A title is no path below a directory, or two do not fit in one, or none of the files has one.
        LimitExceededError: The files are larger than ``max_bytes``, or there are more than 10,000.
        UnpackError: The directory is taken, or in a place that others can write to.
        OSError: A file cannot be written.
        OCIKitError: As the transport gives it.
    """
    with _opened(policy, src, digest, max_bytes, sys) as (source, artifact):
        what = f"{artifact.reference}, artifact {artifact.digest}"
        titled = [(one, one.title) for one in artifact.files if one.title is not None]
        paths = split_titles((title for _, title in titled), what)
        if artifact.files and not titled:
            raise ManifestError(f"{what}: no file in it has a title, so none can be pulled as a file; is it an image?")
        with new_directory(dest, keeps_others_out=True) as directory:
            for one, title in titled:
                with _new_file(directory, paths[title]) as write:
                    _read(source, one.descriptor, write, f"{what}: {title!r}")
    place = Path(os.path.abspath(dest))
    return PulledArtifact(
        artifact=artifact,
        directory=place,
        files=tuple(
            PulledFile(title=title, path=place.joinpath(*paths[title]), descriptor=one.descriptor)
            for one, title in titled
        ),
        untitled=tuple(one for one in artifact.files if one.title is None),
    )


def pull_into_memory(
    policy: PolicyRules | PolicyContext | None,
    *,
    src: str | ImageReference,
    digest: Digest | None = None,
    max_bytes: int = _IN_MEMORY,
    sys: SystemContext | None = None,
) -> ArtifactInMemory:
    """Read an artifact with all its files.

    Args:
        policy: As for :func:`pull`.
        src: As for :func:`pull`.
        digest: As for :func:`pull`.
        max_bytes: The size of all files together, in bytes.
        sys: As for :func:`pull`.

    Raises:
        PolicyRequirementError: The policy does not allow the artifact.
        VerificationError: A file, the configuration or the manifest is not what it is claimed to be.
        LimitExceededError: The files are larger than ``max_bytes``, or the configuration than 4 MiB.
        OCIKitError: As :func:`pull`.
    """
    with _opened(policy, src, digest, max_bytes, sys) as (source, artifact):
        what = f"{artifact.reference}, artifact {artifact.digest}"
        if artifact.config.size > LIMIT:
            raise LimitExceededError(f"{what}: bytes of the configuration", LIMIT, artifact.config.size)
        return ArtifactInMemory(
            artifact=artifact,
            config=_content(source, artifact.config, f"{what}: configuration"),
            files=tuple(
                FileInMemory(
                    title=one.title,
                    content=_content(source, one.descriptor, f"{what}: {one.title!r}"),
                    descriptor=one.descriptor,
                )
                for one in artifact.files
            ),
        )


@contextlib.contextmanager
def _opened(
    policy: PolicyRules | PolicyContext | None,
    src: str | ImageReference,
    digest: Digest | None,
    max_bytes: int,
    sys: SystemContext | None,
) -> Iterator[tuple[ImageSource, Artifact]]:
    with policy_context(policy, sys) as context, as_reference(src).new_image_source(sys) as source:
        chosen = find_manifest(source, digest).for_platform(sys)
        context.is_running_image_allowed(chosen)
        artifact = describe(chosen)
        if len(artifact.files) > _MAX_FILES:
            raise LimitExceededError(f"{artifact.reference}: files of an artifact", _MAX_FILES, len(artifact.files))
        size = sum(one.descriptor.size for one in artifact.files)
        if size > max_bytes:
            raise LimitExceededError(
                f"{artifact.reference}: bytes of the files of an artifact", max_bytes, size, "pass max_bytes=…"
            )
        yield source, artifact


def _content(source: ImageSource, descriptor: ContentDescriptor, what: str) -> bytes:
    content = io.BytesIO()
    _read(source, descriptor, content.write, what)
    return content.getvalue()


def _read(source: ImageSource, descriptor: ContentDescriptor, write: Callable[[bytes], object], what: str) -> None:
    info = BlobInfo.from_descriptor(descriptor)
    embedded = descriptor.embedded_content()
    stream: ByteStream = io.BytesIO(embedded) if embedded is not None else source.get_blob(info)[0]
    with stream:
        receive(stream, info, write, what)


@contextlib.contextmanager
def _new_file(directory_fd: int, parts: tuple[str, ...]) -> Iterator[Callable[[bytes], object]]:
    """Make a file below a directory, and the directories above it, without ever following a link."""
    with contextlib.ExitStack() as stack:
        for name in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=directory_fd)
            directory_fd = stack.enter_context(Descriptor(os.open(name, DIRECTORY, dir_fd=directory_fd))).fd
        file = stack.enter_context(Descriptor(os.open(parts[-1], _NEW, 0o644, dir_fd=directory_fd)))

        def write(data: bytes) -> None:
            try:
                write_whole(file.fd, data)
            except OSError as error:
                raise located(error, directory_fd, parts[-1]) from error

        yield write
