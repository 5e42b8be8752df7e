"""The kind of host that the tests run on, and the cgroups of one container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocikit.runtime.cgroups.hierarchies import UNIFIED, detect

if TYPE_CHECKING:
    from ocikit.runtime import Container

HOST = detect()
V2 = HOST.v2_only


def disk() -> str:
    """Return the numbers of a whole disk of this machine."""
    names = sorted(os.listdir("/sys/block"), key=lambda name: (not name.startswith(("vd", "sd", "nvme", "ubd")), name))
    return Path("/sys/block", names[0], "dev").read_text().strip()


def state(container: Container) -> dict[str, Any]:
    """Return what state.json says."""
    found: dict[str, Any] = json.loads(Path(container.root, container.id, "state.json").read_bytes())
    return found


def limit(container: Container, file: str) -> str:
    """Return the text of a file in a cgroup of a container: in that of its controller, on v1 and hybrid hosts."""
    controller = file.partition(".")[0]
    key = HOST.key_of(controller, "io" if controller == "blkio" else "")
    if controller in {"freezer", "cgroup"}:
        key = "freezer" if "freezer" in HOST.by_key else UNIFIED
    return Path(state(container)["cgroup_paths"][key], file).read_text().strip()
