"""Apply layers to a root file system: the tar members of each, one after the other, as operations on a tree.

:class:`Applier` is the whole interface: it takes plain tar streams and an empty directory. Where streams come
from, and whether they are what they claim to be, is not its business; whoever calls it keeps the result to
himself until that is known. What a name means is said in :mod:`ocikit.image.layer`, how the file system is
touched in :mod:`ocikit.image.tree`; here the two meet, and everything is counted.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit.errors import LayerError, LimitExceededError, UnpackError
from ocikit.image.layer import Action, clean, place, printable
from ocikit.image.limits import DEFAULT_LIMITS, Limits
from ocikit.image.tar import Readable, TarLimits, TarMember, TarReader, TarType
from ocikit.image.tree import Tree

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Applier"]

# Long names, link targets and pax records are members of their own in the eyes of a tar reader.
_HEADERS_PER_ENTRY: Final = 4
# Failed calls that say something about the layer rather than about the machine.
_MALFORMED: Final = {
    errno.ENAMETOOLONG: "a name or a link target that is longer than Linux allows",
    errno.EILSEQ: "a name that this file system does not allow",
}
_REMEDIES: Final = {
    errno.EPERM: "owners, devices and some attributes need root: run as root, or pass rootless=True to have every "
    "file belong to you",
    errno.EINVAL: "either an attribute has a value that the kernel does not accept, or, in a user namespace, an owner "
    "has no mapping: rootless=True lets every file belong to you",
    errno.ENOSPC: "free some space, or unpack somewhere else",
    errno.EDQUOT: "free some of your quota, or unpack somewhere else",
    errno.EMFILE: "raise the limit of open files (RLIMIT_NOFILE)",
}


class Applier:
    """Applies layers, lowest first, to an empty directory.

    Args:
        root_fd: The directory; not closed. It belongs to the caller, has mode 0700, and nothing that files in it
            would inherit (:func:`ocikit.image.place.new_directory` makes such directories).
        limits: The bounds for all layers together.
        rootless: Leave every file to the calling user, and leave out what needs root (devices, attributes
            of the kernel); :attr:`skipped` says what that was.
    """

    def __init__(self, root_fd: int, *, limits: Limits = DEFAULT_LIMITS, rootless: bool = False) -> None:
        self._limits = limits
        self._tree = Tree(root_fd, limits=limits, rootless=rootless)
        #: Entries applied so far.
        self.entries = 0
        #: Bytes of the files in them, holes included.
        self.total_bytes = 0

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out, each with its path and the reason."""
        return tuple(self._tree.skipped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tree.close()

    def apply(self, stream: Readable, *, what: str) -> None:
        """Apply one layer and read its stream to the end.

        Args:
            stream: The layer, uncompressed.
            what: What it is called in errors ("layer 2").

        Raises:
            LayerError: The layer is malformed or asks for what is never done.
            LimitExceededError: It holds more than the limits allow.
            UnpackError: The file system refused.
        """
        limits = TarLimits(
            members=_HEADERS_PER_ENTRY * self._limits.entries,
            extended_header_bytes=self._limits.header_bytes,
            file_bytes=self._limits.total_bytes,
        )
        reader = TarReader(stream, limits=limits, error=LayerError)
        name = b""
        self._tree.begin_layer()
        try:
            for member in reader:
                name = member.name
                self._count(member)
                self._apply(member, reader)
                name = b""
            reader.drain()
        except LayerError as error:
            raise LayerError(f"{_where(what, name)}: {error}") from error
        except LimitExceededError as error:
            raise _located(error, what, name) from error
        except UnpackError:
            raise
        except OSError as error:
            raise _failure(error, what, name) from error

    def finish(self) -> None:
        """Give the directories their owners, modes, attributes and times; no layer is applied after that.

        Raises:
            UnpackError: The file system refused.
        """
        try:
            self._tree.finish()
        except OSError as error:
            raise _failure(error, "the directories", b"") from error

    def _count(self, member: TarMember) -> None:
        limits = self._limits
        self.entries += 1
        if self.entries > limits.entries:
            raise limits.exceeded("entries", "entries of an image")
        self.total_bytes += member.size
        if self.total_bytes > limits.total_bytes:
            raise limits.exceeded("total_bytes", "bytes of the files of an image", self.total_bytes)
        longest = max(len(member.name), len(member.linkname))
        if longest > limits.path_bytes:
            raise limits.exceeded("path_bytes", "bytes of a name", longest)
        if member.xattrs:
            size = sum(len(name) + len(value) for name, value in member.xattrs.items())
            if size > limits.xattr_bytes:
                raise limits.exceeded("xattr_bytes", "bytes of extended attributes", size)

    def _apply(self, member: TarMember, reader: TarReader) -> None:
        action, directory, name = place(member.name)
        tree = self._tree
        if action is Action.CREATE:
            if name:
                self._create(directory, name, member, reader)
            elif member.type is TarType.DIRECTORY:
                tree.set_root(member)
            else:
                raise LayerError(f"the root must be a directory, not a {member.type.value}")
        elif action is Action.WHITEOUT:
            tree.whiteout(directory, name)
        elif action is Action.OPAQUE:
            tree.opaque(directory)

    def _create(self, directory: bytes, name: bytes, member: TarMember, reader: TarReader) -> None:
        tree, kind = self._tree, member.type
        parent = tree.make_parents(directory)
        if kind is TarType.REGULAR:
            tree.make_file(parent, name, member, reader.data())
        elif kind is TarType.DIRECTORY:
            tree.make_directory(parent, name, member)
        elif kind is TarType.SYMLINK:
            tree.make_symlink(parent, name, member)
        elif kind is TarType.HARD_LINK:
            tree.make_hard_link(parent, name, clean(member.linkname))
        else:
            tree.make_node(parent, name, member)


def _located(error: LimitExceededError, what: str, name: bytes) -> LimitExceededError:
    remedy = error.remedy or "if the image is to be trusted, pass larger limits=Limits(…)"
    # A limit that the stream itself kept says already where.
    where = error.what if error.what.startswith(what) else f"{_where(what, name)}: {error.what}"
    return LimitExceededError(where, error.limit, error.found, remedy)


def _where(what: str, name: bytes) -> str:
    return f"{what}, entry {printable(name)}" if name else what


def _failure(error: OSError, what: str, name: bytes) -> LayerError | UnpackError:
    reason = _MALFORMED.get(error.errno or 0)
    if reason is not None:
        return LayerError(f"{_where(what, name)}: {reason}: {os.strerror(error.errno or 0)}")
    return UnpackError(
        f"apply {what}", error.errno or errno.EIO, printable(name) or None, _REMEDIES.get(error.errno or 0)
    )
