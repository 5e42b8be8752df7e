"""Doing something as a user without privileges: functions of test modules, in a process of another user.

The user exists for the length of one call only: in a mount namespace of its own, where ``/etc/passwd``, ``/etc/subuid``
and ``/etc/subgid`` know it, and where what the tests are made of can be read, wherever it lies.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from launching import make_rootfs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["User"]

HERE = Path(__file__).parent


class User(NamedTuple):
    """A user, with a directory to work in; it is in no group but its own."""

    home: Path
    uid: int = 54321
    gid: int = 54322
    name: str = "ocikit-tester"
    #: What root has given it: the first id and how many, of users and groups alike.
    given: tuple[int, int] | None = None

    def make(self) -> User:
        """Make the home directory, with a root file system of busybox in it, and a place for state."""
        self.home.chmod(0o711)
        make_rootfs(self.home / "rootfs")
        for name in ("dev", "proc", "sys", "etc", "tmp"):
            (self.home / "rootfs" / name).mkdir()
        for name in ("sleep", "grep", "test", "readlink", "head", "kill", "hostname", "mkdir", "find"):
            (self.home / "rootfs/bin" / name).symlink_to("busybox")
        for name in ("run", "bundle"):
            (self.home / name).mkdir(mode=0o700)
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return self

    def call(self, function: Callable[..., Any], *arguments: Any, cgroup: Path | None = None) -> Any:
        """Call a function of a test module as this user; what goes in and comes out goes through JSON.

        Args:
            function: A function at the top of its module.
            arguments: What it is given.
            cgroup: The v2 cgroup to call it in.
        """
        module = inspect.getmodule(function)
        assert module is not None
        asked = {
            "home": str(self.home),
            "ids": (self.uid, self.gid),
            "files": self._files(),
            "cgroup": str(cgroup) if cgroup is not None else None,
            "call": (module.__name__, function.__name__, [_plain(one) for one in arguments]),
        }
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", sys.executable, __file__],
            input=json.dumps(asked), capture_output=True, check=False, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )  # fmt: skip
        *_, last = done.stdout.splitlines() or [""]
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(last)

    def _files(self) -> dict[str, str]:
        passwd = f"{self.name}:x:{self.uid}:{self.gid}::{self.home}:/bin/sh\n"
        group = f"{self.name}:x:{self.gid}:\n"
        given = "" if self.given is None else f"{self.name}:{self.given[0]}:{self.given[1]}\n"
        return {
            "/etc/passwd": Path("/etc/passwd").read_text() + passwd,
            "/etc/group": Path("/etc/group").read_text() + group,
            "/etc/subuid": given,
            "/etc/subgid": given,
        }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


# ------------------------------------------------------------------------- what runs as root in the new mount namespace


def become_user() -> None:
    """Prepare the mount namespace, and go on as the user in a new interpreter."""
    asked = json.load(sys.stdin)
    home = Path(asked["home"])
    for path, text in asked["files"].items():
        replacement = home / "etc" / Path(path).name
        replacement.parent.mkdir(exist_ok=True)
        replacement.write_text(text)
        _mount("--bind", replacement, path)
    needed = [sys.base_prefix, sys.prefix, *os.environ["PYTHONPATH"].split(os.pathsep)]
    _let_in([Path(path).resolve() for path in dict.fromkeys(needed) if os.path.isdir(path)])
    if asked["cgroup"] is not None:
        Path(asked["cgroup"], "cgroup.procs").write_text("0")
    uid, gid = asked["ids"]
    os.chdir(home)
    os.environ |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "ASKED": json.dumps(asked["call"])}
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # A new program: who has changed users may not look at its own files in /proc.
    os.execv(sys.executable, [sys.executable, "-c", "import as_user; as_user.do_as_user()"])  # noqa: S606 - there is nothing for a shell to do


def _let_in(paths: list[Path]) -> None:
    """Let everybody reach directories: what lets nobody in above them is replaced by what leads there alone."""
    opened = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in paths}
    closed = {path: next((one for one in reversed(path.parents) if not _is_open(one)), None) for path in paths}
    for place in dict.fromkeys(filter(None, closed.values())):
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
    for path, fd in opened.items():
        if closed[path] is not None:
            path.mkdir(parents=True, mode=0o755, exist_ok=True)
            _mount("--no-canonicalize", "--rbind", f"/proc/{os.getpid()}/fd/{fd}", path)
        os.close(fd)


def _is_open(directory: Path) -> bool:
    return bool(directory.stat().st_mode & 0o001)


def _mount(*arguments: Any) -> None:
    subprocess.run([shutil.which("mount") or "mount", *map(str, arguments)], check=True)


def do_as_user() -> None:
    """Call what is asked for, and print what it returns."""
    module, name, arguments = json.loads(os.environ.pop("ASKED"))
    result = getattr(importlib.import_module(module), name)(*arguments)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    become_user()
