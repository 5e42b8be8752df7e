"""libseccomp, looked up when the first filter is compiled: names become numbers, and rules a program.

By ctypes, from the standard library: the declarations are few, and to have cffi read them would take longer than a
filter takes to compile.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import TYPE_CHECKING, Final, Self

from ocikit._tuples import NamedTuple
from ocikit.errors import MissingDependencyError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocikit.runtime.seccomp.profile import Condition

__all__ = ["Library", "LibraryFilter", "Version", "library"]

_NAME: Final = "libseccomp.so.2"
_OPTIMIZE: Final = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE: Final = 2
_UNKNOWN: Final = -1  # __NR_SCMP_ERROR

#: With fewer rules a tree is not shorter than a list, and with none at all libseccomp up to 2.5.4 makes a wrong one.
_RULES_FOR_A_TREE: Final = 32


class Version(NamedTuple):
    """The version of libseccomp."""

    major: int
    minor: int
    micro: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


class _Comparison(ctypes.Structure):
    """What libseccomp calls ``struct scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


_u32, _int, _pointer = ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p

#: Function → its result and arguments (seccomp.h).
_FUNCTIONS: Final = {
    "seccomp_version": (ctypes.POINTER(ctypes.c_uint), ()),
    "seccomp_arch_native": (_u32, ()),
    "seccomp_arch_resolve_name": (_u32, (ctypes.c_char_p,)),
    "seccomp_syscall_resolve_name_arch": (_int, (_u32, ctypes.c_char_p)),
    "seccomp_init": (_pointer, (_u32,)),
    "seccomp_release": (None, (_pointer,)),
    "seccomp_arch_add": (_int, (_pointer, _u32)),
    "seccomp_attr_set": (_int, (_pointer, _int, _u32)),
    "seccomp_rule_add_array": (_int, (_pointer, _u32, _int, ctypes.c_uint, ctypes.POINTER(_Comparison))),
    "seccomp_export_bpf": (_int, (_pointer, _int)),
}


@functools.cache
def library() -> Library:
    """Return libseccomp; it is looked for once.

    Raises:
        MissingDependencyError: It is not installed.
        NotSupportedError: This is not Linux.
    """
    if os.uname().sysname != "Linux":
        raise NotSupportedError(f"seccomp filters are Linux's; this is {os.uname().sysname}")
    try:
        loaded = ctypes.CDLL(_NAME)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise MissingDependencyError(
            f"seccomp filters need libseccomp, version 2.2 or later, but {_NAME} cannot be loaded ({error}): install "
            "the package libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Alpine, Arch)"
        ) from error
    return Library(loaded)


class Library:
    """What ocikit uses of libseccomp; made by :func:`library`."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._calls = loaded
        #: Its version.
        self.version = Version(*loaded.seccomp_version()[:3])
        #: The number that it has for the architecture of this machine.
        self.native = int(loaded.seccomp_arch_native())

    def architecture(self, name: str) -> int:
        """Return the number of an architecture by libseccomp's name for it; 0 when it knows none of that name."""
        return int(self._calls.seccomp_arch_resolve_name(name.encode()))

    def resolve(self, names: Iterable[str], architecture: int) -> dict[str, int]:
        """Return the numbers of system calls.

        Args:
            names: Their names.
            architecture: libseccomp's number of the architecture.

        Returns:
            Those of which libseccomp knows the name. A negative number stands for a system call that only other
            architectures have.
        """
        call = self._calls.seccomp_syscall_resolve_name_arch
        # A name that C would see end early is another name.
        spelt = ((name, name.encode("utf-8", "surrogateescape")) for name in names if "\0" not in name)
        found = ((name, int(call(architecture, text))) for name, text in spelt)
        return {name: number for name, number in found if number != _UNKNOWN}

    def filter(self, default: int) -> LibraryFilter:
        """Begin a filter.

        Args:
            default: What it returns for everything that no rule is about.

        Raises:
            NotSupportedError: Library or kernel does not know this action.
        """
        handle = self._calls.seccomp_init(default)
        if not handle:
            raise NotSupportedError(f"libseccomp {self.version} on this kernel does not know the action {default:#x}")
        return LibraryFilter(self._calls, handle)


class LibraryFilter:
    """A filter that libseccomp puts together. Use it in a ``with`` block.

    Its methods return what libseccomp does: 0, or a negated errno.
    """

    def __init__(self, calls: ctypes.CDLL, handle: int) -> None:
        self._calls = calls
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.seccomp_release(self._handle)

    def add_architecture(self, architecture: int) -> int:
        """Have the same rules filter the system calls of another architecture, too."""
        return int(self._calls.seccomp_arch_add(self._handle, architecture))

    def add_rule(self, action: int, number: int, conditions: Iterable[Condition]) -> int:
        """Add a rule; ``number`` is the native one, and is translated for other architectures."""
        comparisons = [_Comparison(*one) for one in conditions]
        array = (_Comparison * len(comparisons))(*comparisons)
        return int(self._calls.seccomp_rule_add_array(self._handle, action, number, len(comparisons), array))

    def program(self, rules: int) -> bytes:
        """Return the filter as the kernel takes it.

        Args:
            rules: How many rules it has.

        Raises:
            OSError: libseccomp failed.
        """
        if rules > _RULES_FOR_A_TREE:
            # Libraries before 2.5 know no trees; the list that they make does the same.
            self._calls.seccomp_attr_set(self._handle, _OPTIMIZE, _BINARY_TREE)
        file = os.memfd_create("ocikit-seccomp", os.MFD_CLOEXEC)
        try:
            failed = int(self._calls.seccomp_export_bpf(self._handle, file))
            if failed:
                raise OSError(-failed, os.strerror(-failed))
            size = os.lseek(file, 0, os.SEEK_END)
            return os.pread(file, size, 0)
        finally:
            os.close(file)
