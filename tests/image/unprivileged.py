"""Run a part of a test in a process of its own, also as a user without privileges."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534


def in_child(function: Callable[[], str], *, user: int = 0) -> str:
    """Return what ``function`` returns in a process of its own, of some user.

    Raises:
        AssertionError: It raised; the message has the traceback.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 1
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            text = function()
            status = 0
        except BaseException:  # noqa: BLE001 - it is reported by the parent
            text = traceback.format_exc()
        finally:
            os.write(writer, text.encode())
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        output = stream.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, output
    return output
