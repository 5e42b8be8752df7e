"""Programs that share a state root, and configurations that one of them makes containers of for the others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from seccomp_profiles import SUB, call, profile

from ocikit import runtime
from ocikit.errors import ContainerError, NotExistError
from ocikit.runtime.stats import runc_json
from ocikit.spec import (
    Hook,
    Hooks,
    LinuxCapabilities,
    LinuxIDMapping,
    LinuxNamespace,
    LinuxResources,
    POSIXRlimit,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ALLOWED", "CONFIGURATIONS", "Commands", "Library", "Limits", "Program", "configuration", "ocikit_command"]

MB = 1 << 20


class Limits(NamedTuple):
    """New limits for a container."""

    memory: int
    swap: int
    pids: int
    quota: int
    period: int


class Program(Protocol):
    """What can be done with containers, whichever way."""

    def create(self, container_id: str, bundle: Path) -> None:
        """Create a container."""

    def start(self, container_id: str) -> None:
        """Start it."""

    def state(self, container_id: str) -> dict[str, Any]:
        """Return what is told of it."""

    def ids(self) -> list[str]:
        """Return all there are."""

    def processes(self, container_id: str) -> list[int]:
        """Return its processes."""

    def execute(self, container_id: str, *args: str) -> tuple[int | None, str]:
        """Run a program in it; return its exit code and what it wrote, or None and the reason why it was not run."""

    def pause(self, container_id: str) -> None:
        """Pause it."""

    def resume(self, container_id: str) -> None:
        """Resume it."""

    def update(self, container_id: str, limits: Limits) -> None:
        """Change its limits."""

    def limit_pids(self, container_id: str, pids: int) -> None:
        """Change one of its limits."""

    def usage(self, container_id: str) -> dict[str, Any]:
        """Return what it uses, as ``runc events`` tells it."""

    def kill(self, container_id: str, *, others: bool) -> None:
        """Kill it, and what outlives its first process."""

    def delete(self, container_id: str) -> None:
        """Delete it."""

    def remove(self, container_id: str) -> None:
        """Remove it, whatever it is doing."""


class Commands:
    """A program with the command line of runc."""

    def __init__(self, root: Path, *program: str) -> None:
        self._root = root
        self._program = program

    def _call(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run one command; what init inherits must not keep a pipe of ours open."""
        out, err = self._root.parent / "command.out", self._root.parent / "command.err"
        with out.open("w") as output, err.open("w") as errors:
            done = subprocess.run(
                [*self._program, "--root", str(self._root), *args],
                stdin=subprocess.DEVNULL, stdout=output, stderr=errors, check=False, timeout=60,
            )  # fmt: skip
        return subprocess.CompletedProcess(args, done.returncode, out.read_text(), err.read_text())

    def _works(self, *args: str) -> str:
        done = self._call(*args)
        assert done.returncode == 0, done
        return done.stdout

    def _json(self, *args: str) -> Any:
        return json.loads(self._works(*args))

    def create(self, container_id: str, bundle: Path) -> None:
        """Create a container."""
        self._works("create", "--bundle", str(bundle), container_id)

    def start(self, container_id: str) -> None:
        """Start it."""
        self._works("start", container_id)

    def state(self, container_id: str) -> dict[str, Any]:
        """Return what is told of it."""
        found: dict[str, Any] = self._json("state", container_id)
        return found

    def described(self) -> list[dict[str, Any]]:
        """Return what is told of all there are."""
        return list(self._json("list", "--format", "json") or ())

    def ids(self) -> list[str]:
        """Return all there are."""
        return self._works("list", "--quiet").split()

    def processes(self, container_id: str) -> list[int]:
        """Return its processes."""
        return list(self._json("ps", "--format", "json", container_id))

    def execute(self, container_id: str, *args: str) -> tuple[int | None, str]:
        """Run a program in it."""
        done = self._call("exec", container_id, *args)
        return (None, done.stderr) if done.returncode == 255 else (done.returncode, done.stdout + done.stderr)

    def pause(self, container_id: str) -> None:
        """Pause it."""
        self._works("pause", container_id)

    def resume(self, container_id: str) -> None:
        """Resume it."""
        self._works("resume", container_id)

    def update(self, container_id: str, limits: Limits) -> None:
        """Change its limits."""
        named = {
            "memory": limits.memory,
            "memory-swap": limits.swap,
            "pids-limit": limits.pids,
            "cpu-quota": limits.quota,
            "cpu-period": limits.period,
        }
        self._works("update", *(f"--{name}={value}" for name, value in named.items()), container_id)

    def limit_pids(self, container_id: str, pids: int) -> None:
        """Change one of its limits."""
        self._works("update", f"--pids-limit={pids}", container_id)

    def usage(self, container_id: str) -> dict[str, Any]:
        """Return what it uses."""
        event = self._json("events", "--stats", container_id)
        assert (event["id"], event["type"]) == (container_id, "stats")
        data: dict[str, Any] = event["data"]
        return data

    def kill(self, container_id: str, *, others: bool) -> None:
        """Kill it; runc 1.1 has to be told to kill more than the first process, or it gives up on their cgroup."""
        init = runtime.load(self._root, container_id)
        self._works("kill", container_id, "KILL")
        init.wait(60)
        if others:
            self._works("kill", "--all", container_id, "KILL")
        while init.processes():
            os.sched_yield()

    def delete(self, container_id: str) -> None:
        """Delete it."""
        self._works("delete", container_id)

    def remove(self, container_id: str) -> None:
        """Remove it, whatever it is doing."""
        self._works("delete", "--force", container_id)

    def events(self, container_id: str) -> subprocess.Popen[str]:
        """Give the process that tells what happens to it."""
        command = [*self._program, "--root", str(self._root), "events", "--interval=1h", container_id]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def ocikit_command(root: Path) -> Commands:
    """Return our own command line."""
    return Commands(root, sys.executable, "-m", "ocikit.runtime")


