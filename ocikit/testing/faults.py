"""What a registry is to do wrong, and when: a language of plain objects. Only data.

A :class:`Fault` says which requests it is about and what is done to them; its actions are carried out together, where
they do not exclude each other. Of the faults that a request matches, the first that is not used up takes it.

==========================  ================================================================================
:class:`Delay`              waits before it answers, or between the bytes of the body
:class:`Answer`             another answer than the right one, such as 503, 429 or an HTML page
:class:`Redirect`           sends clients elsewhere
:class:`Reset`              the connection is reset (RST)
:class:`Truncate`           the connection is closed in order (FIN), too early
:class:`Hang`               nothing more comes; the connection stays
:class:`Corrupt`            one byte of the body is another
:class:`WrongDigest`        ``Docker-Content-Digest`` is that of something else
:class:`ChangeHeaders`      header lines are others, or missing
:class:`LieAboutLength`     ``Content-Length`` is not the length
:class:`Chunked`            the body comes without its length
:class:`DropUpload`         the upload is forgotten before the request is looked at
==========================  ================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import field, frozen

from ocikit.testing.routes import KINDS, RequestKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from attrs import Attribute

    from ocikit.testing.record import RecordedRequest

__all__ = [
    "Action",
    "Answer",
    "ChangeHeaders",
    "Chunked",
    "Corrupt",
    "Delay",
    "DropUpload",
    "Fault",
    "Hang",
    "LieAboutLength",
    "Redirect",
    "Reset",
    "Truncate",
    "WrongDigest",
]

#: The error codes of distribution-spec 1.1 by status, for answers that name none.
CODES: Final[Mapping[int, str]] = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}


def _count(one: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or value < 0):
        name = f"{type(one).__name__}.{attribute.name}"
        raise ValueError(f"{name}: expected a number that is not negative, found {value!r}")


@frozen(kw_only=True)
class _Cut:
    """Where an exchange breaks off; without anything said, as soon as the head of the request is there.

    Attributes:
        received: After so many bytes of the request's body, which the registry takes; the request is not carried out.
        done: The request is carried out, and no byte of the answer is sent.
        sent: The request is carried out; the head and so many bytes of the answer's body are sent, at most all.
    """

    received: int | None = field(default=None, validator=_count)
    sent: int | None = field(default=None, validator=_count)
    done: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.received is not None) + (self.sent is not None) + self.done > 1:
            raise ValueError(f"{type(self).__name__}: expected one of received, sent and done, found {self}")


@frozen(kw_only=True)
class Reset(_Cut):
    """Reset the connection (RST). What was sent before has reached the client's system.

    Attributes:
        received: After so many bytes of the request's body, which the registry takes; the request is not carried out.
        done: The request is carried out, and no byte of the answer is sent.
        sent: The request is carried out; the head and so many bytes of the answer's body are sent, at most all.
    """


@frozen(kw_only=True)
class Truncate(_Cut):
    """Close the connection in order (FIN) although something is missing.

    Attributes:
        received: After so many bytes of the request's body, which the registry takes; the request is not carried out.
        done: The request is carried out, and no byte of the answer is sent.
        sent: The request is carried out; the head and so many bytes of the answer's body are sent, at most all.
    """


@frozen(kw_only=True)
class Hang(_Cut):
    """Keep the connection and say nothing any more, until the client goes or the registry is stopped.

    Attributes:
        received: After so many bytes of the request's body, which the registry takes; the request is not carried out.
        done: The request is carried out, and no byte of the answer is sent.
        sent: The request is carried out; the head and so many bytes of the answer's body are sent, at most all.
    """


@frozen(kw_only=True)
class Delay:
    """Wait.

    Attributes:
        seconds: How long.
        every: Wait after every so many bytes of the answer's body; None: once, before anything is done.
    """

    seconds: float = field(validator=_count)
    every: int | None = field(default=None, validator=_count)

    def __attrs_post_init__(self) -> None:
        if self.every == 0:
            raise ValueError("Delay.every: expected a number of bytes, at least 1, found 0")


@frozen(kw_only=True)
class Answer:
    """Answer something else.

    Attributes:
        status: The status code.
        code: The code of the error; None: the usual one of the status.
        message: The message of the error.
        body: The body, in place of an error in JSON.
        content_type: The type of the body.
        headers: Header lines.
        retry_after: ``Retry-After``: seconds, or a date with a time zone.
        received: Only after so many bytes of the request's body were taken; None: at once.
        done: Whether the request is carried out nevertheless.
    """

    status: int
    code: str | None = None
    message: str = "a fault that the test asked for"
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)
    retry_after: float | datetime | None = None
    received: int | None = field(default=None, validator=_count)
    done: bool = False

    @classmethod
    def html_page(cls, status: int = 200) -> Answer:
        """A page for people, as proxies and portals put in the place of an answer."""
        page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"
        return cls(status=status, body=page, content_type="text/html; charset=utf-8")


@frozen(kw_only=True)
class Redirect:
    """Send clients elsewhere.

    Attributes:
        to: A URL; one without a path gets that of the request, with its query.
        status: 301, 302, 307 or 308.
    """

    to: str
    status: int = 307


@frozen(kw_only=True)
class Corrupt:
    """Send another byte than the right one.

    Attributes:
        at: Its position in the body of the answer; a negative one counts from the end.
            When there are fewer bytes, it is the last one.
    """

    at: int = 0


@frozen(kw_only=True)
class WrongDigest:
    """Say that the content has another digest (``Docker-Content-Digest``).

    Attributes:
        digest: The digest; that of nothing at all, when none is given.
    """

    digest: str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@frozen(kw_only=True)
class ChangeHeaders:
    """Answer with other header lines.

    Attributes:
        values: The value of each; None: it is missing.
    """

    values: Mapping[str, str | None]


@frozen(kw_only=True)
class LieAboutLength:
    """Announce another length than the body has, send the body, and close the connection.

    Attributes:
        by: What is added to the length.
    """

    by: int


@frozen(kw_only=True)
class Chunked:
    """Send the body in chunks, without its length (``Transfer-Encoding: chunked``)."""


@frozen(kw_only=True)
class DropUpload:
    """Forget the upload that the request is about, before it is looked at."""


Action: TypeAlias = (
    Delay
    | Answer
    | Redirect
    | Reset
    | Truncate
    | Hang
    | Corrupt
    | WrongDigest
    | ChangeHeaders
    | LieAboutLength
    | Chunked
    | DropUpload
)


def _actions(value: Action | Iterable[Action]) -> tuple[Action, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _kinds(value: RequestKind | Iterable[RequestKind] | None) -> tuple[RequestKind, ...] | None:
    # Text is a sequence of text.
    return None if value is None else (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True)
class Fault:
    """What is done to which requests.

    Attributes:
        do: An action, or several.
        kind: What the requests are about, or several of these; None: anything.
        method: Their method; None: any. A blob or a manifest may be asked for by HEAD, too.
        repository: Their repository, or a pattern as of :mod:`fnmatch`; None: any.
        reference: The tag, digest or upload in their path, or a pattern; None: any.
        where: Tells whether a request matches, from its record; None: all do.
        skip: The matching requests that are left alone at first.
        times: The requests that it is for; None: all that come.
    """

    do: tuple[Action, ...] = field(converter=_actions)
    kind: tuple[RequestKind, ...] | None = field(default=None, converter=_kinds)
    method: str | None = None
    repository: str | None = None
    reference: str | None = None
    where: Callable[[RecordedRequest], bool] | None = None
    skip: int = field(default=0, validator=_count)
    times: int | None = field(default=1, validator=_count)

    @do.validator
    def _check_do(self, _: object, value: Collection[object]) -> None:
        kinds = Action.__args__
        if not value or not all(isinstance(one, kinds) for one in value):
            raise ValueError(f"Fault.do: expected one action or several, found {value!r}")

    @kind.validator
    def _check_kind(self, _: object, value: Collection[str] | None) -> None:
        if unknown := set(value or ()) - KINDS:
            raise ValueError(f"Fault.kind: expected {', '.join(sorted(KINDS))}; found {', '.join(sorted(unknown))}")
