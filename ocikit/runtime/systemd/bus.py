"""A connection to systemd, by way of its own client library, which is looked up when it is first needed.

The library is on every host that has a systemd; where it is not, one error says so. Calls wait in C, for a bounded
time: creation runs in a thread of its own for that reason.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import TYPE_CHECKING, Any, Final, Self

from ocikit._tuples import NamedTuple
from ocikit.errors import CgroupError, MissingDependencyError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bus", "Variant"]

_LIBRARY: Final = "libsystemd.so.0"
_SERVICE: Final = b"org.freedesktop.systemd1"
_TIMEOUT_MICROSECONDS: Final = 25_000_000

_DECLARATIONS: Final = """
    typedef struct sd_bus sd_bus;
    typedef struct sd_bus_message sd_bus_message;
    typedef struct { const char *name; const char *message; int _need_free; } sd_bus_error;
    int sd_bus_new(sd_bus **bus);
    int sd_bus_set_address(sd_bus *bus, const char *address);
    int sd_bus_start(sd_bus *bus);
    int sd_bus_open_system(sd_bus **bus);
    int sd_bus_open_user(sd_bus **bus);
    sd_bus *sd_bus_flush_close_unref(sd_bus *bus);
    int sd_bus_message_new_method_call(sd_bus *bus, sd_bus_message **m, const char *destination, const char *path,
                                       const char *interface, const char *member);
    int sd_bus_message_append_basic(sd_bus_message *m, char type, const void *p);
    int sd_bus_message_open_container(sd_bus_message *m, char type, const char *contents);
    int sd_bus_message_close_container(sd_bus_message *m);
    sd_bus_message *sd_bus_message_unref(sd_bus_message *m);
    int sd_bus_message_read_basic(sd_bus_message *m, char type, void *p);
    int sd_bus_call(sd_bus *bus, sd_bus_message *m, uint64_t usec, sd_bus_error *error, sd_bus_message **reply);
    int sd_bus_get_property_string(sd_bus *bus, const char *destination, const char *path, const char *interface,
                                   const char *member, sd_bus_error *error, char **value);
    void sd_bus_error_free(sd_bus_error *e);
    void free(void *pointer);
