"""Which fault takes which request: counted, so that a test can say exactly what happens to whom."""

from __future__ import annotations

import fnmatch
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.testing.faults import Fault
    from ocikit.testing.record import RecordedRequest

__all__ = ["Injection", "Injector"]


class Injection:
    """A fault that was given to a registry, and how often it happened. Made by :meth:`Registry.inject`."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._seen = 0
        self._fired = 0
        self._cancelled = False

    @property
    def fault(self) -> Fault:
        """The fault."""
        return self._fault

    @property
    def fired(self) -> int:
        """To how many requests it has happened."""
        return self._fired

    @property
    def pending(self) -> bool:
        """Whether it can still happen."""
        times = self._fault.times
        return not self._cancelled and (times is None or self._fired < times)

    def cancel(self) -> None:
        """Let it happen no more; a second time does nothing."""
        self._cancelled = True

    def _takes(self, request: RecordedRequest) -> bool:
        """Tell whether it happens to a request, and count it."""
        if not self.pending or not _matches(self._fault, request):
            return False
        self._seen += 1
        if self._seen <= self._fault.skip:
            return False
        self._fired += 1
        return True

    def __repr__(self) -> str:
        return f"<Injection of {self._fault}, fired {self._fired}>"


def _matches(fault: Fault, request: RecordedRequest) -> bool:
    return (
        (fault.kind is None or request.kind in fault.kind)
        and (fault.method is None or request.method == fault.method.upper())
        and _fits(request.repository, fault.repository)
        and _fits(request.reference, fault.reference)
        and (fault.where is None or fault.where(request))
    )


def _fits(text: str | None, pattern: str | None) -> bool:
    return pattern is None or (text is not None and fnmatch.fnmatchcase(text, pattern))


class Injector:
    """Keeps the faults of a registry in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._injections: list[Injection] = []

    def add(self, fault: Fault) -> Injection:
        """Add a fault after those that are there."""
        injection = Injection(fault)
        with self._lock:
            self._injections = [one for one in self._injections if one.pending]
            self._injections.append(injection)
        return injection

    def take(self, request: RecordedRequest) -> Fault | None:
        """Return the fault that happens to a request."""
        with self._lock:
            return next((one.fault for one in self._injections if one._takes(request)), None)  # noqa: SLF001 - of this module

    def clear(self) -> None:
        """Cancel all."""
        with self._lock:
            for one in self._injections:
                one.cancel()
            self._injections.clear()
