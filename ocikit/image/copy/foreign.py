"""Layers that are not where their image is: fetched from the URLs in their descriptors (descriptor.md).

The URLs come from whoever made the image. They get no credentials, only http and https are followed, and what comes
back is held against digest and size like every other blob.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ocikit.errors import BlobNotFoundError, MissingDependencyError

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["open_foreign"]

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
# Bytes per second on the average, below which nobody waits any longer.
_LEAST_RATE: Final = 1024
_LENGTH_DIGITS: Final = 19
_REDIRECTS: Final = 5
_URLS: Final = 16
_OK: Final = 200


def open_foreign(info: BlobInfo) -> tuple[ByteStream, int]:
    """Open a blob at the first of its URLs that has it; **not verified**.

    Args:
        info: The blob, with its URLs.

    Returns:
        The stream, which the caller closes, and the size of the blob; -1 when the server does not say.

    Raises:
        BlobNotFoundError: None of the URLs has it; the message says why for each.
        MissingDependencyError: urllib3 is not installed.
    """
    try:
        import urllib3  # noqa: PLC0415 (loaded when a layer is downloaded)
    except ImportError as error:
        raise MissingDependencyError("layers are downloaded by urllib3: install it") from error
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        retries=urllib3.Retry(total=_REDIRECTS, connect=1, read=0, redirect=_REDIRECTS, status=0),
    )
    failures = []
    for url in info.urls[:_URLS]:
        try:
            if urlsplit(url).scheme not in {"http", "https"}:
                failures.append(f"{url}: only http and https are fetched")
                continue
            response = pool.request("GET", url, preload_content=False, headers={"Accept-Encoding": "identity"})
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        if response.status != _OK:
            response.close()
            failures.append(f"{url}: HTTP status {response.status}")
            continue
        return _Response(response, url, info, (urllib3.exceptions.HTTPError, ValueError)), _length(response)
    raise BlobNotFoundError(f"layer {info.digest} cannot be fetched from its URLs: {'; '.join(failures)}")


def _length(response: Any) -> int:  # noqa: ANN401 - urllib3's, which is imported late
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < _LENGTH_DIGITS else -1


class _Response:
    """A body, given on as it arrives, as long as it arrives at some speed."""

    def __init__(
        self,
        response: Any,  # noqa: ANN401 - urllib3's, which is imported late
        url: str,
        info: BlobInfo,
        failures: tuple[type[Exception], ...],
    ) -> None:
        self._response = response
        self._what = f"layer {info.digest} from {url}"
        self._failures = failures
        self._began = time.monotonic()
        self._size = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            data: bytes = self._response.read1(size if size >= 0 else None, decode_content=False)
        except self._failures as error:
            raise BlobNotFoundError(f"{self._what}: {error}") from error
        self._size += len(data)
        seconds = time.monotonic() - self._began
        if seconds > _READ_SECONDS and self._size < seconds * _LEAST_RATE:
            raise BlobNotFoundError(f"{self._what}: {self._size:,} bytes in {seconds:.0f} seconds, and no end in sight")
        return data

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