"""

#: The basic types of the bus that are needed here, as C has them.
_NUMBERS: Final = {"b": "int *", "y": "uint8_t *", "i": "int32_t *", "u": "uint32_t *", "x": "int64_t *"} | {
    "t": "uint64_t *",
    "d": "double *",
}


class Variant(NamedTuple):
    """A value with its type in the notation of D-Bus."""

    signature: str
    value: Any


#: What systemd's refusals mean in the words of the kernel; every other one keeps the number of the library.
_ERRNO: Final = {
    "org.freedesktop.systemd1.NoSuchUnit": errno.ENOENT,
    "org.freedesktop.systemd1.UnitExists": errno.EEXIST,
    "org.freedesktop.DBus.Error.UnknownObject": errno.ENOENT,
    "org.freedesktop.DBus.Error.AccessDenied": errno.EACCES,
}


@functools.cache
def _load() -> tuple[Any, Any]:
    import cffi  # noqa: PLC0415 - nobody else needs the parser of declarations at run time

    ffi: Any = cffi.FFI()  # its types say nothing of what is declared at run time
    ffi.cdef(_DECLARATIONS)
    try:
        return ffi, ffi.dlopen(_LIBRARY)
    except OSError as error:
        raise MissingDependencyError(
            f"{_LIBRARY} could not be loaded ({error}); cgroups made by systemd need it (Debian: libsystemd0), or take "
            "the cgroup driver that works without systemd"
        ) from error


class Bus:
    """A connection, used by one thread and closed at the end of a ``with`` block."""

    def __init__(self, *, of_user: bool) -> None:
        """Connect to the manager of the system, or of the user.

        Raises:
            NotSupportedError: There is no systemd to talk to.
            MissingDependencyError: Its client library is not installed.
        """
        self._ffi, self._lib = _load()
        self._bus = self._ffi.NULL
        found = self._ffi.new("sd_bus **")
        # Directly first: this works without a bus daemon, too, and early at boot.
        private = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/systemd/private" if of_user else "/run/systemd/private"
        failed = self._direct(private, found)
        if failed < 0:
            failed = int(self._lib.sd_bus_open_user(found) if of_user else self._lib.sd_bus_open_system(found))
        if failed >= 0:
            self._bus = found[0]
            return
        whose = "the user's" if of_user else "the system's"
        raise NotSupportedError(
            f"{whose} systemd could not be reached ({os.strerror(-failed)}); does it run here? Containers can have "
            "cgroups without it: choose the other cgroup driver"
        )

    def _direct(self, path: str, found: Any) -> int:  # noqa: ANN401 - a pointer of cffi
        if not os.path.exists(path):
            return -errno.ENOENT
        result = self._lib.sd_bus_new(found)
        if result >= 0:
            result = self._lib.sd_bus_set_address(found[0], b"unix:path=" + os.fsencode(path))
        if result >= 0:
            result = self._lib.sd_bus_start(found[0])
        if result < 0:
            self._lib.sd_bus_flush_close_unref(found[0])
        return int(result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bus != self._ffi.NULL:
            self._lib.sd_bus_flush_close_unref(self._bus)
            self._bus = self._ffi.NULL

    def call(self, member: str, *arguments: Variant, reply: str = "") -> str | None:
        """Call a method of the manager.

        Args:
            member: Its name.
            arguments: What it takes.
            reply: The type of the answer that is wanted: ``o`` for the path of an object.

        Returns:
            The answer; None when none is wanted.

        Raises:
            CgroupError: systemd refused.
        """
        ffi, lib = self._ffi, self._lib
        message, answer, error = ffi.new("sd_bus_message **"), ffi.new("sd_bus_message **"), ffi.new("sd_bus_error *")
        try:
            self._check(
                lib.sd_bus_message_new_method_call(
                    self._bus, message, _SERVICE, b"/org/freedesktop/systemd1", b"org.freedesktop.systemd1.Manager",
                    member.encode(),
                ),
                member,
            )  # fmt: skip
            for argument in arguments:
                self._append(message[0], argument, member)
            self._check(lib.sd_bus_call(self._bus, message[0], _TIMEOUT_MICROSECONDS, error, answer), member, error)
            if not reply:
                return None
            text = ffi.new("char **")
            self._check(lib.sd_bus_message_read_basic(answer[0], reply.encode(), text), member)
            return str(ffi.string(text[0]).decode())
        finally:
            lib.sd_bus_error_free(error)
            for one in (message[0], answer[0]):
                lib.sd_bus_message_unref(one)

    def text(self, path: str, interface: str, name: str) -> str:
        """Read a property that is a string.

        Raises:
            CgroupError: There is no such object or property.
        """
        ffi, lib = self._ffi, self._lib
        value, error = ffi.new("char **"), ffi.new("sd_bus_error *")
        try:
            result = lib.sd_bus_get_property_string(
                self._bus, _SERVICE, path.encode(), interface.encode(), name.encode(), error, value
            )
            self._check(result, f"show {name}", error)
            return str(ffi.string(value[0]).decode())
        finally:
            lib.sd_bus_error_free(error)
            if value[0] != ffi.NULL:
                lib.free(value[0])

    def _append(self, message: Any, argument: Variant, member: str) -> None:  # noqa: ANN401
        """Append a value of any type: a basic one, an array, a structure or a variant of others."""
        signature, value = argument
        kind, contents = signature[0], signature[1:]
        if kind not in "a(v":
            self._append_basic(message, kind, value, member)
            return
        if kind == "v":
            # The value brings its own type along, as variants do.
            opened, contents, parts = "v", value.signature, [value]
        elif kind == "a":
            opened, parts = "a", [Variant(contents, one) for one in value]
        else:
            contents = contents[:-1]
            opened, parts = "r", [Variant(*one) for one in zip(_split(contents), value, strict=True)]
        lib = self._lib
        self._check(lib.sd_bus_message_open_container(message, opened.encode(), contents.encode()), member)
        for part in parts:
            self._append(message, part, member)
        self._check(lib.sd_bus_message_close_container(message), member)

    def _append_basic(self, message: Any, kind: str, value: Any, member: str) -> None:  # noqa: ANN401
        numeric = _NUMBERS.get(kind)
        pointer = self._ffi.new(numeric, value) if numeric else self._ffi.new("char[]", str(value).encode())
        self._check(self._lib.sd_bus_message_append_basic(message, kind.encode(), pointer), member)

    def _check(self, result: int, member: str, error: Any = None) -> None:  # noqa: ANN401
        if result >= 0:
            return
        name, said = "", ""
        if error is not None and error.name != self._ffi.NULL:
            name = self._ffi.string(error.name).decode(errors="replace")
            said = self._ffi.string(error.message).decode(errors="replace") if error.message != self._ffi.NULL else ""
        remedy = f"it says: {said or name}" if name else None
        raise CgroupError(f"have systemd {member}", _ERRNO.get(name, -result), None, remedy)


def _split(signature: str) -> Sequence[str]:
    """Split the contents of a structure into complete types."""
    found = []
    rest = signature
    while rest:
        end = _length(rest)
        found.append(rest[:end])
        rest = rest[end:]
    return found


def _length(signature: str) -> int:
    """Return the length of the first complete type."""
    if signature[0] == "a":
        return 1 + _length(signature[1:])
    if signature[0] != "(":
        return 1
    end = 1
    while signature[end] != ")":
        end += _length(signature[end:])
    return end + 1
