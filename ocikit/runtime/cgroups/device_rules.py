"""Rules of the device controller: what the configuration asks for, and what every container gets besides.

A container starts with nothing allowed; then come the rules of the configuration in their order, then those without
which it would have no /dev. That is what runc does; the specification leaves it to the runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.spec import LinuxDeviceCgroup

__all__ = ["ALWAYS_ALLOWED", "WILDCARD", "DeviceRule", "device_rules"]

#: Any major or minor number.
WILDCARD: Final = -1

_PATH: Final = "$.linux.resources.devices"


class DeviceRule(NamedTuple):
    """Access to some devices, allowed or denied."""

    allow: bool
    #: ``a``, ``b`` or ``c``.
    type: str
    major: int
    minor: int
    #: Some of ``r``, ``w`` and ``m``.
    access: str

    def __str__(self) -> str:
        """As the v1 controller reads it."""
        major, minor = ("*" if number == WILDCARD else str(number) for number in (self.major, self.minor))
        return f"{self.type} {major}:{minor} {self.access}"


#: Nodes of every kind may be made, and those of a usual /dev used: null, random, full, tty, zero, urandom,
#: pseudo-terminals, their multiplexer, and tun.
ALWAYS_ALLOWED: Final = (
    DeviceRule(True, "c", WILDCARD, WILDCARD, "m"),
    DeviceRule(True, "b", WILDCARD, WILDCARD, "m"),
    *(DeviceRule(True, "c", *numbers, "rwm") for numbers in ((1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9))),
    DeviceRule(True, "c", 136, WILDCARD, "rwm"),
    DeviceRule(True, "c", 5, 2, "rwm"),
    DeviceRule(True, "c", 10, 200, "rwm"),
)

_NOTHING: Final = DeviceRule(False, "a", WILDCARD, WILDCARD, "rwm")


def device_rules(asked: Sequence[LinuxDeviceCgroup]) -> tuple[DeviceRule, ...]:
    """Return the rules of a container, in the order in which they apply.

    Args:
        asked: ``linux.resources.devices``.

    Raises:
        ValidationError: A rule that says nothing, or more than one rule can say.
    """
    rules = [_NOTHING]
    for number, rule in enumerate(asked):
        rules += _rule(rule, f"{_PATH}[{number}]")
    if rules[1:2] == [_NOTHING]:
        del rules[0]
    return (*rules, *ALWAYS_ALLOWED)


def _rule(rule: LinuxDeviceCgroup, path: str) -> list[DeviceRule]:
    kind = rule.type or "a"
    if kind not in {"a", "b", "c"}:
        raise ValidationError((f"{path}.type: {kind!r} is none of a, b, c",))
    if not rule.access or not set(rule.access) <= set("rwm"):
        raise ValidationError((f"{path}.access: expected some of r, w and m, found {rule.access!r}",))
    for name, number in (("major", rule.major), ("minor", rule.minor)):
        if number is not None and not WILDCARD <= number < 2**31:
            raise ValidationError((f"{path}.{name}: {number} is no number of a device",))
    major = WILDCARD if rule.major is None else rule.major
    minor = WILDCARD if rule.minor is None else rule.minor
    everything = (major, minor) == (WILDCARD, WILDCARD) and set(rule.access) == set("rwm")
    # The controller takes every rule of type "a" for all devices and all access, whatever else it says.
    kinds = ("a",) if kind == "a" and everything else ("b", "c") if kind == "a" else (kind,)
    access = "rwm" if everything else rule.access
    return [DeviceRule(rule.allow, one, major, minor, access) for one in kinds]
