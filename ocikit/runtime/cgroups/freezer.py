"""Containers are frozen and thawed: by the freezer of v1 where there is one, else by v2.

What was asked for is what counts as frozen: a v1 freezer that is still at it, because new processes keep it from coming
to an end, is one that whoever resumes the container has to thaw.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import GONE, flat, read_file, write_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["freeze", "frozen", "frozen_above", "thaw", "try_freeze"]

# How long the kernel is given, in seconds. It freezes what runs in milliseconds; what waits for a device takes longer.
_FREEZE_TIME: Final = 10.0
_TRY_TIME: Final = 0.5

# A v1 freezer that new processes keep from its end comes to it when it is thawed for a moment and starts again.
_THAW_EVERY: Final = 0.25
_THAWED_TIME: Final = 0.01
_FIRST_PAUSE: Final = 0.0002
_LONGEST_PAUSE: Final = 0.01


class _Freezer(NamedTuple):
    path: str
    v2: bool

    @property
    def file(self) -> str:
        return f"{self.path}/{'cgroup.freeze' if self.v2 else 'freezer.state'}"

    def asked(self) -> bool:
        if self.v2:
            return (read_file(self.file) or "").strip() == "1"
        if (read_file(self.file) or "").strip() not in {"FROZEN", "FREEZING"}:
            return False
        # What is frozen because something above it is, is not for the container to be resumed from.
        return (read_file(f"{self.path}/freezer.self_freezing") or "1").strip() == "1"

    def done(self) -> bool:
        if self.v2:
            return flat(read_file(f"{self.path}/cgroup.events")).get("frozen") == 1
        return (read_file(self.file) or "").strip() == "FROZEN"

    def ask(self) -> None:
        write_file(self.file, "1" if self.v2 else "FROZEN")

    def thaw(self) -> None:
        write_file(self.file, "0" if self.v2 else "THAWED")


def _freezer(paths: Mapping[str, str]) -> _Freezer | None:
    if "freezer" in paths:
        return _Freezer(paths["freezer"], v2=False)
    return _Freezer(paths[UNIFIED], v2=True) if UNIFIED in paths else None


def frozen(paths: Mapping[str, str]) -> bool:
    """Tell whether a container is frozen, or is being frozen; one without a freezer never is."""
    freezer = _freezer(paths)
    return freezer is not None and freezer.asked()


def frozen_above(paths: Mapping[str, str]) -> str | None:
    """Return the cgroup above that would freeze a container which is to be made; None when there is none."""
    freezer = _freezer(paths)
    if freezer is None:
        return None
    above = os.path.dirname(freezer.path)
    while len(above) > 1 and not os.path.isdir(above):
        above = os.path.dirname(above)
    return above if freezer._replace(path=above).done() else None


def freeze(paths: Mapping[str, str]) -> None:
    """Freeze a container, and wait until everything in it is frozen.

    Raises:
        CgroupError: There is no freezer, the kernel refuses, or does not come to an end within ten seconds; then it
            is thawed again.
    """
    freezer = _freezer(paths)
    if freezer is None:
        raise CgroupError("freeze", errno.EOPNOTSUPP, None, "mount the freezer controller of cgroup v1, or cgroup v2")
    try:
        if _try(freezer, _FREEZE_TIME):
            return
    except OSError as error:
        _thaw_again(freezer)
        missing = "this kernel has no freezer for this cgroup" if error.errno == errno.ENOENT else None
        raise CgroupError("freeze", error.errno or errno.EIO, freezer.file, missing) from error
    except BaseException:
        _thaw_again(freezer)
        raise
    _thaw_again(freezer)
    remedy = f"a process in it did not freeze within {_FREEZE_TIME:.0f} seconds: does one wait for a device?"
    raise CgroupError("freeze", errno.EBUSY, freezer.file, remedy)


def try_freeze(paths: Mapping[str, str]) -> None:
    """Freeze as far as half a second goes, so that nothing can fork away from the signals that follow."""
    freezer = _freezer(paths)
    if freezer is not None:
        with contextlib.suppress(OSError):
            _try(freezer, _TRY_TIME)


def _try(freezer: _Freezer, seconds: float) -> bool:
    now = time.monotonic()
    deadline, next_thaw = now + seconds, now + _THAW_EVERY
    pause = _FIRST_PAUSE
    while now < deadline:
        freezer.ask()
        if freezer.done():
            return True
        if not freezer.v2 and now >= next_thaw:
            freezer.thaw()
            time.sleep(_THAWED_TIME)
            next_thaw = time.monotonic() + _THAW_EVERY
        else:
            time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
        now = time.monotonic()
    return freezer.done()


def _thaw_again(freezer: _Freezer) -> None:
    with contextlib.suppress(OSError):
        freezer.thaw()


def thaw(paths: Mapping[str, str]) -> None:
    """Let what is frozen go on; nothing when there is no freezer.

    Raises:
        CgroupError: The kernel refuses.
    """
    freezer = _freezer(paths)
    if freezer is None:
        return
    try:
        freezer.thaw()
    except OSError as error:
        if error.errno not in GONE:
            raise CgroupError("thaw", error.errno or errno.EIO, freezer.file) from error
