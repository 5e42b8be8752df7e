"""The words of ``linux.seccomp`` as numbers: those of the kernel, of libseccomp, and of runc's state.

Pure data. The words are those of :mod:`ocikit.spec.vocabulary`; tests compare the numbers with libseccomp's.
"""

from __future__ import annotations

from typing import Final

from ocikit._tuples import NamedTuple

__all__ = [
    "ACTIONS",
    "ARCHITECTURES",
    "FLAGS",
    "MAX_ERRNO",
    "MAX_MESSAGE",
    "NEW_LISTENER",
    "OPERATORS",
    "PASSING",
    "RET_ERRNO",
    "RET_NOTIFY",
    "WAIT_KILLABLE_RECV",
    "Action",
    "Architecture",
    "Operator",
]

#: SECCOMP_RET_* (include/uapi/linux/seccomp.h); the lower 16 bits are the errno or the message.
RET_ERRNO: Final = 0x0005_0000
RET_NOTIFY: Final = 0x7FC0_0000

#: The highest errno that libseccomp takes (the kernel returns one more), and the highest message to a tracer.
MAX_ERRNO: Final = 4094
MAX_MESSAGE: Final = 0xFFFF


class Action(NamedTuple):
    """What to do about a system call."""

    #: What the filter returns (SECCOMP_RET_*), without the errno.
    value: int
    #: The number in runc's state.
    in_state: int


ACTIONS: Final = {
    "SCMP_ACT_KILL": Action(0, 1),
    "SCMP_ACT_ERRNO": Action(RET_ERRNO, 2),
    "SCMP_ACT_TRAP": Action(0x0003_0000, 3),
    "SCMP_ACT_ALLOW": Action(0x7FFF_0000, 4),
    "SCMP_ACT_TRACE": Action(0x7FF0_0000, 5),
    "SCMP_ACT_LOG": Action(0x7FFC_0000, 6),
    "SCMP_ACT_NOTIFY": Action(RET_NOTIFY, 7),
    "SCMP_ACT_KILL_THREAD": Action(0, 8),
    "SCMP_ACT_KILL_PROCESS": Action(0x8000_0000, 9),
}

#: Actions with which a system call is carried out without anybody being asked.
PASSING: Final = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"})


class Operator(NamedTuple):
    """A comparison."""

    #: The number that libseccomp has for it (enum scmp_compare).
    in_library: int
    #: The number in runc's state.
    in_state: int


OPERATORS: Final = {
    "SCMP_CMP_NE": Operator(1, 2),
    "SCMP_CMP_LT": Operator(2, 5),
    "SCMP_CMP_LE": Operator(3, 6),
    "SCMP_CMP_EQ": Operator(4, 1),
    "SCMP_CMP_GE": Operator(5, 4),
    "SCMP_CMP_GT": Operator(6, 3),
    "SCMP_CMP_MASKED_EQ": Operator(7, 7),
}

NEW_LISTENER: Final = 1 << 3
WAIT_KILLABLE_RECV: Final = 1 << 5

#: SECCOMP_FILTER_FLAG_* (seccomp(2)). TSYNC is about the other threads of a process, and init has none: nothing is to
#: be done, and the kernel would not take it together with a listener.
FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV,
}

_64 = 0x8000_0000
_LE = 0x4000_0000
_N32 = 0x2000_0000


class Architecture(NamedTuple):
    """A convention of calling the kernel."""

    #: The number that libseccomp has for it: AUDIT_ARCH_* (include/uapi/linux/audit.h), but for x32.
    token: int
    #: The name that libseccomp and runc's state have for it.
    name: str


ARCHITECTURES: Final = {
    "SCMP_ARCH_X86": Architecture(3 | _LE, "x86"),
    "SCMP_ARCH_X86_64": Architecture(62 | _64 | _LE, "amd64"),
    "SCMP_ARCH_X32": Architecture(62 | _LE, "x32"),
    "SCMP_ARCH_ARM": Architecture(40 | _LE, "arm"),
    "SCMP_ARCH_AARCH64": Architecture(183 | _64 | _LE, "arm64"),
    "SCMP_ARCH_MIPS": Architecture(8, "mips"),
    "SCMP_ARCH_MIPS64": Architecture(8 | _64, "mips64"),
    "SCMP_ARCH_MIPS64N32": Architecture(8 | _64 | _N32, "mips64n32"),
    "SCMP_ARCH_MIPSEL": Architecture(8 | _LE, "mipsel"),
    "SCMP_ARCH_MIPSEL64": Architecture(8 | _64 | _LE, "mipsel64"),
    "SCMP_ARCH_MIPSEL64N32": Architecture(8 | _64 | _LE | _N32, "mipsel64n32"),
    "SCMP_ARCH_PPC": Architecture(20, "ppc"),
    "SCMP_ARCH_PPC64": Architecture(21 | _64, "ppc64"),
    "SCMP_ARCH_PPC64LE": Architecture(21 | _64 | _LE, "ppc64le"),
    "SCMP_ARCH_S390": Architecture(22, "s390"),
    "SCMP_ARCH_S390X": Architecture(22 | _64, "s390x"),
    "SCMP_ARCH_PARISC": Architecture(15, "parisc"),
    "SCMP_ARCH_PARISC64": Architecture(15 | _64, "parisc64"),
    "SCMP_ARCH_RISCV64": Architecture(243 | _64 | _LE, "riscv64"),
    "SCMP_ARCH_LOONGARCH64": Architecture(258 | _64 | _LE, "loong64"),
    "SCMP_ARCH_M68K": Architecture(4, "m68k"),
    "SCMP_ARCH_SH": Architecture(42 | _LE, "sh"),
    "SCMP_ARCH_SHEB": Architecture(42, "sheb"),
}