class Library:
    """ocikit, in this process."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _load(self, container_id: str) -> runtime.Container:
        return runtime.load(self._root, container_id)

    def create(self, container_id: str, bundle: Path) -> None:
        """Create a container."""
        runtime.create(self._root, container_id, bundle, lifetime="detached", stdin="null").close()

    def start(self, container_id: str) -> None:
        """Start it."""
        self._load(container_id).start()

    def state(self, container_id: str) -> dict[str, Any]:
        """Return what is told of it."""
        return self._load(container_id).oci_state().to_dict()

    def ids(self) -> list[str]:
        """Return all there are."""
        return [one.id for one in runtime.list_containers(self._root)]

    def processes(self, container_id: str) -> list[int]:
        """Return its processes."""
        return self._load(container_id).processes()

    def execute(self, container_id: str, *args: str) -> tuple[int | None, str]:
        """Run a program in it."""
        try:
            process = self._load(container_id).exec(args, stdin="null", stdout="pipe", stderr="stdout")
        except ContainerError as error:
            return None, str(error)
        with process:
            assert process.stdout is not None
            text = process.stdout.read().decode()
            return process.wait(60).exit_code, text

    def pause(self, container_id: str) -> None:
        """Pause it."""
        self._load(container_id).pause()

    def resume(self, container_id: str) -> None:
        """Resume it."""
        self._load(container_id).resume()

    def update(self, container_id: str, limits: Limits) -> None:
        """Change its limits."""
        sections = {
            "memory": {"limit": limits.memory, "swap": limits.swap},
            "pids": {"limit": limits.pids},
            "cpu": {"quota": limits.quota, "period": limits.period},
        }
        self._load(container_id).update(LinuxResources.from_dict(sections))

    def limit_pids(self, container_id: str, pids: int) -> None:
        """Change one of its limits."""
        self._load(container_id).update(LinuxResources.from_dict({"pids": {"limit": pids}}))

    def usage(self, container_id: str) -> dict[str, Any]:
        """Return what it uses."""
        found: dict[str, Any] = json.loads(json.dumps(runc_json(self._load(container_id).stats())))
        return found

    def kill(self, container_id: str, *, others: bool) -> None:
        """Kill it; that others are killed as well goes without saying."""
        del others
        container = self._load(container_id)
        container.signal(signal.SIGKILL)
        container.wait(60)

    def delete(self, container_id: str) -> None:
        """Delete it."""
        self._load(container_id).destroy()

    def remove(self, container_id: str) -> None:
        """Remove it, whatever it is doing, if it is there at all; nobody else reaps children of this process."""
        with contextlib.suppress(NotExistError):
            self._load(container_id).destroy(force=True)


# ------------------------------------------------------------------------------------------------------ configurations

#: What a shell and the usual programs call, and what runtimes do on the way to them; what is not in here is denied.
ALLOWED = """
    access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep clone clone3 close close_range dup dup2 dup3
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fchdir fcntl
    fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom
    getrlimit gettid gettimeofday getuid ioctl kill lseek lstat madvise mmap mprotect mremap munmap nanosleep newfstatat
    open openat openat2 pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6 pwrite64 read readlink readlinkat readv
    restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity
    sched_yield select set_robust_list set_tid_address setgid setgroups setpgid setrlimit setsid setuid sigaltstack
    socketpair stat statfs statx tgkill time uname umask vfork wait4 waitid write writev
