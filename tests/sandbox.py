"""A place for what must not reach the machine: a forked child in namespaces of its own, as nobody.

What runs in it is root in its own user namespace and nobody outside: it can mount, make nodes and set names, and all
of it ends with its first process. Directories that everybody may write to are covered by empty ones; one of them is
the working directory.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_sandbox"]

_NOBODY = 65534
_SET_DUMPABLE = 4  # prctl(2)
_PRIVATE, _RECURSIVE, _SILENT = 0x40000, 0x4000, 0x8000  # mount(2)
_NEW = {"user": 0x1000_0000, "mount": 0x2_0000, "uts": 0x0400_0000, "ipc": 0x0800_0000, "net": 0x4000_0000}
_NEW_PID = 0x2000_0000
_COVERED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")

_libc = ctypes.CDLL(None, use_errno=True)


def in_sandbox(work: Callable[[], Any]) -> Any:
    """Run some work in a sandbox, as its process 1, and return its result by way of JSON.

    What the work imports has to be imported before: nobody may not be allowed to read it.

    Raises:
        RuntimeError: The work raised an exception, or the sandbox could not be made.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _run(_enter_and_fork, work, writer)
    os.close(writer)
    with os.fdopen(reader) as answers:
        text = answers.read()
    os.waitpid(pid, 0)
    answer = json.loads(text) if text else {"error": "the sandbox was killed"}
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["result"]


def _run(step: Callable[..., None], *arguments: Any) -> None:
    """Do one step of a child, whose errors go to the parent, and end it."""
    try:
        step(*arguments)
    except BaseException:  # noqa: BLE001 - a child of pytest must not go on as a second pytest
        os.write(arguments[-1], json.dumps({"error": traceback.format_exc()}).encode())
    finally:
        os._exit(0)


def _enter_and_fork(work: Callable[[], Any], writer: int) -> None:
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    # Who has changed identity may not write to its own files in procfs, until it says that it may.
    _call("prctl", _SET_DUMPABLE, 1, 0, 0, 0)
    _call("unshare", sum(_NEW.values()) | _NEW_PID)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {_NOBODY} 1")
    Path("/proc/self/gid_map").write_text(f"0 {_NOBODY} 1")
    _call("mount", b"none", b"/", None, _PRIVATE | _RECURSIVE | _SILENT, None)
    for place in filter(os.path.isdir, _COVERED):
        _call("mount", b"none", place.encode(), b"tmpfs", 0, None)
    os.chdir("/tmp")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _run(_work, work, writer)
    os.waitpid(pid, 0)


def _work(work: Callable[[], Any], writer: int) -> None:
    text = json.dumps({"result": work()}).encode()
    while text:
        text = text[os.write(writer, text) :]


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")
