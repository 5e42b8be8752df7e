"""Whether the kernel has killed processes of a container because its memory was used up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import CgroupError
from ocikit.runtime.cgroups.files import flat, read_file
from ocikit.runtime.cgroups.hierarchies import UNIFIED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["kills"]

#: Where it is counted.
_FILES: Final = (("memory", "memory.oom_control"), (UNIFIED, "memory.events"))


def kills(paths: Mapping[str, str]) -> int | None:
    """Return how many were killed; None when nobody counts, or the cgroup is gone.

    Args:
        paths: The cgroups of the container, by controller.
    """
    file = next((f"{paths[key]}/{name}" for key, name in _FILES if key in paths), None)
    try:
        return flat(read_file(file)).get("oom_kill") if file is not None else None
    except CgroupError:
        return None
