"""A root file system while it is being made: files made, replaced and removed, each in an open directory.

How a directory is found, and why that never leads out of the root, is said in :mod:`ocikit.image.walk`. What is
made here is made new, by its name in an open directory: nothing that exists is ever opened, written to or
changed through a link, and what is in the way is removed first.

Owners, modes, times and attributes of *directories* are kept in memory and given to them at the very end
(:meth:`Tree.finish`). Until then every directory on disk is ``0700`` and the caller's own. That keeps
times right when a later entry changes a directory, lets the unprivileged fill directories that are read-only,
and means that nothing is ever inherited from one: no group, no set-gid bit, no access control list.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from ocikit.errors import LayerError
from ocikit.image.layer import printable, settable_xattrs
from ocikit.image.tar import TarMember, TarType
from ocikit.image.walk import Directory, Walker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.image.limits import Limits

__all__ = ["Tree"]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODES: Final = {
    TarType.CHARACTER_DEVICE: stat.S_IFCHR,
    TarType.BLOCK_DEVICE: stat.S_IFBLK,
    TarType.FIFO: stat.S_IFIFO,
}
_MAJOR_LIMIT: Final = 1 << 12
_MINOR_LIMIT: Final = 1 << 20
# A directory that no entry describes: the layer that puts a file below it should have one.
_IMPLIED: Final = TarMember(name=b"", type=TarType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=0, offset=0)


class Tree:
    """The tree below an empty directory that the caller has just made.

    Args:
        root_fd: The directory; not closed. It belongs to the caller, has mode 0700, and nothing that files in it
            would inherit (:func:`ocikit.image.place.new_directory` makes such directories).
        limits: The bounds; of these, ``depth`` is kept here.
        rootless: Leave every file to the calling user, and leave out what needs root.
    """

    def __init__(self, root_fd: int, *, limits: Limits, rootless: bool = False) -> None:
        self._walker = Walker(root_fd, limits=limits)
        self._rootless = rootless
        self._owner = (os.geteuid(), os.getegid())
        self._directories: dict[bytes, TarMember] = {b"": _IMPLIED}
        self._upper: set[bytes] | None = None
        self._empty = True
        #: What was left out, each with its path and the reason.
        self.skipped: list[str] = []

    def close(self) -> None:
        """Close the directories that are held open; the tree stays as it is, and cannot be changed any more."""
        self._walker.close()

    def begin_layer(self) -> None:
        """Count everything that is there as lower: whiteouts remove it, and nothing that comes from now on."""
        # Below the first layer there is nothing, so that there is nothing to keep apart.
        self._upper = None if self._empty else set()

    # Making files

    def make_parents(self, path: bytes) -> Directory:
        """Return the directory at ``path``, symbolic links followed inside the root, making what is missing of it.

        A file that is in the way is replaced by a directory.

        Args:
            path: Its path below the root, cleaned.
        """
        found = self._walker.cached(path)
        if found is None:
            found, missing = self._walker.resolve(path)
            for name in missing:
                self._make_directory(found, name, _IMPLIED)
                found = self._walker.enter(found, name)
            self._walker.remember(path, found)
        return found

    def set_root(self, member: TarMember) -> None:
        """Take owner, mode, time and attributes of the root from an entry."""
        self._directories[b""] = member

    def make_directory(self, parent: Directory, name: bytes, member: TarMember) -> None:
        """Make a directory, or change the one that is there; anything else of that name is replaced."""
        path = parent.child(name)
        self._walker.check_depth(path)
        if path in self._directories:
            self._directories[path] = member
        else:
            self._make_directory(parent, name, member)
        self._mark(path)

    def _make_directory(self, parent: Directory, name: bytes, member: TarMember) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            self.remove(parent, name)
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        self._directories[parent.child(name)] = member

    def make_file(self, parent: Directory, name: bytes, member: TarMember, data: Iterable[tuple[int, bytes]]) -> None:
        """Make a regular file; what is there of that name is replaced, never written to.

        Args:
            parent: Its directory.
            name: Its name.
            member: Its owner, mode, time, attributes and size.
            data: Its content in pieces, each with its offset, in order; between them are holes.
        """
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        except FileExistsError:
            self.remove(parent, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        try:
            end = 0
            for offset, piece in data:
                if offset != end:
                    os.lseek(fd, offset, os.SEEK_SET)
                _write(fd, piece)
                end = offset + len(piece)
            if end != member.size:
                os.ftruncate(fd, member.size)
            self._describe(fd, parent.child(name), member)
        finally:
            os.close(fd)
        self._mark(parent.child(name))

    def make_symlink(self, parent: Directory, name: bytes, member: TarMember) -> None:
        """Make a symbolic link; what is there of that name is replaced."""
        if not member.linkname:
            raise LayerError("a symbolic link without a target")
        try:
            os.symlink(member.linkname, name, dir_fd=parent.fd)
        except FileExistsError:
            self.remove(parent, name)
            os.symlink(member.linkname, name, dir_fd=parent.fd)
        self._describe_by_name(parent, name, member)

    def make_hard_link(self, parent: Directory, name: bytes, target: list[bytes]) -> None:
        """Make a hard link to a file of the tree; what is there of that name is replaced.

        Args:
            parent: Its directory.
            name: Its name.
            target: The components of the target, as an entry names it. Only the last is not followed.

        Raises:
            LayerError: The target is not there, or is a directory.
        """
        source = self._walker.find(b"/".join(target[:-1])) if target else None
        if source is None or source.child(target[-1]) in self._directories:
            raise LayerError(f"a hard link to {b'/'.join(target)!r}, which is not there or is a directory")
        try:
            try:
                self._link(source, target[-1], parent, name)
            except FileExistsError:
                if source.child(target[-1]) == parent.child(name):
                    raise LayerError(f"a hard link to itself, {b'/'.join(target)!r}") from None
                self.remove(parent, name)
                self._link(source, target[-1], parent, name)
        except FileNotFoundError:
            raise LayerError(f"a hard link to {b'/'.join(target)!r}, which is not there (or no longer)") from None
        self._mark(parent.child(name))

    @staticmethod
    def _link(source: Directory, target: bytes, parent: Directory, name: bytes) -> None:
        os.link(target, name, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)

    def make_node(self, parent: Directory, name: bytes, member: TarMember) -> None:
        """Make a device or a FIFO; what is there of that name is replaced. Rootless, devices are left out.

        Raises:
            LayerError: The device number is none that Linux has.
        """
        if member.type is not TarType.FIFO and self._rootless:
            self.skipped.append(f"{printable(parent.child(name))}: a {member.type.value} needs root")
            self.remove(parent, name, missing_ok=True)
            return
        if not (member.major < _MAJOR_LIMIT and member.minor < _MINOR_LIMIT):
            raise LayerError(f"a {member.type.value} {member.major}:{member.minor}, which Linux does not have")
        kind, device = _NODES[member.type], os.makedev(member.major, member.minor)
        try:
            os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
        except FileExistsError:
            self.remove(parent, name)
            os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
        self._describe_by_name(parent, name, member)

    def _mark(self, path: bytes) -> None:
        """Remember that this layer made ``path``, and that what is above must not be removed because of that."""
        self._empty = False
        upper = self._upper
        if upper is not None:
            while path and path not in upper:
                upper.add(path)
                path = path.rpartition(b"/")[0]

    # Owners, modes, times, attributes

    def _describe(self, fd: int, path: bytes, member: TarMember) -> None:
        # In this order: chown takes away set-uid, set-gid and security.capability. The unprivileged can set
        # attributes only as long as the file is writable to them.
        if self._rootless:
            self._set_xattrs(fd, path, member)
        elif (member.uid, member.gid) != self._owner:
            os.fchown(fd, member.uid, member.gid)
        os.fchmod(fd, member.mode)
        if not self._rootless:
            self._set_xattrs(fd, path, member)
        os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))

    def _describe_by_name(self, parent: Directory, name: bytes, member: TarMember) -> None:
        """Describe what cannot be opened: links, devices, FIFOs. Never through a link in the place of it."""
        if not self._rootless and (member.uid, member.gid) != self._owner:
            os.chown(name, member.uid, member.gid, dir_fd=parent.fd, follow_symlinks=False)
        if member.type in _NODES:
            _chmod_node(parent, name, member)
        self._set_xattrs(b"/proc/self/fd/%d/%s" % (parent.fd, name), parent.child(name), member)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent.fd, follow_symlinks=False)
        self._mark(parent.child(name))

    def _set_xattrs(self, file: int | bytes, path: bytes, member: TarMember) -> None:
        for name, value in settable_xattrs(member.xattrs):
            try:
                if isinstance(file, int):
                    os.setxattr(file, name, value)
                else:
                    os.setxattr(file, name, value, follow_symlinks=False)
            except OSError as error:
                # A file system without attributes is no reason to refuse an image; neither is a link or a
                # device, which cannot have those of users.
                tolerated = error.errno == errno.ENOTSUP or (error.errno == errno.EPERM and self._may_not(name, member))
                if not tolerated:
                    raise
                self.skipped.append(f"{printable(path)}: {printable(os.fsencode(name))}: {error.strerror}")

    def _may_not(self, name: str, member: TarMember) -> bool:
        plain = member.type in {TarType.REGULAR, TarType.DIRECTORY}
        return self._rootless or (name.startswith("user.") and not plain)

    def finish(self) -> None:
        """Give the directories their owners, modes, attributes and times; nothing is made after that.

        Raises:
            OSError: As the system calls give it.
        """
        # From the deepest up: one that may not be entered any more hides what is below it.
        for path in sorted(self._directories, reverse=True):
            fd = self._walker.exact(path).open()
            try:
                self._describe(fd, path, self._directories[path])
            finally:
                os.close(fd)
        self.close()

    # Removing files

    def remove(self, parent: Directory, name: bytes, *, missing_ok: bool = False) -> None:
        """Remove what is called ``name``, with everything below it."""
        try:
            kind = os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            if missing_ok:
                return
            raise
        if stat.S_ISDIR(kind):
            self._remove_directory(parent.child(name))
        else:
            os.unlink(name, dir_fd=parent.fd)
        if stat.S_ISDIR(kind) or stat.S_ISLNK(kind):
            # Every other way to a directory leads over directories and links only.
            self._walker.forget()

    def _remove_directory(self, path: bytes) -> None:
        pending, found = [path], []
        while pending:
            here = self._walker.exact(pending.pop())
            found.append(here.path)
            for name in here.names():
                if here.child(name) in self._directories:
                    pending.append(here.child(name))
                else:
                    os.unlink(name, dir_fd=here.fd)
        for directory in reversed(found):
            above, _, name = directory.rpartition(b"/")
            os.rmdir(name, dir_fd=self._walker.exact(above).fd)
            del self._directories[directory]

    def whiteout(self, directory: bytes, name: bytes) -> None:
        """Remove what lower layers put at ``name``; what this layer put there or below stays. Missing is fine."""
        parent = self._walker.find(directory)
        if parent is not None and self._upper is not None:
            self._remove_lower(parent, [name])

    def opaque(self, directory: bytes) -> None:
        """Remove what lower layers put into a directory; what this layer put there stays. Missing is fine."""
        parent = self._walker.find(directory)
        if parent is not None and self._upper is not None:
            self._remove_lower(parent, parent.names())

    def _remove_lower(self, parent: Directory, names: list[bytes]) -> None:
        upper = self._upper or set()
        pending = [(parent.path, names)]
        while pending:
            path, names = pending.pop()
            here = self._walker.exact(path)
            for name in names:
                child = here.child(name)
                if child not in upper:
                    self.remove(here, name, missing_ok=True)
                elif child in self._directories:
                    pending.append((child, self._walker.enter(here, name).names()))


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    if written != len(data):
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(fd, view) :]


def _chmod_node(parent: Directory, name: bytes, member: TarMember) -> None:
    # fchmodat follows links and a device must not be opened; a descriptor that is only a place does neither.
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    try:
        if stat.S_IFMT(os.fstat(fd).st_mode) != _NODES[member.type]:
            raise FileExistsError(errno.EEXIST, "something else was put in the place of a node", os.fsdecode(name))
        os.chmod(f"/proc/self/fd/{fd}", member.mode)
    finally:
        os.close(fd)
