"""The files of a container's directory, read and written; what is in them is the business of ``state``."""

from __future__ import annotations

import contextlib
import json
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ocikit import _fs
from ocikit.errors import LimitExceededError, NotExistError, StateError
from ocikit.runtime.state.documents import (
    EXIT_FILE,
    MAX_STATE_BYTES,
    OWN_FILE,
    PROCESS_FILE,
    STATE_FILE,
    OwnRecord,
    Record,
    parse_exit,
    parse_object,
    parse_own,
    parse_state,
)

if TYPE_CHECKING:
    from ocikit.runtime.state.root import StateRoot
    from ocikit.runtime.status import ExitStatus

__all__ = [
    "read_exit",
    "read_own",
    "read_processes",
    "read_record",
    "same_container",
    "write_exit",
    "write_file",
    "write_own",
    "write_processes",
    "write_state",
]

_FILE_MODE: Final = 0o600

T = TypeVar("T")

# What was read of which file, as long as the file is the same: every call looks at the state of its container, and most
# of that is the filter of system calls. Files of states are replaced and never changed.
_Identity = tuple[int, ...]
_known: OrderedDict[_Identity, Record] = OrderedDict()
_owned: OrderedDict[_Identity, tuple[str, OwnRecord]] = OrderedDict()
_KEPT: Final = 256


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _identity_of(fd: int, name: str) -> _Identity:
    return _identity(os.stat(name, dir_fd=fd, follow_symlinks=False))


def _keep(known: OrderedDict[_Identity, T], identity: _Identity, found: T) -> T:
    known[identity] = found
    while len(known) > _KEPT:
        with contextlib.suppress(KeyError):
            known.popitem(last=False)
    return found


def read_record(root: StateRoot, fd: int, container_id: str) -> Record:
    """Read the state of a container.

    Raises:
        NotExistError: There is no state in its directory, which therefore is no container.
        StateError: The state is damaged, or not to be trusted.
    """
    with root.file(fd, STATE_FILE, container_id) as file:
        if file is None:
            where = f"{root.path}/{container_id}"
            raise NotExistError(f"container does not exist: {where} has no {STATE_FILE}; somebody is making it, or was")
        identity = _identity(file.status)
        known = _known.get(identity)
        if known is not None and known.id == container_id:
            return known
        return _keep(_known, identity, parse_state(file.read(), container_id))


def read_own(root: StateRoot, fd: int, container_id: str) -> OwnRecord | None:
    """Read what only ocikit knows of a container; None for a container that another program made.

    Raises:
        StateError: The file is damaged, or not to be trusted.
    """
    with root.file(fd, OWN_FILE, container_id) as file:
        if file is None:
            return None
        identity = _identity(file.status)
        whose, own = _owned.get(identity, ("", None))
        if own is not None and whose == container_id:
            return own
        return _keep(_owned, identity, (container_id, parse_own(file.read(), container_id)))[1]


def read_exit(root: StateRoot, fd: int, container_id: str) -> ExitStatus | None:
    """Read how a container ended; None when nobody wrote it down, or what was written cannot be read."""
    with contextlib.suppress(StateError):
        data = root.read(fd, EXIT_FILE, container_id)
        if data is not None:
            return parse_exit(data, container_id)
    return None


def read_processes(root: StateRoot, fd: int, container_id: str) -> dict[str, Any] | None:
    """Read what further processes start from; None for a container of which nobody kept it.

    Raises:
        StateError: The file is damaged, or not to be trusted.
    """
    data = root.read(fd, PROCESS_FILE, container_id)
    return None if data is None else parse_object(data, f"{PROCESS_FILE} of container {container_id}")


def write_own(fd: int, own: OwnRecord, container_id: str) -> None:
    """Write down what only ocikit knows of a container."""
    write_file(fd, OWN_FILE, own.to_json())
    _keep(_owned, _identity_of(fd, OWN_FILE), (container_id, own))


def write_processes(fd: int, data: bytes) -> None:
    """Write down what further processes start from.

    Raises:
        LimitExceededError: It is more than would be read.
    """
    if len(data) > MAX_STATE_BYTES:
        remedy = "the arguments and the environment of the process are the most of it"
        raise LimitExceededError(f"{PROCESS_FILE}, in bytes", MAX_STATE_BYTES, len(data), remedy)
    write_file(fd, PROCESS_FILE, data)


def write_state(fd: int, data: bytes, record: Record) -> None:
    """Write down the state of a container.

    Args:
        fd: Its directory.
        data: The text of the state.
        record: What there is to read in it.
    """
    write_file(fd, STATE_FILE, data)
    _keep(_known, _identity_of(fd, STATE_FILE), record)


def write_exit(fd: int, status: ExitStatus) -> None:
    """Write down how a container ended; nothing when its directory is gone."""
    finished = status.finished.isoformat() if status.finished is not None else ""
    document = {"exit_code": status.exit_code, "signal": status.signal, "finished": finished, "oom": status.oom}
    with contextlib.suppress(FileNotFoundError):
        write_file(fd, EXIT_FILE, json.dumps(document).encode())


def write_file(fd: int, name: str, data: bytes) -> None:
    """Write a file of a container's directory; not flushed, because no container survives its machine."""
    _fs.atomic_write(fd, name, data, mode=_FILE_MODE, durable=False)


def same_container(one: Record, other: Record) -> bool:
    """Tell whether two states, read at different times, are of the same container and not of a namesake.

    The time of creation says nothing: runc writes it in another form when it rewrites a state.
    """
    return (one.pid, one.start_time) == (other.pid, other.start_time)
