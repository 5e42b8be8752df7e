"""Limits of huge pages: of what is reserved, and of what is used.

A program learns from mmap that it may not reserve any more, and dies of a signal when it uses more than it may. Where
the kernel counts both, both are limited, as runc does: what was not reserved is not free.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import ValidationError
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.limits.write import PATH, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocikit.spec import LinuxHugepageLimit

__all__ = ["hugetlb"]

_SIZE: Final = r"[1-9][0-9]{0,9}[KMGTPE]B"


def hugetlb(limits: Sequence[LinuxHugepageLimit], key: str) -> Iterator[Write]:
    """Yield the writes for the files of v1 or v2.

    Args:
        limits: ``hugepageLimits``.
        key: The hierarchy that has the controller.

    Raises:
        ValidationError: A size that is none.
    """
    file = "max" if key == UNIFIED else "limit_in_bytes"
    for index, one in enumerate(limits):
        field = f"{PATH}.hugepageLimits[{index}]"
        if not re.fullmatch(_SIZE, one.page_size, re.ASCII):
            reason = f"expected a size such as 64KB, 2MB or 1GB, found {one.page_size[:40]!r}"
            raise ValidationError((f"{field}.pageSize: {reason}",))
        name, value = f"hugetlb.{one.page_size}", str(one.limit)
        yield Write(key, f"{name}.{file}", value, field)
        yield Write(key, f"{name}.rsvd.{file}", value, field, optional=True)
