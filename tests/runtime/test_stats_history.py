"""What a container uses over time: samples, the rates between them, and how they are drawn."""

from __future__ import annotations

import math
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

import attrs
import pytest
from showing import MB, show, stats

from ocikit import runtime
from ocikit.errors import CgroupError
from ocikit.runtime.display import plot
from ocikit.spec import LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocikit.runtime.stats import Stats


def history(*samples: Stats, limit: int = 1000) -> runtime.StatsHistory:
    """Return a history with a sample every half a second."""
    found = runtime.StatsHistory(limit)
    for number, one in enumerate(samples):
        found.add(one, at=100 + number / 2)
    return found


def test_rates_are_those_between_two_samples() -> None:
    """The first sample has none; one that counts less than the one before has none either."""
    found = history(stats(1, disk=0), stats(1.25, disk=1000), stats(2.25, disk=1000), stats(0, disk=0), stats(0.5))
    assert found.times == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert found.cpu_percent == (None, 50.0, 200.0, None, 100.0)
    assert found.write_rate == (None, 4000.0, 0.0, None, 0.0)
    assert found.read_rate == (None, 0.0, 0.0, 0.0, 0.0)
    assert found.memory == (MB,) * 5
    assert found.pids == (3,) * 5
    assert found.rows()[1] == {
        "time": 0.5, "cpu_percent": 50.0, "memory": MB, "pids": 3, "read_rate": 0.0, "write_rate": 4000.0
    }  # fmt: skip
    assert found.started is not None


def test_a_history_is_a_sequence_with_a_bound() -> None:
    """The oldest samples are dropped; times go on from the first one that there was."""
    found = history(*(stats(number) for number in range(10)), limit=4)
    assert (len(found), found.limit) == (4, 4)
    assert found.times == (3.0, 3.5, 4.0, 4.5)
    assert [one.stats.cpu.total for one in found if one.stats.cpu] == [6e9, 7e9, 8e9, 9e9]
    assert found[-1] == found[2:][-1]
    assert found.cpu_percent == (None, 200.0, 200.0, 200.0)
    with pytest.raises(ValueError, match=r"at: expected 104\.5 or later, found 104\.4"):
        found.add(stats(), at=104.4)
    with pytest.raises(ValueError, match="at: expected"):
        found.add(stats(), at=math.nan)
    with pytest.raises(ValueError, match="limit: expected 2"):
        runtime.StatsHistory(1)


def test_samples_of_the_same_moment_have_no_rate() -> None:
    """Nothing is divided by zero."""
    found = runtime.StatsHistory()
    for _ in range(2):
        found.add(stats(1), at=7)
    assert found.cpu_percent == (None, None)
    show(found)


def test_what_is_not_counted_is_a_gap() -> None:
    """It is None, never zero, and the drawing is interrupted there."""
    nothing = attrs.evolve(stats(), cpu=None, memory=None, pids=None, block_io=None)
    found = history(stats(1), stats(1.5), nothing, stats(2), stats(3), stats(4))
    assert found.cpu_percent == (None, 100.0, None, None, 200.0, 200.0)
    assert found.memory == (MB, MB, None, MB, MB, MB)
    page = found._repr_html_()
    assert page.count("<circle") == 1  # one value between two gaps
    assert page.count('stroke-width="1.6"') == 3
    assert str(found).split("\n")[1] == "cpu      ▅  ██  200 %, at most 200 %"
    for empty in (runtime.StatsHistory(), history(nothing, nothing)):
        assert show(empty).text == "no samples" == str(empty)


def test_a_history_for_a_terminal() -> None:
    """Each thing that was counted is a line of at most sixty bars, and its last and highest values."""
    found = history(*(stats(number * 0.5, MB * (number + 1)) for number in range(200)))
    head, cpu, memory, pids = str(found).split("\n")
    assert head == "200 samples in 99.5 s"
    assert cpu.endswith("█  100 %, at most 100 %")
    assert memory.endswith("█  200 MiB, at most 200 MiB")
    assert memory.startswith("memory  ▁")
    assert pids.endswith("3, at most 3")
    assert all(len(re.findall("[▁-█]", line)) <= 60 for line in (cpu, memory, pids))


