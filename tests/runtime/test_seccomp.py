"""Filters at work: what programs in containers see of them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bpf_machine import MACHINE
from probing import add_probe
from seccomp_profiles import SUB, arg, call, number, profile

from ocikit import runtime
from ocikit.errors import SetupError, ValidationError
from ocikit.spec import LinuxIDMapping, LinuxNamespace, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocikit.spec import LinuxSeccomp

#: Where podman keeps its profile: one list for all machines and sets of capabilities.
PODMAN = Path("/usr/share/containers/seccomp.json")

#: A program that is linked dynamically, with the C library of the host.
DYNAMIC = "/usr/bin/sha256sum"


@pytest.fixture(scope="module")
def rootfs(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root file system with the program that makes system calls."""
    made = add_probe(rootfs, tmp_path_factory.mktemp("probe") / "rootfs")
    _add_dynamic(made, DYNAMIC)
    return made


@pytest.fixture
def run(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> Callable[..., runtime.Completed]:
    """Run a program under a profile."""

    def filtered(seccomp: LinuxSeccomp | None, *args: str, **more: Any) -> runtime.Completed:
        linux = more.pop("linux", {}) | {"seccomp": seccomp}
        return runtime.run(root, new_id(), make_bundle(*args, linux=linux, **more), timeout=60)

    return filtered


@pytest.fixture
def probe(run: Callable[..., runtime.Completed]) -> Callable[..., list[int]]:
    """Make system calls under a profile; return their results."""

    def results(seccomp: LinuxSeccomp, *calls: str, **more: Any) -> list[int]:
        done = run(seccomp, "probe", *calls, **more)
        assert done[:2] == (0, None), done
        return [int(line) for line in done.stdout.split()]

    return results


def asking(name: str, *arguments: int, how: str = "n", architecture: str = MACHINE) -> str:
    """Write a call down for the program."""
    return ":".join([how, str(number(name, architecture)), *(str(value) for value in arguments)])


#: A call that succeeds, whatever its arguments are.
GETPPID = asking("getppid")


@pytest.mark.parametrize(
    ("fields", "result"),
    [({}, -errno.EPERM), ({"errnoRet": 77}, -77), ({"errnoRet": 0}, 0), ({"errnoRet": 4094}, -4094)],
)
def test_errno(probe: Callable[..., list[int]], fields: dict[str, Any], result: int) -> None:
    """A refused call fails with the number of the entry, EPERM without one; with 0 it seems to succeed."""
    assert probe(profile("SCMP_ACT_ALLOW", call("getsid", **fields)), asking("getsid"), GETPPID) == [result, 0]


def test_default_errno(probe: Callable[..., list[int]]) -> None:
    """What no entry names fails as the default says; what is newer than all entries does not exist."""
    everything = [call(*_everything_but("getsid"), action="SCMP_ACT_ALLOW")]
    newest = f"n:{max(number(name) for name in everything[0]['names']) + 1}"
    asked = (asking("getsid"), newest, GETPPID)
    assert probe(profile("SCMP_ACT_ERRNO", *everything, defaultErrnoRet=61), *asked) == [-61, -errno.ENOSYS, 0]
    assert probe(profile("SCMP_ACT_ERRNO", *everything), *asked) == [-errno.EPERM, -errno.ENOSYS, 0]


def _everything_but(*names: str) -> list[str]:
    """Return all names of podman's profile that this machine has, less some."""
    from ocikit.runtime.seccomp.library import library  # noqa: PLC0415

    found = {name for entry in json.loads(PODMAN.read_bytes())["syscalls"] for name in entry["names"]}
    numbers = library().resolve(found - {*names}, library().native)
    return sorted(name for name, value in numbers.items() if value >= 0)


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_killed(run: Callable[..., runtime.Completed], action: str) -> None:
    """A program that is ended by its filter is seen to have been ended by SIGSYS."""
    done = run(profile("SCMP_ACT_ALLOW", call("getsid", action=action)), "probe", GETPPID, asking("getsid"), GETPPID)
    assert done[:3] == (None, signal.SIGSYS, b"0\n")


def test_threads(run: Callable[..., runtime.Completed]) -> None:
    """What kills a thread leaves the others; what kills the process does not."""
    asked = ("probe", asking("getsid", how="t"), GETPPID)
    assert run(profile("SCMP_ACT_ALLOW", call("getsid", action="SCMP_ACT_KILL_THREAD")), *asked)[:3] == (
        0,
        None,
        b"1000\n0\n",
    )
    ended = run(profile("SCMP_ACT_ALLOW", call("getsid", action="SCMP_ACT_KILL_PROCESS")), *asked)
    assert ended[:3] == (None, signal.SIGSYS, b"")


def test_trapped(run: Callable[..., runtime.Completed]) -> None:
    """A program that handles SIGSYS learns which call it was."""
    trapping = profile("SCMP_ACT_ALLOW", call("getsid", action="SCMP_ACT_TRAP"))
    assert run(trapping, "probe", "h", asking("getsid"), GETPPID).stdout == b"trapped %d\n0\n" % number("getsid")


def test_logged_and_traced(probe: Callable[..., list[int]]) -> None:
    """What is logged is carried out; what a tracer is to see does not exist where there is no tracer."""
    entries = (call("getsid", action="SCMP_ACT_LOG"), call("getpgid", action="SCMP_ACT_TRACE", errnoRet=5))
    got = probe(profile("SCMP_ACT_ALLOW", *entries), asking("getsid"), asking("getpgid"))
    assert got == [1, -errno.ENOSYS]
    logging = profile("SCMP_ACT_LOG", call("getsid"))
    assert probe(logging, asking("getsid"), GETPPID) == [-errno.EPERM, 0]


@pytest.mark.parametrize(
    ("args", "results"),
    [
        ([arg(0, "EQ", 5)], [0, -1, 0, 0]),
        ([arg(0, "NE", 5)], [-1, 0, -1, -1]),
        ([arg(0, "LT", 5)], [-1, 0, 0, 0]),
        ([arg(0, "LE", 5)], [-1, -1, 0, 0]),
        ([arg(0, "GE", 5)], [0, -1, -1, -1]),
        ([arg(0, "GT", 5)], [0, 0, -1, -1]),
        ([arg(0, "MASKED_EQ", 7, 5)], [0, -1, 0, -1]),
        ([arg(0, "EQ", 1 << 40 | 5)], [0, 0, 0, -1]),
        ([arg(0, "GE", 5), arg(1, "EQ", 1)], [0, 0, -1, 0]),
        ([arg(0, "EQ", 4), arg(0, "EQ", 6)], [-1, 0, -1, 0]),
    ],
)
def test_arguments(probe: Callable[..., list[int]], args: list[dict[str, Any]], results: list[int]) -> None:
    """Conditions on arguments decide: all of them, or one of several on the same argument."""
    asked = [asking("getppid", *values) for values in ((4, 0), (5, 0), (6, 1), (1 << 40 | 5, 0))]
    assert probe(profile("SCMP_ACT_ALLOW", call("getppid", args=args)), *asked) == results


@pytest.fixture
def how(rootfs: Path) -> str:
    """Give how to make calls of another architecture; natively, where kernel and machine know one only."""
    if MACHINE != "SCMP_ARCH_X86_64":
        return "n"
    alone = subprocess.run(
        [rootfs / "bin/probe", asking("getpid", how="i", architecture=SUB[0])], capture_output=True, check=True
    )
    return "i" if int(alone.stdout) > 0 else "n"


def test_programs_of_another_architecture(probe: Callable[..., list[int]], how: str) -> None:
    """A 32-bit call is filtered by the same entries, and has a highest number of its own."""
    names = _everything_but("getsid")
    strict = profile("SCMP_ACT_ERRNO", call(*names, action="SCMP_ACT_ALLOW"), architectures=list(SUB))
    architecture = SUB[0] if how == "i" else MACHINE
    asked = [asking(name, how=how, architecture=architecture) for name in ("getsid", "getppid")]
    newer = max(number(name, architecture) for name in names) + 1
    assert probe(strict, *asked, f"{how}:{newer}") == [-errno.EPERM, 0, -errno.ENOSYS]
    assert probe(strict, asking("getsid"), GETPPID) == [-errno.EPERM, 0]


def test_programs_of_an_architecture_that_was_not_asked_for(run: Callable[..., runtime.Completed], how: str) -> None:
    """They are ended: a filter that knows one table of calls must not be passed by way of another."""
    asked = asking("getppid", how=how, architecture=SUB[0] if how == "i" else MACHINE)
    done = run(profile("SCMP_ACT_ALLOW", call("getsid")), "probe", GETPPID, asked)
    assert done[:3] == ((None, signal.SIGSYS, b"0\n") if how == "i" else (0, None, b"0\n0\n"))


def _default_profile(*more: dict[str, Any]) -> LinuxSeccomp:
    """Return what podman makes of its profile for a container without capabilities of note."""
    entries = []
    for entry in json.loads(PODMAN.read_bytes())["syscalls"]:
        only = entry.get("includes") or {}
        native = {"SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64"}[MACHINE]
        if only.get("caps") or native not in only.get("arches", [native]):
            continue
        number_of = {"errnoRet": entry["errnoRet"]} if entry["action"] == "SCMP_ACT_ERRNO" else {}
        entries.append({"names": entry["names"], "action": entry["action"], "args": entry["args"] or [], **number_of})
    document = {"architectures": [MACHINE, *SUB], "defaultErrnoRet": errno.ENOSYS}
    return profile("SCMP_ACT_ERRNO", *more, *entries, **document)


@pytest.mark.parametrize("nnp", [True, False])
def test_the_default_profile_of_podman(run: Callable[..., runtime.Completed], *, nnp: bool) -> None:
    """Static and dynamically linked programs work under it, and mounting does not."""
    process = {"no_new_privileges": nnp}
    script = "cat /proc/self/status; id; ls /; mkdir /tmp/x; mount -t tmpfs none /tmp"
    done = run(_default_profile(), "sh", "-c", script, process=process)
    assert re.search(rb"Seccomp:\t2\n", done.stdout)
    assert f"NoNewPrivs:\t{int(nnp)}".encode() in done.stdout
    assert b"uid=0(root)" in done.stdout
    hashed = run(_default_profile(), DYNAMIC, "/bin/probe", process=process)
    assert (hashed.exit_code, hashed.stdout[64:]) == (0, b"  /bin/probe\n")


def _add_dynamic(rootfs: Path, program: str) -> None:
    """Copy a program and the libraries that it is linked with."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [program, *re.findall(r"(/\S+) \(0x", linked)]:
        target = rootfs / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def test_in_a_user_namespace(probe: Callable[..., list[int]]) -> None:
    """The right to load a filter is that of the namespace; its root is nobody special outside."""
    namespaces = tuple(LinuxNamespace(type=kind) for kind in ("user", "pid", "network", "ipc", "uts", "mount"))
    ids = (LinuxIDMapping(container_id=0, host_id=0, size=65536),)
    linux = {"namespaces": namespaces, "uid_mappings": ids, "gid_mappings": ids}
    for nnp in (True, False):
        for uid in (0, 1000):
            process = {"no_new_privileges": nnp, "user": User(uid=uid, gid=uid)}
            entries = profile("SCMP_ACT_ALLOW", call("getsid", errnoRet=9))
            assert probe(entries, asking("getsid"), asking("getuid"), linux=linux, process=process) == [-9, uid]


# --------------------------------------------------------------------------------------------------------------- setup


#: Everything that init does after the filter is loaded, and busybox until it exits with an error.
BARE = ("read", "write", "openat", "close", "execve", "exit_group")


@pytest.mark.parametrize("nnp", [True, False])
def test_what_a_profile_has_to_allow(run: Callable[..., runtime.Completed], *, nnp: bool) -> None:
    """With the few calls that init makes a container starts; without new privileges one less is enough."""
    names = BARE if nnp else (*BARE, "capset")
    strict = profile("SCMP_ACT_KILL_PROCESS", call(*names, action="SCMP_ACT_ALLOW"))
    done = run(strict, "true", process={"no_new_privileges": nnp})
    assert done.signal == signal.SIGSYS  # by a call of busybox: its libc makes some before main


@pytest.mark.parametrize(
    ("default", "missing", "error"),
    [
        ("SCMP_ACT_ERRNO", "write", r"set up the container: .*its seccomp filter ended it: the profile has to allow"),
        ("SCMP_ACT_KILL", "write", r"set up the container: .*its seccomp filter ended it"),
        ("SCMP_ACT_ERRNO", "read", r"wait for the launcher: .*errno 1"),
        ("SCMP_ACT_ERRNO", "execve", r"execute 'true': .*errno 1"),
        ("SCMP_ACT_ERRNO", "openat", r"wait for start: .*errno 1"),
        ("SCMP_ACT_ERRNO", "capset", r"set capabilities: .*errno 1.*linux.seccomp has to allow capset"),
    ],
)
def test_what_a_profile_does_not_allow(
    run: Callable[..., runtime.Completed], root: Path, default: str, missing: str, error: str
) -> None:
    """A container that cannot start says why, as far as the filter lets it, and nothing of it is left."""
    names = [name for name in (*BARE, "capset") if name != missing]
    with pytest.raises(SetupError, match=error):
        # With an entry for a newer call, so that none of those that are missing is taken for one.
        run(
            profile(default, call(*names, action="SCMP_ACT_ALLOW"), call("openat2")),
            "true",
            process={"no_new_privileges": False},
        )
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("errno_ret", [0, 1])
def test_a_profile_that_allows_nothing_at_all(
    run: Callable[..., runtime.Completed], root: Path, errno_ret: int
) -> None:
    """Not even the end of a process: creation fails all the same, and nothing goes round in circles."""
    with pytest.raises(SetupError, match=r"set up the container: .*its seccomp filter ended it: the profile has to"):
        run(profile("SCMP_ACT_ERRNO", defaultErrnoRet=errno_ret), "true")
    assert list(root.iterdir()) == []


def test_refused_before_anything_is_made(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A profile that cannot be kept leaves no trace."""
    bundle = make_bundle(linux={"seccomp": profile("SCMP_ACT_ALLOW", call("read", args=[arg(6, "EQ", 1)]))})
    with pytest.raises(ValidationError, match="expected an argument from 0 to 5"):
        runtime.create(root, container_id, bundle)
    assert not root.exists() or list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        (None, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        ([], "0"),
        (["SECCOMP_FILTER_FLAG_LOG"], "SECCOMP_FILTER_FLAG_LOG"),
        (["SECCOMP_FILTER_FLAG_TSYNC"], "0"),
    ],
)
def test_flags(
    root: Path, make_bundle: Callable[..., Path], container_id: str, flags: list[str] | None, seen: str
) -> None:
    """The kernel gets the flags of the profile, as strace shows."""
    fields = {} if flags is None else {"flags": flags}
    bundle = make_bundle("true", linux={"seccomp": profile("SCMP_ACT_ALLOW", **fields)})
    script = f"from ocikit import runtime; runtime.run({str(root)!r}, {container_id!r}, {str(bundle)!r})"
    log = bundle / "strace.log"
    command = ["strace", "-f", "-e", "trace=seccomp", "-o", str(log), sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    loaded = re.findall(r"seccomp\(SECCOMP_SET_MODE_FILTER, ([A-Z_|0-9x]+), \{len=\d+", log.read_text())
    assert loaded == [seen]
