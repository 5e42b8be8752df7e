"""Which unit a container is: ``slice:prefix:name``, and where its cgroup is. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Unit", "bus_label", "shown_by", "unit_of"]

_PATH: Final = "$.linux.cgroupsPath"
_PREFIX: Final = "ocikit"
_SLICE: Final = ".slice"
#: What systemd allows in the name of a unit (systemd.unit(5)), which has at most 255 characters.
_NAME: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}", re.ASCII)


class Unit(NamedTuple):
    """A scope, or a slice when the name says so."""

    #: The slice that it lies in ("system.slice").
    slice: str
    prefix: str
    name: str

    @property
    def full_name(self) -> str:
        """What systemd calls it."""
        return self.name if self.is_slice else f"{self.prefix}-{self.name}.scope"

    @property
    def is_slice(self) -> bool:
        """Whether it is a slice, which has no processes of its own."""
        return self.name.endswith(_SLICE)

    @property
    def path(self) -> str:
        """Its cgroup, below that of the manager: ``a-b.slice`` lies in ``a.slice``."""
        return "/".join([*_slices(self.slice), self.full_name])


def unit_of(cgroups_path: str, container_id: str, *, of_user: bool) -> Unit:
    """Return the unit of a container.

    Args:
        cgroups_path: ``linux.cgroupsPath``: empty, or ``slice:prefix:name``, of which the slice may be empty.
        container_id: Of the container; its name when there is no path.
        of_user: Whether a user's manager is asked, not the system's.

    Raises:
        ValidationError: It is something else, or systemd would not take the names.
    """
    default = "user.slice" if of_user else "system.slice"
    if not cgroups_path:
        return _checked(Unit(default, _PREFIX, container_id))
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        raise ValidationError(
            (f"{_PATH}: expected slice:prefix:name for cgroups that systemd makes, found {cgroups_path!r}",)
        )
    return _checked(Unit(parts[0] or default, parts[1], parts[2]))


def shown_by(named: tuple[str, str, str] | None, paths: Iterable[str]) -> Unit | None:
    """Return the unit that a state names, if its cgroups show that it is the container's.

    A state that names ``system.slice`` must neither stop nor change what is in there.

    Args:
        named: Slice, prefix and name; None when the state names no unit.
        paths: Cgroups that are proven to be the container's.
    """
    if named is None:
        return None
    unit = Unit(*named)
    return unit if any(posixpath.basename(path) == unit.full_name for path in paths) else None


def _checked(unit: Unit) -> Unit:
    _slices(unit.slice)
    if not _NAME.fullmatch(unit.full_name) or not unit.name:
        raise ValidationError((f"{_PATH}: {unit.full_name!r} is no name of a unit",))
    return unit


def _slices(name: str) -> list[str]:
    """Return a slice and those it lies in, the outermost first."""
    stem = name.removesuffix(_SLICE)
    if name == "-" + _SLICE:
        return []
    if stem == name or not _NAME.fullmatch(name) or not all(stem.split("-")):
        raise ValidationError((f"{_PATH}: {name!r} is no slice; expected names separated by '-', and then '.slice'",))
    parts = stem.split("-")
    return ["-".join(parts[: count + 1]) + _SLICE for count in range(len(parts))]


def bus_label(name: str) -> str:
    """Return a name as it stands in the path of a bus object: what is no letter or digit becomes ``_xx``."""
    plain = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    digits = frozenset(b"0123456789")
    return "".join(
        chr(byte) if byte in plain and not (at == 0 and byte in digits) else f"_{byte:02x}"
        for at, byte in enumerate(name.encode())
    )
