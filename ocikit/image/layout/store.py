"""A layout in a directory, as a database: several may read and write it at once, a crash at any point harms nothing.

Who holds what:

* ``blobs/`` is locked by everybody who has the layout open: shared by those who rely on blobs being there, readers
  and writers of images alike, exclusively by those who remove some.
* The layout directory is locked for the moment in which index.json is read anew, changed and replaced.

Writers put blobs first and name the image in index.json last. A new layout gets its ``oci-layout`` file
last: before that it is not a layout to anybody.
"""

from __future__ import annotations

import contextlib
import enum
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocikit._fs import DIRECTORY, TEMPORARY_PREFIX, Descriptor, atomic_write, fsync_directory
from ocikit.errors import ImageNotFoundError, LayoutError, LimitExceededError, ParseError
from ocikit.image.conversion.digests import manifest_digest
from ocikit.image.layout.attaching import attach_signatures
from ocikit.image.layout.blobs import BlobDirectory, open_regular, read_document
from ocikit.image.layout.index import LayoutIndex
from ocikit.image.layout.locks import hold
from ocikit.image.layout.partial import find_partial, remove_partial
from ocikit.image.layout.saved import list_bundles
from ocikit.image.layout.signatures import SignatureFinder
from ocikit.image.layout.temporary import find_stale, remove_stale
from ocikit.image.manifest import LIMIT, guess_media_type
from ocikit.image.types import BlobInfo
from ocikit.spec import (
    IMAGE_BLOBS_DIR,
    IMAGE_INDEX_FILE,
    IMAGE_LAYOUT_FILE,
    IMAGE_LAYOUT_VERSION,
    Digest,
    ImageLayout,
)
from ocikit.spec import Descriptor as ContentDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from ocikit.image.layout.attaching import NewSignatures
    from ocikit.image.layout.temporary import StaleFile
    from ocikit.image.types import ByteStream

__all__ = ["Access", "Layout", "check_version"]

# What a directory without an oci-layout file may be instead, by a file in it, the surest sign first.
_SIGNS: Final = {
    "version": "it looks like an image of its own, name it as dir:{}",
    "manifest.json": "it looks like an unpacked archive of `docker save`, pack it again: tar -C {} -cf app.tar .",
    IMAGE_INDEX_FILE: (
        "with its index.json it looks like one that is still being made or was not copied whole; where it is whole, "
        "layout.fsck({!r}, repair=True) writes the file"
    ),
}


class Access(enum.Enum):
    """What a layout is opened for."""

    #: To read images.
    READ = "read"
    #: To add images; the layout is made when it is not there.
    WRITE = "write"
    #: To remove blobs, with everybody else out.
    REMOVE = "remove"


def check_version(data: bytes, where: str) -> None:
    """Refuse a layout of a version that is not known.

    Args:
        data: The content of its ``oci-layout`` file.
        where: That file, for messages.

    Raises:
        LayoutError: The file is malformed or states another version.
    """
    try:
        version = ImageLayout.from_json(data).image_layout_version
    except (ParseError, LimitExceededError) as error:
        raise LayoutError(f"{where}: {error}") from error
    if version != IMAGE_LAYOUT_VERSION:
        raise LayoutError(f"{where}: imageLayoutVersion: expected {IMAGE_LAYOUT_VERSION!r}, found {version!r}")


