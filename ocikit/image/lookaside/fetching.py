"""A lookaside store behind HTTP: read within bounds, and never written. What comes back is not verified."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from ocikit.errors import LimitExceededError, MissingDependencyError, TransportError
from ocikit.image.lookaside.stores import signature_name
from ocikit.image.stored_signature import MAX_SIGNATURE_BYTES, MAX_SIGNATURES, MAX_SIGNATURES_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fetch_signatures"]

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 30.0
#: How long all signatures of one manifest may take.
_SECONDS: Final = 120.0
_REDIRECTS: Final = 5
_REDIRECTED: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_NOT_FOUND: Final = 404
_PIECE: Final = 64 << 10


def fetch_signatures(url: str, credentials: str | None = None) -> tuple[bytes, ...]:
    """Return the signatures of a manifest, up to the first that is not there.

    Args:
        url: The URL of their directory.
        credentials: ``user:password`` for its host, and for no other; None for none.

    Raises:
        TransportError: The server cannot be reached, or does not answer as it should.
        LimitExceededError: There are more than 128, one is larger than 4 MiB, or all of them larger than 32 MiB.
        MissingDependencyError: urllib3 is not installed.
    """
    try:
        import urllib3  # noqa: PLC0415 - loaded when something is fetched
    except ImportError as error:
        raise MissingDependencyError("signatures are fetched by urllib3: install it") from error
    timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
    headers = urllib3.make_headers(accept_encoding="identity", basic_auth=credentials)
    failures = (urllib3.exceptions.HTTPError, ValueError, OSError)
    with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
        return tuple(_each(_Getting(pool, url, headers, failures), url))


def _each(getting: _Getting, url: str) -> Iterator[bytes]:
    size = 0
    for number in range(1, MAX_SIGNATURES + 2):
        data = getting.get(f"{url}/{signature_name(number)}")
        if data is None:
            return
        size += len(data)
        if number > MAX_SIGNATURES:
            raise LimitExceededError(f"signatures at {url}", MAX_SIGNATURES)
        if size > MAX_SIGNATURES_BYTES:
            raise LimitExceededError(f"bytes of the signatures at {url}", MAX_SIGNATURES_BYTES)
        yield data


class _Getting:
    """Requests to one store, all of them within one time."""

    def __init__(self, pool: Any, base: str, headers: Any, failures: tuple[type[Exception], ...]) -> None:  # noqa: ANN401 - urllib3's
        self._pool = pool
        self._origin = _origin(base)
        self._headers = dict(headers)
        self._failures = failures
        self._end = time.monotonic() + _SECONDS

    def get(self, url: str) -> bytes | None:
        """Return what is at a URL; None when nothing is."""
        at = url
        for _ in range(_REDIRECTS + 1):
            try:
                response = self._pool.request(
                    "GET", at, headers=self._headers_for(at), preload_content=False, redirect=False
                )
            except self._failures as error:
                raise TransportError(f"{url}: the signature cannot be fetched: {error}") from error
            with response:
                if response.status == _NOT_FOUND:
                    return None
                if response.status == _OK:
                    return self._body(response, url)
                if response.status not in _REDIRECTED:
                    raise TransportError(f"{url}: expected the status 200 or 404, found {response.status}")
                at = _redirected(at, response.headers.get("Location", ""), url)
        raise TransportError(f"{url}: more than {_REDIRECTS} redirections")

    def _headers_for(self, url: str) -> dict[str, str]:
        # Who is redirected elsewhere tells nobody there what the password is.
        ours = _origin(url) == self._origin
        return {key: value for key, value in self._headers.items() if ours or key.lower() != "authorization"}

    def _body(self, response: Any, url: str) -> bytes:  # noqa: ANN401 - urllib3's
        data = b""
        while True:
            if time.monotonic() > self._end:
                raise TransportError(f"{url}: the signatures did not arrive within {_SECONDS:.0f} seconds")
            try:
                piece: bytes = response.read1(min(_PIECE, MAX_SIGNATURE_BYTES + 1 - len(data)), decode_content=False)
            except self._failures as error:
                raise TransportError(f"{url}: the signature cannot be fetched: {error}") from error
            if not piece:
                return data
            data += piece
            if len(data) > MAX_SIGNATURE_BYTES:
                raise LimitExceededError(f"bytes of {url}", MAX_SIGNATURE_BYTES)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _redirected(at: str, location: str, url: str) -> str:
    try:
        target = urljoin(at, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        scheme = ""
    # From https nobody is sent to where others read along, and from neither to files.
    if not location or scheme not in {urlsplit(at).scheme, "https"}:
        raise TransportError(f"{url}: redirected to {location[:200]!r}, which is not followed")
    return target
