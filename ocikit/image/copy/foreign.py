"""Layers that are not where their image is: fetched from the URLs in their descriptors (descriptor.md).

The URLs come from whoever made the image. They get no credentials, only http and https are followed, and what comes
back is held against digest and size like every other blob.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ocikit.errors import BlobNotFoundError, MissingDependencyError

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import BlobInfo, ByteStream

__all__ = ["open_foreign"]

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
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
    failures = []
    for url in info.urls[:_URLS]:
        if urlsplit(url).scheme not in {"http", "https"}:
            failures.append(f"{url}: only http and https are fetched")
            continue
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=urllib3.Retry(total=_REDIRECTS, connect=1, read=0, redirect=_REDIRECTS, status=0),
        )
        try:
            response = pool.request("GET", url, preload_content=False, headers={"Accept-Encoding": "identity"})
        except urllib3.exceptions.HTTPError as error:
            failures.append(f"{url}: {error}")
            continue
        if response.status != _OK:
            response.close()
            failures.append(f"{url}: HTTP status {response.status}")
            continue
        return _Response(response), int(response.headers.get("Content-Length") or -1)
    raise BlobNotFoundError(f"layer {info.digest} cannot be fetched from its URLs: {'; '.join(failures)}")


class _Response:
    def __init__(self, response: Any) -> None:  # noqa: ANN401 - urllib3's, which is imported late
        self._response = response

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._response.read(size if size >= 0 else None, decode_content=False)
        return data

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
