"""What was asked and what became of it: every request, as tests count them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import field, frozen

from ocikit.errors import LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.testing.routes import RequestKind

__all__ = ["Entry", "RecordedRequest", "RequestLog"]

#: How an exchange ended, or ``running``.
Outcome = Literal["running", "answered", "reset", "truncated", "gone"]

#: Header lines that are never kept.
_SECRET: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
#: An answer that the client has may be counted a moment later.
_SETTLING_SECONDS: Final = 1.0


@frozen(kw_only=True)
class RecordedRequest:
    """One request.

    Attributes:
        number: Its place among all requests, from 1 on.
        connection: The number of its connection, from 1 on.
        method: The method.
        target: Path and query as they were sent.
        kind: What it is about.
        repository: The repository in the path.
        reference: The tag, digest or upload in the path.
        headers: Header lines by name in lower case, without credentials.
        authorization: What credentials there were: ``none``, ``basic``, ``bearer`` or ``other``.
        user: Who the client says it is, or whose token it shows.
        token: Which token it shows: ``token-1`` for the first one of this registry, ``unknown`` for those of others.
        status: The status of the answer; None: there was none.
        bytes_in: The bytes of its body that were taken until it was answered.
        bytes_out: The bytes of the answer's body that were sent.
        started: When it began, in seconds of the monotonic clock.
        ended: When it ended; None: it has not.
        outcome: How it ended: ``answered``, ``reset`` or ``truncated`` as a fault wanted it, ``gone`` when the client
            went; ``running`` until then.
        faults: The names of the actions that were carried out.
    """

    number: int
    connection: int
    method: str
    target: str
    kind: RequestKind
    repository: str | None
    reference: str | None
    headers: Mapping[str, str] = field(repr=False)
    authorization: str
    user: str | None
    token: str | None
    status: int | None
    bytes_in: int
    bytes_out: int
    started: float
    ended: float | None
    outcome: Outcome
    faults: tuple[str, ...]


class Entry:
    """A request that is being recorded; written by the thread that answers it."""

    def __init__(self, log: RequestLog, number: int, about: Mapping[str, Any]) -> None:
        self._log = log
        self._about = about
        self.number = number
        self.status: int | None = None
        self.bytes_in = self.bytes_out = 0
        self.started = time.monotonic()
        self.ended: float | None = None
        self.outcome: Outcome = "running"
        self.faults: tuple[str, ...] = ()
        #: Whether the client may have everything before this is counted.
        self.is_ending = False

    def changed(self) -> None:
        """Tell those who wait that something was counted."""
        self._log.changed()

    def end(self, outcome: Outcome) -> None:
        """Write down how it ended."""
        self.outcome = outcome
        self.ended = time.monotonic()
        self._log.changed()

    @property
    def method(self) -> str:
        """The method."""
        return str(self._about["method"])

    @property
    def target(self) -> str:
        """Path and query."""
        return str(self._about["target"])

    def snapshot(self) -> RecordedRequest:
        """What is known so far."""
        return RecordedRequest(
            number=self.number,
            status=self.status,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            started=self.started,
            ended=self.ended,
            outcome=self.outcome,
            faults=self.faults,
            **self._about,
        )


class RequestLog:
    """Every request of a registry, in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[Entry] = deque(maxlen=limit)
        self._numbers = itertools.count(1)
        self._condition = threading.Condition()
        self._dropped = False

    def begin(self, about: Mapping[str, Any], headers: tuple[tuple[str, str], ...]) -> Entry:
        """Record a request that has come."""
        shown: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            if key not in _SECRET:
                shown[key] = f"{shown[key]}, {value}" if key in shown else value
        with self._condition:
            entry = Entry(self, next(self._numbers), {**about, "headers": shown})
            self._dropped |= len(self._entries) == self._limit
            self._entries.append(entry)
            self._condition.notify_all()
        return entry

    def changed(self) -> None:
        """Wake those who wait."""
        with self._condition:
            self._condition.notify_all()

    def clear(self) -> None:
        """Forget all requests."""
        with self._condition:
            self._entries.clear()
            self._dropped = False

    def requests(self) -> tuple[RecordedRequest, ...]:
        """Return all requests. One that is all but over is waited for, so that what a client has is counted.

        Raises:
            LimitExceededError: There were more than are remembered.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: not any(one.is_ending and one.ended is None for one in self._entries), _SETTLING_SECONDS
            )
            if self._dropped:
                remedy = "RegistryLimits(records=…) raises it, clear_requests() begins anew"
                raise LimitExceededError("requests that are remembered", self._limit, remedy=remedy)
            return tuple(one.snapshot() for one in self._entries)

    def wait_for(
        self, matches: Callable[[RecordedRequest], bool], *, count: int, timeout: float
    ) -> tuple[RecordedRequest, ...]:
        """Wait until so many requests match; return these.

        Raises:
            TimeoutError: It took longer.
        """
        found: list[RecordedRequest] = []

        def look() -> bool:
            found[:] = [one for one in map(Entry.snapshot, self._entries) if matches(one)]
            return len(found) >= count

        with self._condition:
            if not self._condition.wait_for(look, timeout):
                seen = ", ".join(f"{one.method} {one.target}" for one in [*self._entries][-5:])
                raise TimeoutError(
                    f"expected {count} requests that match within {timeout} s, found {len(found)} "
                    f"of {len(self._entries)}; the last ones: {seen or 'none'}"
                )
        return tuple(found)
