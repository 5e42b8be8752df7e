"""What containers and their numbers show of themselves, in a notebook and in a terminal."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from showing import MB, Page, show, stats

from ocikit import runtime
from ocikit._display import html, text
from ocikit.errors import StateError
from ocikit.runtime.stats.network import parse_interfaces
from ocikit.runtime.stats.types import InterfaceStats
from ocikit.runtime.status import Completed, ExitStatus
from ocikit.runtime.stopping import Outcome, Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: What a page or a terminal would obey, each with what is shown of it.
ATTACKS = [
    ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ("\"'><img src=x onerror=alert(1)>", "&quot;&#x27;&gt;&lt;img src=x onerror=alert(1)&gt;"),
    ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
    ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
    ("gpj.exe\u202egnp.", r"gpj.exe\u202egnp."),
    ("a\u2066b\u2069\u200b\ufeff", r"a\u2066b\u2069\u200b\ufeff"),
    ("one\ntwo\r\x00\x7f\x85\u2028", r"one\ntwo\r\x00\x7f\x85\u2028"),
    ("\udcff\udc80", r"\xff\x80"),
    ("\ud800\U000e0041", r"\ud800\U000e0041"),
    ("x" * 1000, "x" * 159 + "…"),
]


# --------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(("evil", "shown"), ATTACKS, ids=range(len(ATTACKS)))
def test_hostile_text(evil: str, shown: str) -> None:
    """In every place of a page, and in a table for a terminal, it is letters and nothing else."""
    page = html.joined(
        (
            html.table([(evil, html.code(evil))], (evil, ""), caption=evil),
            html.facts([(evil, evil)], caption=evil),
            html.badge(evil, "good"),
            html.element("div", evil, title=evil[:100]),
        )
    )
    Page(page)
    assert page.count(shown) >= 6
    assert {*re.findall(r"<(\w+)", page)} == {*"table caption thead tbody tr th td code span div".split()}
    for line in text.table([(evil, 1)], ("name", "count")).split("\n"):
        assert line.isprintable()


def test_a_table_for_a_terminal() -> None:
    """Numbers are put to the right, wide characters take two columns, and what is not known says so."""
    rows = [("a", 1, text.size(10)), ("漢字", 100, text.size(2 * MB)), (None, 20, text.size(0)), ("e\u0301", 3, "x")]
    assert text.table(rows[:3], ("name", "n", "size")).split("\n") == [
        "name       n     size",
        "a          1     10 B",
        "漢字     100  2.0 MiB",
        "unknown   20      0 B",
    ]
    assert text.table(rows[3:], ("n", "m", "x")).split("\n")[1] == "e\u0301  3  x"


def test_tables_have_an_end() -> None:
    """Of more rows than anybody reads it is said how many there are."""
    rows = [(str(number),) for number in range(text.MOST_ROWS + 7)]
    assert text.table(rows, ("n",)).endswith("\n499\n… and 7 more")
    assert Page(html.table(rows, ("n",))).text.endswith("499… and 7 more")


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536, "1.5 KiB"), (100 * MB, "100 MiB"), (1 << 80, "1048576 EiB")],
)
def test_sizes(number: int, shown: str) -> None:
    """Bytes are shown with three figures, more or less."""
    assert text.size(number) == shown


def test_times() -> None:
    """Seconds, minutes and hours are told apart."""
    assert [text.seconds(one) for one in (0, 59.99, 60, 3599, 7200)] == [
        "0.00 s",
        "59.99 s",
        "1:00",
        "59:59",
        "2:00:00",
    ]


# --------------------------------------------------------------------------------------------------------- containers


def test_a_container_in_a_notebook(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Whatever it is doing, what is known is shown, and what its annotations hold is shown as letters."""
    told = {"org.opencontainers.image.ref.name": "app:1"}
    evils = [evil for evil, _ in ATTACKS if evil.isascii()]
    told |= {f"evil{number}": evil for number, evil in enumerate(evils)} | {f"more{n:02}": "x" for n in range(30)}
    bundle = make_bundle("sh", "-c", "exit 3", annotations=told)
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        page = show(container)
        for said in (
            container_id,
            "● created",
            f"pid{container.pid}",
            "imageapp:1",
            str(bundle),
            "memory",
            "pids",
        ):
            assert said in page.text
        assert "<script>alert(1)</script>" in page.text
        assert r"\x1b[2J" in page.text
        assert f"… and {len(told) - 20} more" in page.text
        assert page.text.index("evil0") < page.text.index("more00")
        container.start()
        container.wait(30)
        page = show(container)
        assert "● stopped" in page.text
        assert "ended● exit code 3, 2" in page.text
        assert "memory" not in page.text
        show(container.state())
        container.destroy()
        assert "● stopped" in show(container).text


