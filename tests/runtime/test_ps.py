"""The processes of a container as a list: what is known of each, whatever it calls itself, while they come and go."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rootless_calls import spec_of

from ocikit import runtime
from ocikit.runtime import processes
from ocikit.runtime.host import procfs
from ocikit.spec import LinuxIDMapping, LinuxNamespace, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from as_user import User as Unprivileged
    from peer_runc import Runc

#: Starts processes with names and arguments that are none, and says when all of them have them. A name is set by
#: writing it, and is what the last of them has.
SCRIPT = r"""
printf 'x\rUid:\t7 7 7 7' > /proc/self/comm
evil=$(printf '\033]0;gone\007\342\200\256<script>alert(1)</script>"\377')
sh -c 'echo; kill -STOP $$; :' "$evil" '' 'two words' &
sh -c 'printf ") Z 1 1 (\n" > /proc/self/comm; echo; kill -STOP $$; :' long "$(printf '%05000d' 0)" &
wait
"""


@pytest.fixture
def odd(root: Path, make_bundle: Callable[..., Path], container_id: str) -> Iterator[runtime.Container]:
    """Give a container whose processes have odd names."""
    bundle = make_bundle("sh", "-c", SCRIPT)
    with runtime.create(root, container_id, bundle, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        assert container.stdout.read(2) == b"\n\n"
        yield container


def loops(found: runtime.ProcessList) -> list[runtime.ProcessInfo]:
    """Return the shells among some processes, the first one first."""
    return sorted((one for one in found if one.command[:1] == ("sh",)), key=lambda one: one.container_pid)


def test_each_process_is_described(odd: runtime.Container) -> None:
    """Ids inside and outside, parents, users, times and memory are those of the kernel."""
    found = odd.ps()
    assert {one.pid for one in found} <= set(odd.processes())
    first, *others = loops(found)
    assert (first.pid, first.container_pid, first.user, first.threads) == (odd.pid, 1, "root", 1)
    assert first.ppid == os.getpid()
    assert len(others) == 2
    for one in others:
        assert one.ppid == first.pid
        assert one.container_pid > 1
        assert one.state in "RST"
        assert 0 < one.rss < 1 << 26
        assert 0 <= one.cpu_time < 60
        assert abs(one.started - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=10)
    assert [one.pid for one in found] == sorted(one.pid for one in found)


def test_a_name_cannot_pretend_to_be_something_else(odd: runtime.Container) -> None:
    """A name with line breaks, parentheses and the words of the kernel's files changes no other field."""
    first, _, last = loops(odd.ps())
    with open(f"/proc/{first.pid}/comm", "rb") as file:
        assert file.read() == b"x\rUid:\t7 7 7 7\n"
    assert first.uid == 0
    with open(f"/proc/{last.pid}/comm", "rb") as file:
        assert file.read().startswith(b") Z 1 1 (")
    assert (last.ppid, last.state != "Z") == (first.pid, True)


def test_arguments_are_told_as_they_are(odd: runtime.Container) -> None:
    """Empty ones, bytes that are no text, escape sequences; what is too long is cut, and says so."""
    _, second, last = loops(odd.ps())
    evil = '\x1b]0;gone\x07\u202e<script>alert(1)</script>"\udcff'
    assert second.command[3:] == (evil, "", "two words")
    assert last.command[3] == "long"
    assert last.command[-1].strip("0") == "…"
    assert sum(len(os.fsencode(one)) + 1 for one in last.command) == 4096 + len("…".encode()) + 1


def test_the_tables_do_no_harm(odd: runtime.Container) -> None:
    """Nothing that a process calls itself reaches a terminal or a page as anything but letters."""
    found = odd.ps()
    text = str(found)
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text.split("\n")) == len(found) + 1
    assert r"\x1b]0;gone\x07\u202e<script>" in text
    page = found._repr_html_()
    assert page.isprintable()
    assert "<script" not in page
    assert r"\x1b]0;gone\x07\u202e&lt;script&gt;alert(1)&lt;/script&gt;&quot;\xff" in page
    assert repr(found).isprintable()


