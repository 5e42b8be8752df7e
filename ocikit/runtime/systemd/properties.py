"""What systemd is told of a unit: limits as properties, and properties that annotations ask for. Pure.

Everything here is written into the cgroup as well, more exactly; systemd is told so that it does not put back what it
believes to be right when it reloads its units.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import ValidationError
from ocikit.runtime.cgroups.device_rules import WILDCARD
from ocikit.runtime.limits import cpu_weight
from ocikit.runtime.plan import cpulist
from ocikit.runtime.systemd.bus import Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.runtime.cgroups.device_rules import DeviceRule
    from ocikit.runtime.systemd.names import Unit
    from ocikit.spec import LinuxCPU, LinuxMemory, LinuxResources

__all__ = ["ANNOTATION", "annotated", "limits", "new_unit"]

#: Annotations that begin so are properties of the unit, for callers who trust the configuration that far.
ANNOTATION: Final = "org.systemd.property."

_UNLIMITED: Final = 2**64 - 1
_SECOND: Final = 1_000_000  # in microseconds
_PERIOD: Final = 100_000  # what the kernel takes when nothing is said, in microseconds

_WORDS: Final = {"true": Variant("b", 1), "false": Variant("b", 0)}
_NUMBER: Final = re.compile(r"(?:(byte|int32|uint32|int64|uint64|double)\s+)?([+-]?\d+(?:\.\d+)?)", re.ASCII)
_NUMBER_TYPES: Final = {"byte": "y", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t", "double": "d"}
_STRING: Final = re.compile(r"'([^'\\]*)'|\"([^\"\\]*)\"")


def new_unit(unit: Unit, description: str, pid: int | None) -> dict[str, Variant]:
    """Return what every container's unit is made with.

    Args:
        unit: The unit.
        description: What people see of it.
        pid: The process that it is made for; None for a slice, which has none of its own.
    """
    found = {
        "Description": Variant("s", description),
        # Without the dependencies of services: a container may have to live until the machine is switched off.
        "DefaultDependencies": Variant("b", 0),
        "MemoryAccounting": Variant("b", 1),
        "CPUAccounting": Variant("b", 1),
        "TasksAccounting": Variant("b", 1),
    }
    if unit.is_slice:
        return found | {"Wants": Variant("as", [unit.slice])}
    found |= {"Slice": Variant("s", unit.slice), "Delegate": Variant("b", 1)}
    return found if pid is None else found | {"PIDs": Variant("au", [pid])}


def limits(
    resources: LinuxResources | None, rules: Sequence[DeviceRule], drivers: Mapping[tuple[str, int], str], *, v2: bool
) -> dict[str, Variant]:
    """Return limits as systemd has them.

    Args:
        resources: What the configuration asks for.
        rules: Which devices may be used, in order.
        drivers: The names that ``/proc/devices`` gives, by type ("b" or "c") and major number.
        v2: For a host whose only hierarchy is v2.
    """
    found = dict(_devices(rules, drivers))
    if resources is None:
        return found
    if resources.memory is not None:
        found |= _memory(resources.memory, v2=v2)
    if resources.cpu is not None:
        found |= _cpu(resources.cpu, v2=v2)
    if resources.pids is not None and resources.pids.limit is not None:
        found["TasksMax"] = Variant("t", _amount(resources.pids.limit or 1))  # 0 would keep the first process out
    return found


def _amount(value: int) -> int:
    return _UNLIMITED if value < 0 else value


def _memory(memory: LinuxMemory, *, v2: bool) -> dict[str, Variant]:
    found = {}
    if memory.limit:
        found["MemoryMax" if v2 else "MemoryLimit"] = Variant("t", _amount(memory.limit))
    if v2 and memory.reservation:
        found["MemoryLow"] = Variant("t", _amount(memory.reservation))
    if v2 and memory.swap and memory.limit:
        swap = memory.swap if memory.swap < 0 else memory.swap - max(memory.limit, 0)
        found["MemorySwapMax"] = Variant("t", _amount(swap))
    return found


def _cpu(cpu: LinuxCPU, *, v2: bool) -> dict[str, Variant]:
    found = {}
    if cpu.shares and not cpu.idle:
        found["CPUWeight" if v2 else "CPUShares"] = Variant("t", cpu_weight(cpu.shares) if v2 else cpu.shares)
    if cpu.period:
        found["CPUQuotaPeriodUSec"] = Variant("t", cpu.period)
    if cpu.quota and cpu.quota > 0:
        found["CPUQuotaPerSecUSec"] = Variant("t", cpu.quota * _SECOND // (cpu.period or _PERIOD))
    elif cpu.quota or cpu.period:
        found["CPUQuotaPerSecUSec"] = Variant("t", _UNLIMITED)
    for name, field, value in (("AllowedCPUs", "cpus", cpu.cpus), ("AllowedMemoryNodes", "mems", cpu.mems)):
        if v2 and value:
            # The lowest number in the lowest bit of the first byte, and no more bytes than there are numbers for.
            bits = cpulist.mask(value, f"$.linux.resources.cpu.{field}")
            found[name] = Variant("ay", list(bits.rstrip(b"\0") or b"\0"))
    return found


def _devices(rules: Sequence[DeviceRule], drivers: Mapping[tuple[str, int], str]) -> Iterator[tuple[str, Variant]]:
    """Yield the rules as far as systemd can say them: a list of what is allowed, or no restriction.

    Without it a reload of systemd would allow everything on v1.
    """
    allowed: dict[str, str] = {}
    for rule in rules:
        if rule.type == "a":
            allowed.clear()
            if rule.allow:
                yield "DevicePolicy", Variant("s", "auto")
                return
        elif rule.allow:
            name = _device(rule, drivers)
            if name:
                allowed[name] = "".join(one for one in "rwm" if one in allowed.get(name, "") + rule.access)
    yield "DevicePolicy", Variant("s", "strict")
    yield "DeviceAllow", Variant("a(ss)", list(allowed.items()))


def _device(rule: DeviceRule, drivers: Mapping[tuple[str, int], str]) -> str | None:
    kind = "char" if rule.type == "c" else "block"
    if rule.major == WILDCARD:
        return f"{kind}-*" if rule.minor == WILDCARD else None
    if rule.minor != WILDCARD:
        return f"/dev/{kind}/{rule.major}:{rule.minor}"
    driver = drivers.get((rule.type, rule.major))
    return f"{kind}-{driver}" if driver else None


def annotated(annotations: Mapping[str, str]) -> dict[str, Variant]:
    """Return the properties that annotations ask for.

    The notation of values is GVariant's text, of which there are words, numbers, strings and lists of strings here. A
    name that ends in ``Sec`` is given in seconds and told in microseconds, as ``systemctl show`` has it.

    Raises:
        ValidationError: A value is none of these.
    """
    found = {}
    for key, text in annotations.items():
        name = key.removeprefix(ANNOTATION)
        if name == key:
            continue
        value = _value(text.strip())
        if value is None or not name.isalnum() or not name.isascii():
            expected = "a boolean, a number such as 'uint64 5', a string in quotes or a list of strings"
            raise ValidationError((f"$.annotations[{key!r}]: expected {expected}, found {text!r}",))
        if name.endswith("Sec") and not name.endswith("USec") and value.signature in {"i", "u", "x", "t", "d"}:
            name, value = f"{name[:-3]}USec", Variant("t", int(value.value * _SECOND))
        found[name] = value
    return found


def _value(text: str) -> Variant | None:
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith("[") and text.endswith("]"):
        items = [_STRING.fullmatch(part.strip()) for part in text[1:-1].split(",") if part.strip()]
        return Variant("as", [one[1] or one[2] or "" for one in items if one]) if all(items) else None
    if string := _STRING.fullmatch(text):
        return Variant("s", string[1] or string[2] or "")
    if number := _NUMBER.fullmatch(text):
        signature = _NUMBER_TYPES[number[1] or ("double" if "." in number[2] else "int32")]
        if signature != "d" and "." in number[2]:
            return None
        return Variant(signature, float(number[2]) if signature == "d" else int(number[2]))
    return None
