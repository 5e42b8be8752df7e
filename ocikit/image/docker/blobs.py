"""Blobs of a registry, read: a stream that goes on where it was broken off (distribution-spec 1.1, Pulling blobs)."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ocikit.errors import BlobNotFoundError, RegistryError
from ocikit.image.docker.bounded import waiting
from ocikit.image.docker.headers import stated_number
from ocikit.image.docker.places import FAILURES
from ocikit.image.docker.unreachable import Unreachable, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from urllib3 import BaseHTTPResponse

    from ocikit.image.docker.client import RegistryClient
    from ocikit.spec import Digest

__all__ = ["BlobStream", "blob_size", "open_blob"]

_log = logging.getLogger(__name__)

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_NOT_FOUND: Final = 404
_NO_SUCH_PART: Final = 416


def open_blob(
    clients: RegistryClient | Sequence[RegistryClient], digest: Digest, size: int = -1, *, offset: int = 0
) -> tuple[BlobStream, int]:
    """Open a blob; not verified.

    Args:
        clients: The repository, or several that have it: the next one is asked when one fails, also in the middle.
        digest: The blob.
        size: Its size, when it is known; -1 when not.
        offset: Where to begin.

    Returns:
        The stream, and the size of the whole blob; -1 when it is not known.

    Raises:
        BlobNotFoundError: There is no such blob.
        RegistryError: The registry refuses, or cannot be reached.
    """
    several = clients if isinstance(clients, Sequence) else (clients,)
    stream = BlobStream(several, digest, size, offset)
    return stream, stream.size


def blob_size(client: RegistryClient, digest: Digest) -> int | None:
    """Return the size of a blob that is there, -1 where the registry does not say; None where it is not.

    Args:
        client: The repository.
        digest: The blob.

    Raises:
        RegistryError: The registry refuses, or cannot be reached.
    """
    path = f"{client.endpoint.reference.path}/blobs/{digest}"
    answer = client.request("HEAD", path, what=f"blob {digest} of {client.endpoint}", expect={200, _NOT_FOUND})
    if answer.status == _NOT_FOUND:
        return None
    return _length(answer.headers)


def _length(headers: Mapping[str, str]) -> int:
    found = stated_number(headers, "Content-Length")
    return -1 if found is None else found


class BlobStream:
    """The content of a blob. When the connection breaks, it is asked for the rest, as often as something comes.

    Args:
        clients: The repositories that have it.
        digest: The blob.
        size: Its size, or -1.
        offset: Where to begin.
    """

    def __init__(self, clients: Sequence[RegistryClient], digest: Digest, size: int, offset: int) -> None:
        self._client, *self._others = clients
        self._digest = digest
        self._position = offset
        self._attempt = 1
        self.size = size
        self._response: BaseHTTPResponse | None = None
        try:
            self._response = self._by_anybody(self._opened)
        except Unreachable as error:
            self._again(error)

    @property
    def _what(self) -> str:
        return f"blob {self._digest} of {self._client.endpoint}"

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, all of them when it is negative; ``b""`` at the end.

        Raises:
            RegistryError: The connection broke, and the registry cannot be reached again.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while self._response is not None:
            try:
                data = self._piece(self._response, size)
            except Unreachable as error:
                if 0 <= self.size <= self._position:
                    data = b""  # more was announced than there is, and all of it is here
                else:
                    self._again(error)
                    continue
            if data:
                self._position += len(data)
                self._attempt = 1
            else:
                self.close()
            return data
        return b""

    def _piece(self, response: BaseHTTPResponse, size: int) -> bytes:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - loaded when first needed

        try:
            # What came before the connection broke counts: nothing waits for the whole of a piece.
            with waiting(self._client.call, self._client.timeout):
                data: bytes = response.read1(size)
        except (HTTPError, OSError) as error:
            raise unreachable(error) from error
        if not data and size and 0 <= self._position < self.size:
            raise Unreachable(f"ends after {self._position:,} of {self.size:,} bytes")
        return data

    def _again(self, error: Unreachable) -> None:
        self.close()

        def after_a_while() -> BaseHTTPResponse:
            self._client.wait(attempt, self._what, str(error), error)
            return self._opened()

        while self._response is None:
            attempt = self._attempt
            self._attempt += 1
            try:
                self._response = self._by_anybody(after_a_while)
            except Unreachable as broken:  # while what was there was passed over
                error = broken

    def _by_anybody(self, opened: Callable[[], BaseHTTPResponse]) -> BaseHTTPResponse:
        """Ask one repository after the other: a mirror may be gone, or not have everything."""
        while True:
            try:
                try:
                    return opened()
                except Unreachable as error:  # while what is there was passed over
                    attempt, self._attempt = self._attempt, self._attempt + 1
                    self._client.wait(attempt, self._what, str(error), error)
                    opened = self._opened
            except FAILURES as error:
                if not self._others:
                    raise
                _log.warning("%s; %s is asked", str(error), self._others[0].endpoint)
                self._client, self._attempt, opened = self._others.pop(0), 1, self._opened

    def _opened(self) -> BaseHTTPResponse:
        path = f"{self._client.endpoint.reference.path}/blobs/{self._digest}"
        headers = {"Range": f"bytes={self._position}-"} if self._position else {}
        try:
            response = self._asked(path, headers)
        except RegistryError as error:
            if error.status == _NOT_FOUND:
                raise BlobNotFoundError(f"{self._what}: {error.answer}") from error
            raise
        self._learn_size(response)
        if self._position and response.status == 200:
            try:
                self._skip(response)
            except BaseException:
                response.close()
                raise
        return response

    def _asked(self, path: str, headers: dict[str, str]) -> BaseHTTPResponse:
        expect = {200, 206, _NO_SUCH_PART} if headers else {200, 206}
        response = self._client.open("GET", path, what=self._what, expect=expect, headers=headers).response
        if response.status != _NO_SUCH_PART:
            return response
        # Some refuse parts of what they have; of what is too short it is found out when it is read.
        response.close()
        response.release_conn()
        return self._client.open("GET", path, what=self._what, headers={}).response

    def _learn_size(self, response: BaseHTTPResponse) -> None:
        begins, whole = 0, -1
        if response.status == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            begins = int(found[1]) if found is not None else -1
            whole = int(found[2]) if found is not None and found[2] != "*" else -1
            if begins != self._position:
                response.close()
                raise RegistryError(
                    self._what,
                    f"asked for what comes after {self._position:,} bytes, the registry sends "
                    f"{response.headers.get('Content-Range', 'something else')[:100]!r}",
                )
        else:
            whole = _length(response.headers)
        if 0 <= self.size != whole >= 0:
            self._check_size(response, whole)
        if self.size < 0:
            self.size = whole

    def _check_size(self, response: BaseHTTPResponse, whole: int) -> None:
        """Take no blob of another size while there are others to ask, and never a page for people.

        Who is the only one may be wrong about the length and right about the bytes, which are verified in any case.
        """
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self._others or media_type == "text/html":
            response.close()
            found = "a page for people" if media_type == "text/html" else "something else"
            raise RegistryError(
                self._what, f"answered is {found}, of {whole:,} bytes; expected a blob of {self.size:,} bytes"
            )

    def _skip(self, response: BaseHTTPResponse) -> None:
        """Pass over what was read before: the registry does not know parts of blobs."""
        left = self._position
        while left:
            data = self._piece(response, min(left, 1 << 20))
            if not data:
                raise RegistryError(self._what, f"is shorter than the {self._position:,} bytes that were read before")
            left -= len(data)

    def close(self) -> None:
        """Release the connection; closing twice is nothing."""
        response, self._response = self._response, None
        if response is not None:
            # One of which not everything was read cannot be used again.
            response.close()
            response.release_conn()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()
