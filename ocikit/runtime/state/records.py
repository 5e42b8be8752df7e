"""The files of a container's directory, read and written; what is in them is the business of ``state``."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from ocikit import _fs
from ocikit.errors import LimitExceededError, NotExistError, StateError
from ocikit.runtime.state.documents import (
    EXIT_FILE,
    MAX_STATE_BYTES,
    OWN_FILE,
    STATE_FILE,
    parse_exit,
    parse_own,
    parse_state,
)

if TYPE_CHECKING:
    from ocikit.runtime.state.documents import OwnRecord, Record
    from ocikit.runtime.state.root import StateRoot
    from ocikit.runtime.status import ExitStatus

__all__ = ["read_exit", "read_own", "read_record", "same_container", "write_exit", "write_file", "write_own"]

_FILE_MODE = 0o600


def read_record(root: StateRoot, fd: int, container_id: str) -> Record:
    """Read the state of a container.

    Raises:
        NotExistError: There is no state in its directory, which therefore is no container.
        StateError: The state is damaged, or not to be trusted.
    """
    data = root.read(fd, STATE_FILE, container_id)
    if data is None:
        raise NotExistError(
            f"container does not exist: {root.path}/{container_id} has no {STATE_FILE}; somebody is making it, or was"
        )
    return parse_state(data, container_id)


def read_own(root: StateRoot, fd: int, container_id: str) -> OwnRecord | None:
    """Read what only ocikit knows of a container; None for a container that another program made.

    Raises:
        StateError: The file is damaged, or not to be trusted.
    """
    data = root.read(fd, OWN_FILE, container_id)
    return None if data is None else parse_own(data, container_id)


def read_exit(root: StateRoot, fd: int, container_id: str) -> ExitStatus | None:
    """Read how a container ended; None when nobody wrote it down, or what was written cannot be read."""
    with contextlib.suppress(StateError):
        data = root.read(fd, EXIT_FILE, container_id)
        if data is not None:
            return parse_exit(data, container_id)
    return None


def write_own(fd: int, own: OwnRecord) -> None:
    """Write down what only ocikit knows of a container.

    Raises:
        LimitExceededError: It is more than would be read.
    """
    data = own.to_json()
    if len(data) > MAX_STATE_BYTES:
        remedy = "the arguments and the environment of the process are the most of it"
        raise LimitExceededError(f"{OWN_FILE}, in bytes", MAX_STATE_BYTES, len(data), remedy)
    write_file(fd, OWN_FILE, data)


def write_exit(fd: int, status: ExitStatus) -> None:
    """Write down how a container ended; nothing when its directory is gone."""
    finished = status.finished.isoformat() if status.finished is not None else ""
    document = {"exit_code": status.exit_code, "signal": status.signal, "finished": finished}
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
