"""One request and what becomes of it: the right answer, and the faults that a test asked for."""

from __future__ import annotations

import contextlib
import functools
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import evolve

from ocikit.testing import dispatch
from ocikit.testing.connection import ClientGoneError, Connection, RequestBody, uncounted
from ocikit.testing.faults import (
    CODES,
    Answer,
    ChangeHeaders,
    Chunked,
    Corrupt,
    Delay,
    DropUpload,
    Hang,
    LieAboutLength,
    Redirect,
    Reset,
    Truncate,
    WrongDigest,
)
from ocikit.testing.messages import Head, Refusal, Response, json_response, parse_head, render_head
from ocikit.testing.pieces import close_all, corrupt, size, split, steps
from ocikit.testing.routes import find_route
from ocikit.testing.site import Request

if TYPE_CHECKING:
    import threading

    from ocikit.testing.faults import Action
    from ocikit.testing.injection import Injector
    from ocikit.testing.pieces import Piece
    from ocikit.testing.record import Entry, RequestLog
    from ocikit.testing.site import Site

__all__ = ["Exchange", "serve"]

_Kind = TypeVar("_Kind")
_Cut = Reset | Truncate | Hang

#: The bytes that are sent between two looks at the count, and those that are skipped to keep a connection.
_STEP: Final = 4 << 20
_SKIPPED: Final = 1 << 20
#: The bytes at the end of a body that are counted before they go.
_TAIL: Final = 16 << 10
#: How often a connection that hangs is looked at.
_LOOK_SECONDS: Final = 0.02


class _BreakOff(Exception):  # noqa: N818 - never leaves this module: the exchange ends as a fault wants it
    def __init__(self, cut: _Cut) -> None:
        super().__init__()
        self.cut = cut


class _InsteadOf(Exception):  # noqa: N818 - never leaves this module: another answer is sent
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def _stop(action: _Cut | Answer) -> None:
    """Do no more of what was asked for."""
    raise _InsteadOf(action) if isinstance(action, Answer) else _BreakOff(action)


def serve(site: Site, log: RequestLog, injector: Injector, connection: Connection, stopped: threading.Event) -> None:
    """Answer requests until the connection ends; it is closed then.

    Args:
        site: The registry.
        log: Where requests are recorded.
        injector: What goes wrong with them.
        connection: The connection.
        stopped: Set when the registry is being stopped.
    """
    try:
        while not stopped.is_set():
            data = connection.read_head(site.limits.head_bytes)
            if data is None:
                return
            head = parse_head(data)
            if not Exchange(site, log, connection, stopped, head).run(injector):
                return
    except Refusal as refusal:
        # Who tries TLS where there is none has often gone before it hears so.
        with contextlib.suppress(ClientGoneError):
            response = refusal.response()
            connection.send(render_head(response, size(response.body), keep_alive=False))
            connection.send(b"".join(bytes(piece) for piece in response.body if not isinstance(piece, tuple)))
            connection.close_in_order()
    except ClientGoneError:
        return
    finally:
        connection.close()


