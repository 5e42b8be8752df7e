"""The tests that may be skipped: each because of the kernel they run on, and of nothing else.

Any other skip fails the run (``conftest.py``): a missing program is a machine that is set up wrongly, and a test that
sometimes does not run protects nobody. Expected failures are not allowed at all.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

__all__ = ["ALLOWED", "Allowed", "is_allowed"]


class Allowed(NamedTuple):
    """One line of the list."""

    #: The id of the test as pytest prints it, with the wildcards of :mod:`fnmatch`.
    test: str
    #: How the reason that the test gives begins.
    reason: str
    #: What the kernel has not, and since when others have it.
    kernel: str


ALLOWED: tuple[Allowed, ...] = (
    Allowed(
        "tests/runtime/test_launch.py::test_clocks_of_a_time_namespace",
        "no time namespaces",
        "CONFIG_TIME_NS is off in the guest of `make v2`; kernels from 5.6 on have it",
    ),
)


def is_allowed(test: str, reason: str, allowed: tuple[Allowed, ...] = ALLOWED) -> bool:
    """Tell whether the list has this test with this reason."""
    return any(fnmatchcase(test, row.test) and reason.startswith(row.reason) for row in allowed)