def test_columns_stand_below_their_titles(odd: runtime.Container) -> None:
    """The table for a terminal is aligned."""
    head, *lines = str(odd.ps()).split("\n")
    at = head.index("COMMAND")
    assert {line[at - 1] for line in lines} == {" "}
    assert all(line[at] != " " for line in lines)


def test_it_is_a_sequence(odd: runtime.Container) -> None:
    """It can be indexed, cut, compared and gone through."""
    found = odd.ps()
    assert found[:1] == runtime.ProcessList((found[0],))
    assert isinstance(found[1:], runtime.ProcessList)
    assert [*found][-1] is found[-1]
    assert hash(found[:2]) == hash(found[:2])
    assert found != [*found]
    assert str(runtime.ProcessList()).startswith("PID")


def test_users_are_called_what_the_container_calls_them(
    root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]
) -> None:
    """By the names of its own file, below its own root; a number that has none there stays one."""
    for uid, user in ((1000, "user"), (4321, "4321")):
        bundle = make_bundle(process={"user": User(uid=uid, gid=uid)})
        with runtime.create(root, new_id(), bundle, stdin="null") as container:
            container.start()
            assert [(one.uid, one.user) for one in container.ps()] == [(uid, user)]


def test_users_of_a_namespace(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The number is ours, the name that of the user inside."""
    maps = (LinuxIDMapping(container_id=0, host_id=300000, size=2000),)
    names = ("pid", "ipc", "uts", "mount", "cgroup", "network", "user")
    linux = {"namespaces": tuple(LinuxNamespace(type=name) for name in names), "uid_mappings": maps}
    bundle = make_bundle(process={"user": User(uid=1000, gid=0)}, linux=linux | {"gid_mappings": maps})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        (one,) = container.ps()
        assert (one.uid, one.user, one.container_pid) == (301000, "user", 1)


def look_without_privileges(container_id: str) -> list[Any]:
    """Show a container of this user; called in a process of such a user."""
    spec = spec_of()
    with runtime.create(None, container_id, Path.home() / "bundle", spec=spec, stdin="null") as container:
        container.start()
        (Path.home() / "rootfs/etc").mkdir(exist_ok=True)
        (Path.home() / "rootfs/etc/passwd").write_text("me:x:0:0::/:/bin/sh\n")
        (one,) = container.ps()
        return [one.pid == container.pid, one.container_pid, one.uid == os.getuid(), one.user, container._repr_html_()]


def test_without_privileges_and_without_cgroups(user: Unprivileged, container_id: str) -> None:
    """There is the first process, whose user has the name that it has inside; what is not counted is unknown."""
    *found, page = user.call(look_without_privileges, container_id)
    assert found == [True, 1, True, "me"]
    assert "unknown" in page


def test_a_container_of_runc(runc: Runc, root: Path, bundle: Path, container_id: str) -> None:
    """Whoever made it, its processes are found."""
    runc.create(container_id, bundle)
    container = runtime.load(root, container_id)
    container.start()
    assert [(one.pid, one.container_pid, one.user) for one in container.ps()] == [(container.pid, 1, "root")]


def test_processes_that_come_and_go(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Those that end while they are read are left out, and are no error."""
    bundle = make_bundle("sh", "-c", "while :; do /bin/true; done")
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        for _ in range(50):
            found = container.ps()
            assert found[0].container_pid == 1


def test_a_container_that_has_stopped(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """It has no processes, and neither has one that was destroyed."""
    with runtime.create(root, container_id, make_bundle("true"), stdin="null") as container:
        container.start()
        container.wait(30)
        assert container.ps() == runtime.ProcessList()
        container.destroy()
        assert container.ps() == runtime.ProcessList()


def test_a_paused_container(odd: runtime.Container) -> None:
    """What is frozen can be looked at."""
    odd.pause()
    assert len(loops(odd.ps())) == 3
    odd.resume()


def test_a_number_that_was_given_to_somebody_else(odd: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is in the container's cgroups only before it is read is none of its own."""
    lists = iter([[os.getpid(), odd.pid], [odd.pid]])
    monkeypatch.setattr(odd, "processes", lambda: next(lists))
    assert [one.pid for one in odd.ps()] == [odd.pid]


def test_a_process_that_shows_no_arguments() -> None:
    """One that has ended and was not reaped is called by its name; one that is gone is nothing."""
    child = os.fork()
    if child == 0:
        os._exit(0)

    class Container:
        pid, rootfs = os.getpid(), "/nowhere"

        def _alive(self) -> bool:
            return True

    users = processes._Users(Container())  # type: ignore[arg-type]
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        found = processes._read(child, users)
        assert found is not None
        with open("/proc/self/comm", encoding="utf-8") as file:
            assert found.command == (f"[{file.read().rstrip()}]",)
        assert (found.state, found.ppid, found.rss) == ("Z", os.getpid(), 0)
    finally:
        os.waitpid(child, 0)
    assert processes._read(child, users) is None


@pytest.mark.parametrize(
    ("comm", "seen"),
    [(b"sh", b"sh"), (b"a) R (b", b"a) R (b"), (b"(((", b"((("), (b")))", b")))"), (b"1\n2 3", b"1\n2 3"), (b"", b"")],
)
def test_names_in_stat(comm: bytes, seen: bytes) -> None:
    """The name ends with the last parenthesis of the line."""
    numbers = b" ".join(b"%d" % number for number in range(4, 53))
    found = procfs.Usage.parse(b"7 (" + comm + b") S " + numbers + b"\n")
    assert found == procfs.Usage(seen, "S", 4, 14 + 15, 20, 22, 24)


def passwd_link(path: Path) -> None:
    """Make a link that leads out of the root, to the file of the host."""
    path.symlink_to("/etc/passwd")


def passwd_up(path: Path) -> None:
    """Make a link that goes up, further than there is."""
    path.symlink_to("../../../../../../../etc/passwd")


def passwd_long(path: Path) -> None:
    """Make a file that is longer than is read, and has nothing but names that are none."""
    path.write_bytes(b"a:x\n:x:5:\nb::" + b"9" * 5000 + b"\n" + b"n" * 300 + b":x:6:\n" + b"\0" * (1 << 20))


@pytest.mark.parametrize(
    "make", [passwd_link, passwd_up, os.mkfifo, os.mkdir, passwd_long], ids=lambda one: one.__name__
)
def test_a_hostile_file_of_users(make: Callable[[Path], None], tmp_path: Path) -> None:
    """It never leads out of the container's root, keeps nobody waiting, and is read in part only."""
    (tmp_path / "etc").mkdir()
    make(tmp_path / "etc/passwd")
    assert processes._names_of_users(str(tmp_path)) == {}


def test_names_of_users(tmp_path: Path) -> None:
    """The first name of a number counts, whatever bytes it has; no root is no names."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(b"root:x:0:0::/:/bin/sh\n\xff\x1b:x:5:\ntoor:x:0:0\n\nx\n")
    assert processes._names_of_users(str(tmp_path)) == {0: "root", 5: "\udcff\x1b"}
    assert processes._names_of_users(str(tmp_path / "nowhere")) == {}


def test_clock_of_starts(odd: runtime.Container) -> None:
    """A process that is started later says so."""
    before = odd.ps()[0].started
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        time.sleep(0.1)
    with odd.exec(["sleep", "1000"], stdin="null") as process:
        newest = max(odd.ps(), key=lambda one: one.started)
        assert newest.pid == process.pid
        assert newest.started - before > dt.timedelta(seconds=0.9)