class Exchange:
    """A request that has come.

    Args:
        site: The registry.
        log: Where it is recorded.
        connection: Where it came from.
        stopped: Set when the registry is being stopped.
        head: Its head.
    """

    def __init__(
        self, site: Site, log: RequestLog, connection: Connection, stopped: threading.Event, head: Head
    ) -> None:
        self._site = site
        self._connection = connection
        self._stopped = stopped
        caller = site.gate.caller(head.headers.get("authorization"))
        route = find_route(head.method, head.path)
        token = None if caller.scheme != "bearer" else caller.token.id if caller.token else "unknown"
        about = {
            "connection": connection.number,
            "method": head.method,
            "target": head.target,
            "kind": route.kind,
            "repository": route.repository,
            "reference": route.reference,
            "authorization": caller.scheme,
            "user": caller.user,
            "token": token,
        }
        self._entry: Entry = log.begin(about, head.headers)
        self._request = Request(head, RequestBody(connection, head, self._came), route, caller)
        self._actions: tuple[Action, ...] = ()
        #: The right answer, whose files are open until the end, whatever is sent of it.
        self._right = Response(status=500)
        self._keep = head.keep_alive

    def run(self, injector: Injector) -> bool:
        """Answer it, or do what a fault wants; tell whether the connection is of use afterwards."""
        try:
            fault = injector.take(self._entry.snapshot())
            self._actions = fault.do if fault else ()
            self._entry.faults = tuple(type(action).__name__ for action in self._actions)
            self._reply(self._response())
            self._finish()
        except _BreakOff as broken:
            self._break_off(broken.cut)
        except ClientGoneError:
            self._keep = False
            self._entry.end("gone")
        except BaseException:
            # The ``where`` of a fault, or a mistake in here: whoever waits for the request must not wait on.
            self._entry.end("gone")
            raise
        finally:
            close_all(self._right.body)
        return self._keep

    def _came(self, count: int) -> None:
        self._entry.bytes_in += count
        self._entry.changed()

    def _all(self, kind: type[_Kind]) -> list[_Kind]:
        return [action for action in self._actions if isinstance(action, kind)]

    def _cuts(self) -> list[_Cut]:
        return [action for action in self._actions if isinstance(action, Reset | Truncate | Hang)]

    def _before(self) -> None:
        """Do what comes before the request is looked at."""
        for delay in self._all(Delay):
            if delay.every is None:
                self._sleep(delay.seconds)
        if self._all(DropUpload) and (upload := self._site.contents.uploads.get(self._request.reference)):
            self._site.contents.drop_upload(upload)
        has_body = not self._request.body.is_read
        for action in [*self._cuts(), *self._all(Answer)]:
            if action.received is not None and has_body:
                self._request.body.break_off(action.received, functools.partial(_stop, action))
            elif not action.done and not (isinstance(action, _Cut) and action.sent is not None):
                _stop(action)

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise ClientGoneError

    def _response(self) -> Response:
        """Return the answer as the faults want it."""
        try:
            self._before()
            if redirects := self._all(Redirect):
                return self._changed(self._redirect(redirects[0]))
            self._right = dispatch.answer(self._site, self._request)
            self._after()
        except _InsteadOf as other:
            return self._changed(_false_answer(other.answer))
        return self._changed(self._right)

    def _after(self) -> None:
        """Do what comes when the request was carried out."""
        for action in [*self._cuts(), *self._all(Answer)]:
            if action.done:
                _stop(action)
            if action.received is not None:
                # Who answers has not read as far as that.
                for _ in self._request.body.read():
                    pass

    def _redirect(self, action: Redirect) -> Response:
        has_path = "/" in action.to.partition("://")[2].rstrip("/")
        target = action.to if has_path else action.to.rstrip("/") + self._request.head.target
        return Response(status=action.status, headers=(("Location", target),))

    def _changed(self, response: Response) -> Response:
        """Return an answer with the lies that are asked for."""
        if wrong := self._all(WrongDigest):
            response = response.with_headers(("Docker-Content-Digest", wrong[0].digest))
        for change in self._all(ChangeHeaders):
            kept = response.with_headers(*((name, value or "") for name, value in change.values.items()))
            missing = {name.lower() for name, value in change.values.items() if value is None}
            response = evolve(kept, headers=tuple(one for one in kept.headers if one[0].lower() not in missing))
        for damage in self._all(Corrupt):
            response = evolve(response, body=corrupt(response.body, damage.at))
        for lie in self._all(LieAboutLength):
            response = evolve(response, length=max(size(response.body) + lie.by, 0))
            self._keep = False
        return evolve(response, chunked=True) if self._all(Chunked) else response

    def _reply(self, response: Response) -> None:
        """Send an answer, as far as it is to come."""
        self._entry.status = response.status
        # A body that is too long to be skipped is still coming when the answer is there.
        self._keep = self._keep and self._request.body.is_short(_SKIPPED)
        body = () if self._request.head.method == "HEAD" or response.status == 304 else response.body
        response = response if body else evolve(response, chunked=False)
        # Only a lie closes the connection without saying so.
        says_so = not self._all(LieAboutLength) and not self._keep
        head = render_head(response, size(response.body), keep_alive=not says_so)
        cuts = sorted((cut.sent, number) for number, cut in enumerate(self._cuts()) if cut.sent is not None)
        sent = split(body, cuts[0][0])[0] if cuts else body
        self._send(head, sent, chunked=response.chunked, last=not cuts)
        if cuts:
            raise _BreakOff(self._cuts()[cuts[0][1]])

    def _send(self, head: bytes, body: tuple[Piece, ...], *, chunked: bool, last: bool) -> None:
        pauses = [delay for delay in self._all(Delay) if delay.every is not None]
        step = min([_STEP, *(pause.every or _STEP for pause in pauses)])
        left = size(body)
        self._entry.is_ending = last and not left
        self._connection.send(head, more=bool(left))
        # Who has the last byte finds it counted: the end is counted first, and is short, as it may not arrive.
        parts = (body,) if pauses else split(body, left - _TAIL)
        for number, piece in enumerate(one for part in parts for one in steps(part, step)):
            if number and pauses:
                self._sleep(sum(pause.seconds for pause in pauses))
            length = size((piece,))
            left -= length
            self._entry.is_ending = last and not left and not chunked
            if not left:
                self._went(length)
            if chunked:
                self._connection.send(b"%x\r\n" % length, more=True)
            self._connection.send_piece(piece, self._went if left else uncounted)
            if chunked:
                self._connection.send(b"\r\n")
        if chunked and last:
            self._entry.is_ending = True
            self._connection.send(b"0\r\n\r\n")

    def _went(self, count: int) -> None:
        self._entry.bytes_out += count
        self._entry.changed()

    def _finish(self) -> None:
        self._entry.end("answered")
        self._keep = self._keep and self._request.body.skip(_SKIPPED)
        if not self._keep:
            self._connection.close_in_order()

    def _break_off(self, cut: _Cut) -> None:
        """End the exchange as a fault wants it."""
        self._keep = False
        if isinstance(cut, Hang):
            self._hang()
            return
        self._entry.is_ending = True
        self._entry.end("reset" if isinstance(cut, Reset) else "truncated")
        if isinstance(cut, Reset):
            self._connection.reset(self._stopped)
        else:
            self._connection.close_in_order()

    def _hang(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            if self._connection.is_client_gone():
                break
        self._entry.end("gone")


def _false_answer(action: Answer) -> Response:
    code = action.code or CODES.get(action.status, "UNKNOWN")
    if action.body is None:
        response = json_response({"errors": [{"code": code, "message": action.message}]}, status=action.status)
    else:
        response = Response(status=action.status, headers=(("Content-Type", action.content_type),), body=(action.body,))
    headers = dict(action.headers)
    if isinstance(action.retry_after, datetime):
        headers["Retry-After"] = format_datetime(action.retry_after.astimezone(UTC), usegmt=True)
    elif action.retry_after is not None:
        headers["Retry-After"] = f"{action.retry_after:g}"
    return response.with_headers(*headers.items())
