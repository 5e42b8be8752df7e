"""Files that are appended to: what is large goes to the disk past the memory that the kernel keeps files in.

A page of that memory has to be found, filled and written later, and pushes out what others read. For what is large and
written once, that costs more than its hash and the network together. Writing past it (``O_DIRECT``) wants whole blocks
from aligned memory, so pieces are gathered. See ``docs/decisions/0015-past-memory.md``.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from typing import TYPE_CHECKING, Final

from ocikit._fs import FlushBehind

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Appender"]

#: From how many bytes on a file is written past memory.
_LARGE: Final = 32 << 20
# No file system has larger blocks, and none wants memory to be aligned to more.
_BLOCK: Final = 4096
_GATHERED: Final = 1 << 20
# How long what came is kept from those who wait for the file to grow, and from whoever goes on after a crash.
_KEPT_SECONDS: Final = 1.0
_DIRECT: Final = getattr(os, "O_DIRECT", 0)
# What file systems say that cannot do it, at once or at the first write.
_UNABLE: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


class Appender:
    """Appends to a file; for one thread at a time. The file has all of it after :meth:`flush`, or the ``with`` block.

    Args:
        fd: The file; whoever else has the same open file does not write while this does.
        end: Where it ends.
        expected: How large it will be; -1 when that is not known.
    """

    def __init__(self, fd: int, end: int = 0, expected: int = -1) -> None:
        self._fd = fd
        self._end = end  # of what is in the file
        self._may_be_direct = bool(_DIRECT)
        self._direct_from = 0 if expected >= _LARGE else _LARGE
        self._behind = FlushBehind(fd, end)
        self._gathered: mmap.mmap | None = None
        self._count = 0  # of what is gathered
        self._written = 0.0

    def write(self, data: bytes) -> None:
        """Append all of some bytes.

        Raises:
            OSError: As the system calls give it.
        """
        view = memoryview(data)
        if self._gathered is None:
            view = self._buffered(view)
        while view:
            view = self._gather(view)

    def flush(self) -> None:
        """Let the file have everything that was appended; it may be written by others after that.

        Raises:
            OSError: As the system calls give it.
        """
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return
        self._set(direct=False)
        count, self._count = self._count, 0
        with gathered, memoryview(gathered) as view, view[:count] as rest:
            self._put(rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.flush()
        except OSError:
            if kind is None:
                raise

    def _buffered(self, view: memoryview) -> memoryview:
        """Write what is written through memory; return the rest, for which there is a place to gather it then."""
        if self._may_be_direct:
            # Up to a block, from where on there are only whole ones.
            ahead = max(self._direct_from - self._end, -self._end % _BLOCK)
            if len(view) > ahead:
                self._put(view[:ahead])
                view = view[ahead:]
                if self._set(direct=True):
                    self._gathered, self._written = mmap.mmap(-1, _GATHERED), time.monotonic()
                    return view
        self._put(view)
        return view[:0]

    def _gather(self, view: memoryview) -> memoryview:
        gathered, count = self._gathered, self._count
        if gathered is None:  # it turned out that the file system cannot do it
            return self._buffered(view)
        taken = min(len(view), _GATHERED - count)
        gathered[count : count + taken] = view[:taken]
        self._count = count + taken
        if self._count == _GATHERED or time.monotonic() - self._written > _KEPT_SECONDS:
            self._put_blocks(gathered)
        return view[taken:]

    def _put_blocks(self, gathered: mmap.mmap) -> None:
        """Write the whole blocks of what is gathered."""
        blocks = self._count - self._count % _BLOCK
        try:
            with memoryview(gathered) as view, view[:blocks] as whole:
                written = os.pwrite(self._fd, whole, self._end)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            self._may_be_direct = False
            self.flush()
            return
        # Ctrl-C comes before both or after both: nothing is called in between.
        self._end += written
        self._count -= written
        gathered.move(0, written, self._count)
        self._written = time.monotonic()
        if written % _BLOCK:  # a disk that is nearly full; what it has to say comes with the next write
            self.flush()

    def _put(self, view: memoryview) -> None:
        while view:
            written = os.pwrite(self._fd, view, self._end)
            view = view[written:]
            self._end += written
        self._behind.reached(self._end)

    def _set(self, *, direct: bool) -> bool:
        """Have the file written past memory, or through it again; say whether that is so now."""
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~_DIRECT
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | (_DIRECT if direct else 0))
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            self._may_be_direct = False
            return False
        return True
