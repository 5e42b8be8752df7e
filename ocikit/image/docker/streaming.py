"""Bodies of requests that are sent while they are read, once: what goes wrong with reading is not the registry's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Body", "Feed"]


class Feed:
    """Pieces of a body, read when they are sent. It can be gone through once.

    Args:
        pieces: The pieces.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except GeneratorExit:
            raise
        except BaseException as error:
            # Who sends takes it for an error of the connection.
            self._error = error
            raise

    def check(self) -> None:
        """Raise what went wrong while it was read.

        Raises:
            BaseException: Whatever it was.
        """
        if self._error is not None:
            raise self._error


#: What is sent with a request.
Body: TypeAlias = "bytes | Feed | None"