def test_a_paused_container_in_a_notebook(created: runtime.Container) -> None:
    """It says that it is paused, and what it uses."""
    created.start()
    created.pause()
    assert "● paused" in show(created).text
    assert show(created.stats()).text.startswith("memory")
    created.resume()
    created.kill()
    created.wait(30)
    assert "● killed by SIGKILL (9), 2" in show(created).text


def test_showing_a_container_is_no_error(created: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is unknown, and the rest is shown."""

    def refuse() -> Any:
        raise StateError("somebody else could have written it")

    monkeypatch.setattr(created, "stats", refuse)
    page = show(created)
    assert "● created" in page.text
    assert "memory, cpu, pidsunknown" in page.text
    monkeypatch.setattr(created, "state", refuse)
    page = show(created)
    assert f"id{created.id}statusunknown" in page.text
    listed = runtime.ContainerList([created])
    assert f"{created.id}unknown" in show(listed).text
    assert str(listed).split("\n")[1].split()[:4] == [created.id, "unknown", "unknown", "unknown"]


def test_a_list_of_containers(created: runtime.Container) -> None:
    """It is a list like any other, and shows itself as a table."""
    found = runtime.list_containers(created.root)
    assert isinstance(found, list)
    assert found == [*found]
    head, line = str(found).split("\n")
    assert head.split() == ["ID", "STATUS", "PID", "CREATED", "BUNDLE"]
    assert line.split()[:3] == [created.id, "created", str(created.pid)]
    assert "● created" in show(found).text
    assert repr(found).startswith("[<Container ")
    assert runtime.list_containers(f"{created.root}/nowhere") == []


def test_what_became_of_many() -> None:
    """Each has a line, with the error that there was, as letters."""
    evil = ATTACKS[0][0]
    report = Report(
        (
            Outcome("a", "removed", killed=True, exit_status=ExitStatus(None, 9)),
            Outcome("b", "failed", error=OSError(evil)),
            Outcome("c", "vanished"),
        ),
        (evil,),
    )
    page = show(report)
    assert "a● removed● killed by SIGKILL (9); it had to be killed" in page.text
    assert f"b● failedOSError: {evil}" in page.text
    assert page.text.startswith(f"● {evil}")
    assert show(Report()).text == "no containers"


@pytest.mark.parametrize(
    ("code", "number", "shown"),
    [(0, None, "exit code 0"), (3, None, "exit code 3"), (None, 15, "killed by SIGTERM (15)"),
     (None, 40, "killed by signal 40"), (None, None, "in a way that nobody saw")],
)  # fmt: skip
def test_how_it_ended(code: int | None, number: int | None, shown: str) -> None:
    """A code, a signal, or that it is not known."""
    assert show(ExitStatus(code, number)).text == f"ended: ● {shown}"
    assert shown in show(Completed(code, number, b"", b"")).text


def test_what_a_program_wrote() -> None:
    """The beginning of it is shown, line by line, as letters."""
    page = show(Completed(0, None, b"<b>one\n\x1b[1mtwo\xff\n" + b"x" * 5000, b"oops"))
    assert r"<b>one\x1b[1mtwo\xff" in page.text
    assert page.text.endswith("… and 3016 more bytesstderroops")


def test_interfaces_have_names_of_their_own_choice() -> None:
    """The name of a network interface is what the container gives it, separators of other alphabets included."""
    (read,) = parse_interfaces(f"head\nhead\n eth0\x1c\u2028: {' '.join(map(str, range(16)))}\n")
    assert read.name == "eth0\x1c\u2028"
    numbers: dict[str, Any] = {field.name: 1 for field in attrs.fields(InterfaceStats)}
    many = tuple(InterfaceStats(**numbers | {"name": f"<i>{number}\x1b"}) for number in range(30))
    page = show(attrs.evolve(stats(), network=many))
    assert r"network <i>0\x1b" in page.text
    assert "… and 10 more interfaces" in page.text


def test_nothing_of_it_is_loaded_before_it_is_shown(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """Importing the room, and the whole life of a container, bring none of this along."""
    script = """
import json, sys
from ocikit import runtime
dir(runtime)
root, name, bundle = sys.argv[1:]
with runtime.create(root, name, bundle, stdin="null") as container:
    container.start()
    runtime.list_containers(root)
    container.processes()
    container.wait(30)
    container.state()
parts = ("ocikit._display", "ocikit.runtime.display", "ocikit.runtime.processes", "ocikit.runtime.stats", "html")
print(json.dumps([one for one in sys.modules if one.startswith(parts)]))
"""
    command = [sys.executable, "-c", script, str(root), container_id, str(make_bundle("true"))]
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    assert json.loads(done.stdout) == []


def test_a_moment_is_shown_in_the_time_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the second, and without its zone."""
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert text.moment(dt.datetime(2024, 2, 29, 23, 5, 7, 9, tzinfo=dt.UTC)) == "2024-03-01 01:05:07"
    finally:
        monkeypatch.undo()
        time.tzset()