def test_a_history_in_a_notebook() -> None:
    """It is one drawing of its own; a limit that is near is a line in it; many samples do not make it large."""
    found = history(*(stats(number * 0.4, (number % 40 + 1) * MB, limit=64 * MB) for number in range(1000)))
    page = show(found)
    assert page.tags.count("svg") == 1
    assert "cpu, of one processor80 %, at most 80 %" in page.text
    assert "memory40.0 MiB, at most 40.0 MiB, limit 64.0 MiB" in page.text
    assert "stroke-dasharray" in found._repr_html_()
    assert "NaN" not in found._repr_html_()
    assert len(found._repr_html_()) < 32768
    assert "stroke-dasharray" not in history(stats(limit=64 * MB), stats(limit=64 * MB))._repr_html_()


def test_every_point_is_inside_the_drawing() -> None:
    """Whatever the values are, nothing is drawn above or beside the panel."""
    values = [0.0, 1e-9, 5.0, None, 1e15, 12.0]
    page = plot.draw(range(6), [plot.Panel("x", "y", values, 10.0, str, "#000")], description="z")
    for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", page):
        assert 60 <= float(x) <= 520
        assert 20 <= float(y) <= 90


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 0.3), (10, 10), (11, 15), (99, 100), (101, 150), (1000, 1000)]
)
def test_round_numbers(value: float, top: float) -> None:
    """The top of a panel is a round number that is not below the values."""
    assert plot.round_up(value, (1, 1.5, 2, 3, 4, 5, 8), 10) == pytest.approx(top)


#: Takes some memory, tells so, works, and ends when it gets a line.
EATER = "x=$(head -c 8000000 /dev/zero | tr '\\0' a); echo; i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done; exit 3"


def test_a_container_is_watched_until_it_ends(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Its memory and its work are in the samples, and that it ends is no error."""
    resources = LinuxResources.from_dict({"memory": {"limit": 64 * MB}})
    bundle = make_bundle("busybox", "sh", "-c", EATER, linux={"resources": resources})
    with runtime.create(root, container_id, bundle, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        container.stdout.readline()
        found = container.sample(None, 0.02)
        assert container.wait(0).exit_code == 3
        assert max(one for one in found.memory if one) > 8_000_000
        assert max(one for one in found.cpu_percent if one) > 0
        assert {1} <= set(found.pids)
        assert "limit 64.0 MiB" in show(found).text
        container.destroy()
        assert len(container.sample(10, 1)) == 0


def test_sampling_stops_when_the_time_is_over(created: runtime.Container) -> None:
    """There is a sample at the beginning, one at the end, and those between; a history can be gone on with."""
    begin = time.monotonic()
    found = created.sample(0.25, 0.1)
    assert time.monotonic() - begin >= 0.25
    assert 2 <= len(found) <= 4
    assert len(created.sample(0)) == 1
    before = len(found)
    assert created.sample(0, history=found) is found
    assert len(found) == before + 1


@pytest.mark.parametrize(("seconds", "interval"), [(1, 0), (1, math.nan), (1, math.inf), (-1, 1), (math.nan, 1)])
def test_times_that_make_no_sense(created: runtime.Container, seconds: float, interval: float) -> None:
    """They are refused, with the argument that is wrong."""
    with pytest.raises(ValueError, match="expected"):
        created.sample(seconds, interval)


def test_sampling_ends_when_the_container_is_destroyed(root: Path, bundle: Path, container_id: str) -> None:
    """Somebody else takes the cgroups away while they are read: the samples so far are what there is."""
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        other = runtime.load(root, container_id)
        enough = threading.Event()

        def destroy() -> None:
            enough.wait(30)
            other.destroy(force=True)

        thread = threading.Thread(target=destroy)
        thread.start()
        found = runtime.StatsHistory()
        found.add(container.stats())
        enough.set()
        container.sample(None, 0.01, history=found)
        thread.join()
        assert len(found) >= 1


def test_sampling_can_be_interrupted(created: runtime.Container) -> None:
    """What was taken until then is in the history that was given."""
    found = runtime.StatsHistory()
    timer = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        created.sample(600, 0.01, history=found)
    timer.join()
    assert len(found) > 1


def test_errors_that_are_not_the_end_are_told(created: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that lives and cannot be read is an error."""

    def refuse() -> Stats:
        raise CgroupError("read", 5)

    monkeypatch.setattr(created, "stats", refuse)
    with pytest.raises(CgroupError):
        created.sample(1)