class Layout:
    """An open layout; its locks are held until it is closed.

    Args:
        path: The directory, resolved.
        access: What it is opened for.
        shared_blobs: A directory that holds the blobs in place of its own; nothing is ever removed from there.

    Raises:
        LayoutError: The directory is no layout, or not one of a known version.
        LayoutBusyError: This thread has it open in a way that excludes this one.
        OSError: It cannot be opened or, to write, made; its parent must exist.
    """

    def __init__(self, path: str, access: Access, *, shared_blobs: str | None = None) -> None:
        self._path = path
        self._shared = shared_blobs is not None
        #: What a crash had left and opening removed: nothing when it was opened to read.
        self.tidied: tuple[StaleFile, ...] = ()
        with contextlib.ExitStack() as stack:
            self._directory = self._open(access)
            stack.callback(self._directory.close)
            if access is Access.READ:
                self._check()
            else:
                self._prepare(create=access is Access.WRITE)
            blobs = self._open_blobs(shared_blobs, access, stack)
            home = blobs.fd if self._shared else self._directory.fd
            if self._shared and access is Access.WRITE:
                self.tidied += remove_stale(home)
            self.blobs: Final = BlobDirectory(blobs, home, shared_blobs or f"{path}/{IMAGE_BLOBS_DIR}")
            if access is Access.WRITE or (access is Access.REMOVE and not self._shared):
                self.tidied += remove_partial(self.blobs)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Give up the locks and close everything; closing twice is nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The directory."""
        return self._path

    @property
    def has_shared_blobs(self) -> bool:
        """Whether the blobs are somewhere else, where nothing is removed."""
        return self._shared

    def index(self) -> LayoutIndex:
        """Read index.json as it is now.

        Raises:
            LayoutError: It is missing or no index.
            LimitExceededError: It is larger than 4 MiB.
        """
        data = self._read(IMAGE_INDEX_FILE)
        if data is None:
            raise LayoutError(f"{self._path}: there is no {IMAGE_INDEX_FILE}: the layout is damaged")
        return LayoutIndex.from_bytes(data, f"{self._path}/{IMAGE_INDEX_FILE}")

    @property
    def directory_fd(self) -> int:
        """A descriptor of the directory."""
        return self._directory.fd

    def leftovers(self) -> tuple[StaleFile, ...]:
        """Return what a crash left that the next writer will remove."""
        with self._index_lock(required=False):
            stale = find_stale(self._directory.fd, prefix=TEMPORARY_PREFIX)
        return stale + (find_partial(self.blobs) if not self._shared else ())

    def open_blob(self, digest: Digest) -> tuple[ByteStream, int]:
        """Open a blob; see :meth:`BlobDirectory.open`."""
        return self.blobs.open(digest)

    def blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield every blob of the layout's own, listed or not, with its size in bytes; none where they are shared."""
        for one in self.blobs.files() if not self._shared else ():
            if one.digest is not None:
                yield one.digest, one.size

    def add(
        self,
        descriptor: ContentDescriptor | None,
        name: str | None,
        referrers: Iterable[ContentDescriptor] = (),
        signatures: Sequence[NewSignatures] = (),
    ) -> None:
        """Add an image whose blobs are all there, and what refers to it, to index.json; durable when this returns.

        Args:
            descriptor: Its manifest; None to add to an image that is there.
            name: The name it gets, which an older image loses; None for none.
            referrers: Manifests that have others as their subject; they get no names.
            signatures: Signatures of manifests that are there by then; those that are kept already are not added.

        Raises:
            ImageNotFoundError: There are only signatures, and no image of that name.
            BlobNotFoundError: A manifest that they are for is not there.
            LayoutError: index.json is damaged.
            VerificationError: Signatures that are there are damaged.
            LimitExceededError: index.json would be larger than others read.
            OSError: It cannot be written; it is as it was.
        """
        self.blobs.sync()
        with self.changing_index() as index:
            if descriptor is not None:
                list_bundles(self, index, descriptor.digest)
                index.put(descriptor, name)
            for referrer in referrers:
                index.put_referrer(referrer)
            if signatures:
                self._attach(index, name, signatures)

    def _attach(self, index: LayoutIndex, name: str | None, signatures: Sequence[NewSignatures]) -> None:
        finder = SignatureFinder(self, index, self._path)
        for one in signatures:
            subject = one.subject or self._subject(index, name, one)
            attach_signatures(index, subject, one, finder.held(subject.digest), self._put)
        self.blobs.sync()

    def _subject(self, index: LayoutIndex, name: str | None, new: NewSignatures) -> ContentDescriptor:
        if new.instance is not None:
            data = self._manifest(new.instance)
            return ContentDescriptor(media_type=guess_media_type(data), digest=new.instance, size=len(data))
        found = index.descriptor(index.find(name, None))
        if new.required is not None and new.required != found.digest:
            # The same manifest may go by a digest of another algorithm here.
            data = self._manifest(found.digest)
            if manifest_digest(data, found.media_type, new.required.algorithm) != new.required:
                raise ImageNotFoundError(
                    f"{self._path}: {new.required} lost its name to another image meanwhile ({found.digest})"
                )
        return found

    def _manifest(self, digest: Digest) -> bytes:
        what = f"{self._path}: manifest {digest}"
        stream, _ = self.open_blob(digest)
        with stream:
            data = read_document(stream, what)
        digest.verify(data, what=what)
        return data

    def _put(self, data: bytes) -> None:
        self.blobs.put(io.BytesIO(data), BlobInfo(digest=Digest.from_bytes(data), size=len(data)))

    @contextlib.contextmanager
    def changing_index(self) -> Iterator[LayoutIndex]:
        """Read index.json anew for a ``with`` block that changes it, and replace it at the end of the block."""
        with self._index_lock():
            index = self.index()
            yield index
            data = index.to_bytes()
            if len(data) > LIMIT:
                raise LimitExceededError(f"bytes of {self._path}/{IMAGE_INDEX_FILE}", LIMIT, len(data))
            atomic_write(self._directory.fd, IMAGE_INDEX_FILE, data)

    def _open(self, access: Access) -> Descriptor:
        if access is Access.WRITE:
            with contextlib.suppress(FileExistsError):
                Path(self._path).mkdir(mode=0o755)
        try:
            return Descriptor(os.open(self._path, DIRECTORY))
        except NotADirectoryError:
            raise LayoutError(
                f"{self._path}: expected a layout directory, found a file or a link; an archive is named as "
                f"oci-archive:{self._path}"
            ) from None

    @contextlib.contextmanager
    def _index_lock(self, *, required: bool = True) -> Iterator[None]:
        with hold(self._path, exclusive=True, where=self._path, required=required):
            now, ours = Path(self._path).lstat(), os.fstat(self._directory.fd)
            if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
                raise LayoutError(f"{self._path}: the directory was replaced by another while the layout was open")
            yield

    def _prepare(self, *, create: bool) -> None:
        with self._index_lock():
            names = {name for name in os.listdir(self._directory.fd) if not name.startswith(TEMPORARY_PREFIX)}
            if create:
                self._create(names)
            self._check()
            # Nobody writes index.json now, so that its temporary files are leftovers too.
            self.tidied = remove_stale(self._directory.fd, prefix=TEMPORARY_PREFIX)

    def _create(self, names: set[str]) -> None:
        """Make what is missing of a layout, and first make sure that it may become one."""
        if IMAGE_LAYOUT_FILE not in names and names - {IMAGE_INDEX_FILE, IMAGE_BLOBS_DIR}:
            raise LayoutError(
                f"{self._path}: the directory is not empty and is no layout, as it has no {IMAGE_LAYOUT_FILE} "
                "file; name a new or an empty one"
            )
        if IMAGE_BLOBS_DIR not in names:
            os.mkdir(IMAGE_BLOBS_DIR, 0o755, dir_fd=self._directory.fd)
        if IMAGE_INDEX_FILE not in names:
            atomic_write(self._directory.fd, IMAGE_INDEX_FILE, LayoutIndex.empty(self._path).to_bytes())
        if IMAGE_LAYOUT_FILE not in names:
            version = ImageLayout(image_layout_version=IMAGE_LAYOUT_VERSION).to_json()
            atomic_write(self._directory.fd, IMAGE_LAYOUT_FILE, version)
            with Descriptor(os.open(Path(self._path).parent, DIRECTORY)) as parent:
                fsync_directory(parent.fd)

    def _check(self) -> None:
        data = self._read(IMAGE_LAYOUT_FILE)
        if data is None:
            there = os.listdir(self._directory.fd)
            hint = next((f"; {hint.format(self._path)}" for sign, hint in _SIGNS.items() if sign in there), "")
            raise LayoutError(f"{self._path}: there is no {IMAGE_LAYOUT_FILE} file: this is not an OCI layout{hint}")
        check_version(data, f"{self._path}/{IMAGE_LAYOUT_FILE}")

    def _read(self, name: str) -> bytes | None:
        where = f"{self._path}/{name}"
        try:
            file, _ = open_regular(self._directory.fd, name, where)
        except FileNotFoundError:
            return None
        with file:
            return read_document(file, where)

    def _open_blobs(self, shared: str | None, access: Access, stack: contextlib.ExitStack) -> Descriptor:
        where = shared or f"{self._path}/{IMAGE_BLOBS_DIR}"
        if shared is None:
            # Nobody removes anything from a shared directory, so that there is nothing to wait for.
            alone = access is Access.REMOVE
            self._lock_blobs(where, stack, exclusive=alone, required=access is not Access.READ)
        elif access is Access.WRITE:
            Path(shared).mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            flags = DIRECTORY if shared is None else DIRECTORY & ~os.O_NOFOLLOW
            blobs = Descriptor(os.open(shared or IMAGE_BLOBS_DIR, flags, dir_fd=None if shared else self._directory.fd))
        except NotADirectoryError:
            raise LayoutError(f"{where}: expected a directory, found a link or a file") from None
        stack.callback(blobs.close)
        return blobs

    def _lock_blobs(self, where: str, stack: contextlib.ExitStack, *, exclusive: bool, required: bool) -> None:
        try:
            stack.enter_context(
                hold(IMAGE_BLOBS_DIR, exclusive=exclusive, where=where, dir_fd=self._directory.fd, required=required)
            )
        except FileNotFoundError:
            raise LayoutError(
                f"{where}: there is no such directory: the layout is damaged; where all that it lists is elsewhere, "
                f"layout.fsck({self._path!r}, repair=True) makes it"
            ) from None
        except NotADirectoryError:
            raise LayoutError(
                f"{where}: expected a directory, found a link or a file; blobs that are kept elsewhere are named "
                "by SystemContext(oci_shared_blob_dir_path=…)"
            ) from None
