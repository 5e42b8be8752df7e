"""What a container uses over time: statistics that were taken one after the other, and the rates between them."""

from __future__ import annotations

import collections
import datetime as dt
import math
import select
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, overload

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError, NotRunningError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.runtime.handle import Handle
    from ocikit.runtime.stats.types import Stats

__all__ = ["Sample", "StatsHistory", "record"]

_DEFAULT_LIMIT: Final = 1000
_SHORTEST_INTERVAL: Final = 0.01
_NANOSECONDS: Final = 1e9

#: Numbers, one for each sample; None where there is none.
Series = tuple[float | None, ...]


class Sample(NamedTuple):
    """Statistics that were taken at one moment."""

    #: When, in seconds since the first one of the history; clocks that are set change nothing about it.
    time: float
    stats: Stats


class StatsHistory(Sequence[Sample]):
    """Statistics of a container over time, the oldest first.

    A rate is that of the time since the sample before: the first sample has none, and neither has one that counts
    less than the one before. In a notebook it is a plot, as text some lines for a terminal.

    Args:
        limit: The most samples that are kept; when there are more, the oldest are dropped.

    Raises:
        ValueError: There is no place for two samples.
    """

    __slots__ = ("_begin", "_samples", "started")

    def __init__(self, limit: int = _DEFAULT_LIMIT) -> None:
        if limit < 2:
            raise ValueError(f"limit: expected 2 samples or more, found {limit}")
        self._samples: collections.deque[Sample] = collections.deque(maxlen=limit)
        self._begin = 0.0
        #: When the first sample was taken; None when there was none.
        self.started: dt.datetime | None = None

    def add(self, stats: Stats, *, at: float | None = None) -> None:
        """Add a sample.

        Args:
            stats: What :meth:`Container.stats` has returned.
            at: When, by :func:`time.monotonic`; None is this moment.

        Raises:
            ValueError: It is older than the one before.
        """
        at = time.monotonic() if at is None else at
        if self.started is None:
            self._begin = at
            self.started = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=time.monotonic() - at)
        since = at - self._begin
        if self._samples and not since >= self._samples[-1].time:
            raise ValueError(f"at: expected {self._begin + self._samples[-1].time} or later, found {at}")
        self._samples.append(Sample(since, stats))

    @property
    def limit(self) -> int:
        """The most samples that are kept."""
        return self._samples.maxlen or 0

    @property
    def times(self) -> tuple[float, ...]:
        """When each sample was taken, in seconds since the first one."""
        return tuple(one.time for one in self._samples)

    @property
    def cpu_percent(self) -> Series:
        """Time of processors that was used, in per cent of the time of one processor."""
        return self._rates(lambda stats: stats.cpu.total * 100 / _NANOSECONDS if stats.cpu is not None else None)

    @property
    def memory(self) -> Series:
        """Memory in use, in bytes, caches included."""
        return self._values(lambda stats: stats.memory.memory.usage if stats.memory is not None else None)

    @property
    def pids(self) -> Series:
        """Processes and threads."""
        return self._values(lambda stats: stats.pids.current if stats.pids is not None else None)

    @property
    def read_rate(self) -> Series:
        """What was read from disks, in bytes per second."""
        return self._rates(lambda stats: _bytes(stats, "Read"))

    @property
    def write_rate(self) -> Series:
        """What was written to disks, in bytes per second."""
        return self._rates(lambda stats: _bytes(stats, "Write"))

    def rows(self) -> list[dict[str, float | None]]:
        """Return each sample as a row of numbers, by the names of the properties here: what a data frame is made of."""
        names = ("cpu_percent", "memory", "pids", "read_rate", "write_rate")
        columns: list[Series] = [self.times, *(getattr(self, name) for name in names)]
        return [dict(zip(("time", *names), row, strict=True)) for row in zip(*columns, strict=True)]

    def _values(self, read: Callable[[Stats], float | None]) -> Series:
        return tuple(read(one.stats) for one in self._samples)

    def _rates(self, read: Callable[[Stats], float | None]) -> Series:
        return tuple(_rate(self._values(read), self.times))

    def __repr__(self) -> str:
        span = self._samples[-1].time - self._samples[0].time if self._samples else 0.0
        return f"<StatsHistory: {len(self)} samples in {span:.1f} seconds>"

    def __str__(self) -> str:
        from ocikit.runtime.display.numbers import history_lines  # noqa: PLC0415 - for those who show it

        return history_lines(self)

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.numbers import history_plot  # noqa: PLC0415 - for those who show it

        return history_plot(self)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(tuple(self._samples))

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        return tuple(self._samples)[index]


def _bytes(stats: Stats, operation: str) -> float | None:
    if stats.block_io is None:
        return None
    return sum(one.value for one in stats.block_io.service_bytes if one.operation == operation)


def _rate(values: Series, times: Sequence[float]) -> Iterator[float | None]:
    before: float | None = None
    since = 0.0
    for value, moment in zip(values, times, strict=True):
        told = value is not None and before is not None and value >= before and moment > since
        yield (value - before) / (moment - since) if told and value is not None and before is not None else None
        before, since = value, moment


def record(container: Handle, seconds: float | None, interval: float, history: StatsHistory) -> None:
    """Add samples to a history until a time is over or the container has ended.

    Args:
        container: Whose; the last sample of one that ends is taken after its end, if its cgroups are still there.
        seconds: For how long; None is until it has ended.
        interval: The time between two samples, in seconds.
        history: Gets the samples.

    Raises:
        ValueError: The times make no sense.
        CgroupError: The kernel does not tell, or the container never had a cgroup of its own.
    """
    if not interval >= _SHORTEST_INTERVAL or math.isinf(interval):
        raise ValueError(f"interval: expected {_SHORTEST_INTERVAL} seconds or more, found {interval}")
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"seconds: expected 0 or more, or None, found {seconds}")
    begin = time.monotonic()
    end = math.inf if seconds is None else begin + seconds
    waiting = select.poll()
    with container.held() as process:
        if process is not None:
            waiting.register(process, select.POLLIN)
        over = process is None
        while _add(container, history) and not over and time.monotonic() < end:
            over = _pause(waiting, _next(begin, interval, end))


def _next(begin: float, interval: float, end: float) -> float:
    """Return when the next sample is due: those that were missed are left out."""
    done = math.floor((time.monotonic() - begin) / interval)
    return min(begin + (done + 1) * interval, end)


def _pause(waiting: select.poll, until: float) -> bool:
    """Wait until a moment; return whether the container has ended before it."""
    while (left := until - time.monotonic()) > 0:
        # In pieces: poll takes its time in a C int of milliseconds.
        if waiting.poll(min(left * 1000, 1e9)):
            return True
    return False


def _add(container: Handle, history: StatsHistory) -> bool:
    """Take a sample; return whether there was anything to count."""
    try:
        stats = container.stats()
    except NotRunningError:
        return False
    except CgroupError:
        if container._alive():  # noqa: SLF001 - part of looking at it
            raise
        return False  # its cgroups were removed while they were read
    history.add(stats)
    return True
