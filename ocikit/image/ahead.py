"""A stream that a thread of its own reads ahead: hashing and decompressing on one processor, the rest on another."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ocikit.image.types import ByteStream

__all__ = ["ReadAhead"]

_PIECE: Final = 1 << 20
# How far the thread may be ahead, in pieces: enough to cover a large file being written.
_AHEAD: Final = 8
_POLL_SECONDS: Final = 0.05


class ReadAhead:
    """What another stream gives, read a few pieces before it is asked for.

    Args:
        open_stream: Opens the stream, in the thread, which begins with the first :meth:`read`; what it raises,
            :meth:`read` raises. The stream is not closed.
        name: What the thread is called.
    """

    def __init__(self, open_stream: Callable[[], ByteStream], name: str) -> None:
        self._open_stream = open_stream
        self._rest = memoryview(b"")
        self._ended = False
        self._stopped = False
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._produce, name=name, daemon=True)

    def read(self, size: int = -1, /) -> bytes:
        """Return between 1 and ``size`` bytes; ``b""`` only at the end. A negative size is any.

        Raises:
            BaseException: Whatever the stream raised.
        """
        if not self._rest:
            piece = b"" if self._ended else self._next()
            if not 0 <= size < len(piece):
                return piece
            self._rest = memoryview(piece)
        end = size if size >= 0 else len(self._rest)
        data, self._rest = bytes(self._rest[:end]), self._rest[end:]
        return data

    def _next(self) -> bytes:
        if self._thread.ident is None:
            self._thread.start()
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._ended = not piece
        return piece

    def _produce(self) -> None:
        try:
            stream = self._open_stream()
            while not self._stopped:
                piece = stream.read(_PIECE)
                self._pieces.put(piece)
                if not piece:
                    break
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever reads
            self._pieces.put(error)

    def close(self) -> None:
        """End the thread; closing twice is nothing, and nothing can be read after it."""
        self._stopped = self._ended = True
        self._rest = memoryview(b"")
        while self._thread.is_alive():
            # The thread may be waiting for room to put what nobody will read.
            try:
                self._pieces.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
