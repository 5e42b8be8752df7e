"""Messages of HTTP/1.1 as data (RFC 9112): heads read and written, answers, refusals. Touches no socket."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import evolve, frozen

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.testing.pieces import Piece

__all__ = ["Head", "Headers", "Refusal", "Response", "json_response", "parse_head", "render_head"]

_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VERSION: Final = re.compile(r"HTTP/1\.[01]")
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
#: More than any client sends.
_MAX_HEADERS: Final = 100
_MAX_PARAMETERS: Final = 100

#: The reasons of the status codes that are sent here; clients show them, and none reads them.
_REASONS: Final = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently",
    302: "Found", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
    414: "URI Too Long", 416: "Range Not Satisfiable", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


class Refusal(Exception):  # noqa: N818 - never leaves this room: it becomes an answer
    """A request that is refused, in the terms of distribution-spec 1.1, "Error codes"; a list of details is as many."""

    def __init__(
        self, status: int, code: str, message: str, *, detail: object = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = tuple(headers)

    def response(self) -> Response:
        """The answer that says so."""
        details = self.detail if isinstance(self.detail, list) else [self.detail]
        errors = [{"code": self.code, "message": self.message, "detail": detail} for detail in details]
        return json_response({"errors": errors}, status=self.status, headers=self.headers)


class Headers(tuple[tuple[str, str], ...]):
    """Header lines in the order they came in; names are looked up in any case."""

    __slots__ = ()

    def all(self, name: str) -> list[str]:
        """Every value of a name."""
        return [value for key, value in self if key.lower() == name]

    def get(self, name: str) -> str | None:
        """The first value of a name (in lower case), or None."""
        return next(iter(self.all(name)), None)


class Head(NamedTuple):
    """The head of a request."""

    method: str
    #: As it was sent, without scheme and host.
    target: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Headers
    #: Whether the connection is of use after the answer.
    keep_alive: bool
    #: The bytes of the body; None when they come in chunks.
    length: int | None

    def parameter(self, name: str) -> str | None:
        """The first value of a parameter of the query, or None."""
        return next((value for key, value in self.query if key == name), None)


@frozen(kw_only=True)
class Response:
    """An answer: its head as data, its body in pieces.

    Attributes:
        status: The status code.
        headers: Header lines; the length of the body is not one of them.
        body: What follows, in order.
        length: The bytes that the head announces, when that is not what the body has.
        chunked: Whether the body is sent in chunks, without its length.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[Piece, ...] = ()
    length: int | None = None
    chunked: bool = False

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """This answer with header lines of these names replaced by these."""
        names = {name.lower() for name, _ in headers}
        kept = [one for one in self.headers if one[0].lower() not in names]
        return evolve(self, headers=(*kept, *headers))


def json_response(document: object, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return an answer with a JSON document."""
    return Response(
        status=status,
        headers=(("Content-Type", "application/json"), *headers),
        body=(json.dumps(document).encode(),),
    )


def parse_head(data: bytes) -> Head:
    """Read the head of a request, as it stands before the empty line.

    Raises:
        Refusal: It is none.
    """
    first, *lines = data.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not _METHOD.fullmatch(words[0]) or not _VERSION.fullmatch(words[2]):
        raise _bad(f"expected 'METHOD target HTTP/1.1', found {first[:80]!r}")
    if len(lines) > _MAX_HEADERS:
        raise Refusal(431, "UNSUPPORTED", f"expected at most {_MAX_HEADERS} header lines, found {len(lines)}")
    headers = Headers(_header(line) for line in lines)
    method, target, version = words
    origin = target.startswith("/")
    path, _, query = (target if origin else _from_absolute(target)).partition("?")
    tokens = ",".join(headers.all("connection")).lower()
    keep = "close" not in tokens and (version == "HTTP/1.1" or "keep-alive" in tokens)
    shown = f"{path}?{query}" if query else path
    return Head(method, shown, unquote(path), _parameters(query), headers, keep, _length(headers))


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise _bad(f"expected 'Name: value', found {line[:80]!r}")
    return name, value.strip(" \t")


def _from_absolute(target: str) -> str:
    # What a client sends that takes this registry for its proxy.
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"}:
        raise _bad(f"expected a path or a URL, found {target[:80]!r}")
    return f"{parts.path or '/'}?{parts.query}".removesuffix("?")


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except ValueError as error:
        raise Refusal(414, "UNSUPPORTED", f"expected at most {_MAX_PARAMETERS} parameters in the query") from error


def _length(headers: Headers) -> int | None:
    lengths, codings = set(headers.all("content-length")), headers.all("transfer-encoding")
    if codings:
        if lengths or [one.lower() for one in codings] != ["chunked"]:
            raise _bad("expected 'Transfer-Encoding: chunked' alone, or a Content-Length")
        return None
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(one) for one in lengths):
        raise _bad("expected one Content-Length that is a number")
    return int(lengths.pop()) if lengths else 0


def _bad(message: str) -> Refusal:
    return Refusal(400, "UNSUPPORTED", message)


def render_head(response: Response, length: int, *, keep_alive: bool) -> bytes:
    """Return the head of an answer, with the empty line.

    Args:
        response: The answer.
        length: The bytes of its body.
        keep_alive: Whether the connection is kept afterwards.
    """
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}"]
    # A value with a line of its own in it, from a request or a test, makes no line of the head.
    lines += [" ".join(f"{name}: {value}".splitlines()) for name, value in response.headers]
    if response.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif response.status not in {204, 304}:
        lines.append(f"Content-Length: {length if response.length is None else response.length}")
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
