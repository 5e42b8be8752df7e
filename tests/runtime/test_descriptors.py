"""What a container holds while it waits to be started."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit import runtime


def test_a_created_container_holds_what_it_needs(created: runtime.Container) -> None:
    """Its streams, whom it reports to, the fifo it waits at, and a procfs: nothing of the host, no mask, no mount."""
    directory = f"/proc/{created.pid}/fd"
    paths = [f"{directory}/{number}" for number in os.listdir(directory) if int(number) > 2]
    expected = rf"socket:.*|/|{re.escape(f'{created.root}/{created.id}/exec.fifo')}"
    assert [os.readlink(path) for path in paths if not re.fullmatch(expected, os.readlink(path))] == []
    # The procfs is mounted nowhere, and there is nothing but processes in it.
    (procfs,) = (os.listdir(path) for path in paths if os.readlink(path) == "/")
    assert "self" in procfs
    assert "sys" not in procfs