"""

PRIVATE = ("pid", "network", "ipc", "uts", "mount")
USERS = ((0, 600_000, 1000), (1000, 700_000, 1))
GROUPS = ((0, 610_000, 1000), (1000, 710_000, 1))


def _namespaces(*kinds: str, **joined: str) -> dict[str, Any]:
    new = (LinuxNamespace(type=kind) for kind in kinds)
    return {"namespaces": (*new, *(LinuxNamespace(type=kind, path=path) for kind, path in joined.items()))}


def _mapped(ranges: tuple[tuple[int, int, int], ...]) -> tuple[LinuxIDMapping, ...]:
    return tuple(LinuxIDMapping(container_id=one[0], host_id=one[1], size=one[2]) for one in ranges)


def _filtered() -> dict[str, Any]:
    seccomp = profile(
        "SCMP_ACT_ERRNO",
        call(*ALLOWED.split(), action="SCMP_ACT_ALLOW"),
        call("getsid", errnoRet=77),
        defaultErrnoRet=88,
        architectures=list(SUB),
    )
    return {"linux": {"seccomp": seccomp}}


def _users() -> dict[str, Any]:
    maps = {"uid_mappings": _mapped(USERS), "gid_mappings": _mapped(GROUPS)}
    return {"linux": _namespaces(*PRIVATE, "user") | maps}


def _limited() -> dict[str, Any]:
    limits = {
        "memory": {"limit": 64 * MB, "swap": 96 * MB},
        "pids": {"limit": 50},
        "cpu": {"quota": 20000, "period": 50000, "shares": 512},
    }
    return {"linux": {"resources": LinuxResources.from_dict(limits)}, "annotations": {"a.b": "c=d", "e": "f\ng\u00fc"}}


def _confined() -> dict[str, Any]:
    few = ("CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW")
    process = {
        "user": User(uid=1000, gid=1001, additional_gids=(1002, 1003), umask=0o027),
        "capabilities": LinuxCapabilities(
            bounding=few, permitted=few[:2], effective=few[:1], inheritable=few[:2], ambient=few[:1]
        ),
        "rlimits": (
            # Not lower than the hard one: programs in Go, such as the init of runc 1.1, raise it for what they execute.
            POSIXRlimit(type="RLIMIT_NOFILE", hard=300, soft=300),
            POSIXRlimit(type="RLIMIT_CORE", hard=7, soft=0),
        ),
        "no_new_privileges": True,
        "oom_score_adj": 321,
        "cwd": "/tmp",
        "env": ("PATH=/bin", "HELLO=wor ld", "EMPTY="),
    }
    return {"process": process}


class Surroundings(NamedTuple):
    """What configurations refer to."""

    #: A file that hooks write a line to.
    log: Path
    #: A process whose namespaces are joined.
    neighbour: int


def _hooked(around: Surroundings) -> dict[str, Any]:
    script = f"cat >> {around.log}; echo >> {around.log}"
    return {"hooks": Hooks(poststop=(Hook(path="/bin/sh", args=("sh", "-c", script), env=("PATH=/bin",)),))}


def _joined(around: Surroundings) -> dict[str, Any]:
    files = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
    return {
        "hostname": "",
        "linux": _namespaces("mount", **{kind: f"/proc/{around.neighbour}/ns/{file}" for kind, file in files.items()}),
    }


_FIXED: Mapping[str, dict[str, Any]] = {
    "filtered": _filtered(),
    "mapped": _users(),
    "limited": _limited(),
    "confined": _confined(),
    "separate": {"linux": _namespaces(*PRIVATE, "cgroup")},
    "sharing": {"linux": _namespaces("mount", "network", "uts", "ipc")},
}
_MADE = {"hooked": _hooked, "joined": _joined}

CONFIGURATIONS = (*_FIXED, *_MADE)


def configuration(name: str, around: Surroundings) -> dict[str, Any]:
    """Return what is changed in the default configuration."""
    return _MADE[name](around) if name in _MADE else dict(_FIXED[name])
