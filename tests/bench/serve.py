"""Run a container once for each line of standard input: ``serve.py ROOT ID BUNDLE MIB``.

With so much memory that was touched. Each run is answered by the nanoseconds that it took.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
import time
from pathlib import Path

from bundles import live


def touched(size: int) -> mmap.mmap:
    """Return memory that is really there, in small pages: that is what a fork would have to copy the tables of."""
    memory = mmap.mmap(-1, size)
    with contextlib.suppress(OSError):  # a kernel without large pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
    return memory


def main(root: str, name: str, bundle: str, size: int) -> None:
    """Serve."""
    memory = touched(size << 20) if size else None
    for _ in sys.stdin:
        began = time.perf_counter_ns()
        live(Path(root), name, bundle)
        print(time.perf_counter_ns() - began, flush=True)  # noqa: T201
    if memory is not None:
        memory.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
