"""The capabilities of Linux by name and bit (capabilities(7), include/uapi/linux/capability.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NAMES", "names_of", "to_mask"]

#: Every name, at the index of its bit.
NAMES: tuple[str, ...] = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)

_BITS = {name: bit for bit, name in enumerate(NAMES)}


def to_mask(names: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """Turn names into a bit mask.

    Returns:
        The mask, and the names that no capability has.
    """
    mask = 0
    unknown = []
    for name in names:
        bit = _BITS.get(name.upper())
        if bit is None:
            unknown.append(name)
        else:
            mask |= 1 << bit
    return mask, tuple(unknown)


def names_of(mask: int) -> tuple[str, ...]:
    """Turn a bit mask into names, in the order of the bits; bits without a name are left out."""
    return tuple(name for name, bit in _BITS.items() if mask >> bit & 1)
