"""What is written down about a container: runc's ``state.json`` as a record, and two files of our own beside it.

Pure: text in, records out, and back. Whoever wrote the text may have been another program, another version or an
enemy; a value that decides what is signalled, killed or removed is checked here or the state is refused, and a value
that is only shown falls back to a default.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidIDError, StateError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from ocikit.runtime.status import ExitStatus

__all__ = [
    "ATTACH_FILE",
    "EXIT_FILE",
    "FIFO_FILE",
    "LIFETIMES",
    "LOG_FILE",
    "MAX_STATE_BYTES",
    "OWN_FILE",
    "PROCESS_FILE",
    "STATE_FILE",
    "Monitored",
    "OwnRecord",
    "Record",
    "format_time",
    "parse_exit",
    "parse_object",
    "parse_own",
    "parse_state",
    "parse_time",
    "validate_id",
]

#: libcontainer's state; its presence makes a directory a container.
STATE_FILE: Final = "state.json"
#: What only ocikit knows. A file of its own, because runc drops unknown keys when it rewrites its state.
OWN_FILE: Final = "ocikit.json"
#: What further processes start from: as large as the configuration, and never changed.
PROCESS_FILE: Final = "process.json"
#: How the container ended, by whoever saw it. Written whole and once, hence without a lock.
EXIT_FILE: Final = "exit.json"
#: The socket at which clients attach to a container that has a monitor.
ATTACH_FILE: Final = "attach"
#: Its log, unless it is somewhere else.
LOG_FILE: Final = "log"
#: What a created container waits at.
FIFO_FILE: Final = "exec.fifo"

#: The size up to which a file of a state directory is read: 4 MiB, in bytes. runc's own are about 6 kB.
MAX_STATE_BYTES: Final = 4 * 1024 * 1024

#: How long a container may live: as long as the ``with`` block or object it was made in, as long as the process that
#: made it, or until it is destroyed.
LIFETIMES: Final = ("scope", "process", "detached")

_MAX_ID = 255
_MAX_PID = 2**22
_ID = re.compile(r"[A-Za-z0-9_+.-]+", re.ASCII)
#: Compiled by whoever looks at times first.
_TIME = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)"


def validate_id(container_id: str) -> str:
    """Return a container id that can be a directory name and nothing else.

    Args:
        container_id: One to 255 of ``A-Za-z0-9_+-.``, neither ``.`` nor ``..`` (the grammar of runc since 1.2).

    Raises:
        InvalidIDError: It is something else.
    """
    if not container_id:
        raise InvalidIDError("container id cannot be empty")
    if not _ID.fullmatch(container_id) or container_id in {".", ".."}:
        raise InvalidIDError(
            f"invalid container ID format: {container_id[:300]!r}; expected letters, digits and _+-. (not . or ..)"
        )
    if len(container_id) > _MAX_ID:
        raise InvalidIDError(f"container id has {len(container_id)} characters; expected at most {_MAX_ID}")
    return container_id


class Record(NamedTuple):
    """What ``state.json`` says, as far as it is acted on or shown."""

    #: The name of the directory: what the file itself says of its id counts for nothing, as with runc.
    id: str
    #: Process id of init; -1 when there is none.
    pid: int
    #: Field 22 of ``/proc/PID/stat`` of init.
    start_time: int
    #: As written, normally RFC 3339 with nanoseconds.
    created: str
    bundle: str
    rootfs: str
    #: Version of the runtime specification that the state follows.
    version: str
    annotations: Mapping[str, str]
    #: Directory of the container by controller; ``""`` is the hierarchy of cgroup v2.
    cgroup_paths: Mapping[str, str]
    #: Whether the processes of the container die with its init, because they live in a pid namespace that it made.
    private_pids: bool
    #: Slice, prefix and name of the unit of systemd that its cgroups belong to; None when there is none.
    unit: tuple[str, str, str] | None
    #: The hooks of the configuration by kind, as they were written (:mod:`ocikit.runtime.hook_commands` reads them).
    hooks: Mapping[str, Any]
    #: Directories of its group in resctrl, and of its monitoring group; empty when it has none.
    rdt: tuple[str, str] = ("", "")


class MountedRoot(NamedTuple):
    """What is mounted on the host for a container without a mount namespace; ids are those of ``mountinfo``."""

    #: The directory that it covers.
    path: str
    #: The mount that this directory is in.
    before: int
    #: The mount itself; 0 as long as it is not known to have been made.
    made: int = 0


class Monitored(NamedTuple):
    """The monitor of a container, and what it does."""

    #: Its process id.
    pid: int
    #: Field 22 of ``/proc/PID/stat`` of it.
    start_time: int
    #: Absolute path of the log; empty when there is none.
    log: str = ""
    #: ``json`` or ``cri``.
    log_format: str = "json"
    #: How many files the log has at most.
    log_files: int = 1
    #: Whether clients can attach.
    attachable: bool = False


class OwnRecord(NamedTuple):
    """What ``ocikit.json`` says."""

    #: One of :data:`LIFETIMES`.
    lifetime: str
    #: The cgroups of the container, written down before the first of them was made.
    cgroup_paths: Mapping[str, str]
    #: Directories above them that did not exist then.
    cgroup_parents: tuple[str, ...]
    #: When start was called; empty before.
    started: str = ""
    #: Directories of resctrl that are made for the container.
    rdt_groups: tuple[str, ...] = ()
    #: None for containers with a mount namespace.
    mounted_root: MountedRoot | None = None
    #: None for containers without a monitor.
    monitor: Monitored | None = None

    def to_json(self) -> bytes:
        """Return the text of the file."""
        monitor = self.monitor._asdict() if self.monitor is not None else None
        document = self._asdict() | {"version": 1, "cgroup_paths": dict(self.cgroup_paths), "monitor": monitor}
        return json.dumps(document).encode()


def parse_state(data: bytes, container_id: str) -> Record:
    """Read a ``state.json``.

    Args:
        data: Its text.
        container_id: The name of the directory it is in.

    Raises:
        StateError: It cannot be read, or something in it that would be acted on is not what it must be.
    """
    where = f"state of container {container_id}"
    state = parse_object(data, where)
    config = _typed(state.get("config"), dict, {})
    labels = _labels(config.get("labels"))
    return Record(
        id=container_id,
        pid=_number(state, "init_process_pid", -1, _MAX_PID, where),
        start_time=_number(state, "init_process_start", 0, 2**64 - 1, where),
        created=_typed(state.get("created"), str, ""),
        bundle=labels.pop("bundle", ""),
        rootfs=_typed(config.get("rootfs"), str, ""),
        version=_typed(config.get("version"), str, ""),
        annotations=labels,
        cgroup_paths=_paths(state.get("cgroup_paths"), f"{where}: cgroup_paths"),
        private_pids=_private_pids(config.get("namespaces")),
        unit=_unit(config.get("cgroups")),
        hooks=_typed(config.get("Hooks"), dict, {}),
        rdt=(_typed(state.get("intel_rdt_path"), str, ""), _typed(state.get("intel_rdt_mon_path"), str, "")),
    )


def parse_own(data: bytes, container_id: str) -> OwnRecord:
    """Read an ``ocikit.json``.

    Raises:
        StateError: It is not one that we wrote.
    """
    where = f"{OWN_FILE} of container {container_id}"
    document = parse_object(data, where)
    lifetime = document.get("lifetime")
    parents = document.get("cgroup_parents")
    if lifetime not in LIFETIMES or not isinstance(parents, list) or not all(map(_is_path, parents)):
        raise StateError(f"{where}: damaged; expected a lifetime and paths")
    paths = _paths(document.get("cgroup_paths"), where)
    started = _typed(document.get("started"), str, "")
    groups = tuple(filter(_is_path, _typed(document.get("rdt_groups"), list, [])))
    mounted = _mounted_root(document.get("mounted_root"))
    monitor = _monitored(document.get("monitor"), where)
    return OwnRecord(lifetime, paths, tuple(parents), started, groups, mounted, monitor)


def parse_exit(data: bytes, container_id: str) -> ExitStatus:
    """Read an ``exit.json``; whoever wrote it may not have known how the container ended.

    Raises:
        StateError: It cannot be read.
    """
    from ocikit.runtime.status import ExitStatus  # noqa: PLC0415 - nobody has ended while a container is made

    document = parse_object(data, f"{EXIT_FILE} of container {container_id}")
    code, signal = document.get("exit_code"), document.get("signal")
    finished = parse_time(_typed(document.get("finished"), str, ""))
    known = ExitStatus(
        None,
        None,
        finished,
        oom=_typed(document.get("oom"), bool, None),
        timed_out=_typed(document.get("timed_out"), bool, None) or False,
        user_time=_typed(document.get("user_time"), float, None),
        system_time=_typed(document.get("system_time"), float, None),
    )
    if isinstance(code, int) and not isinstance(code, bool) and 0 <= code <= 255:
        return known._replace(exit_code=code)
    if isinstance(signal, int) and not isinstance(signal, bool) and 0 < signal <= 64:
        return known._replace(signal=signal)
    return known


def format_time(nanoseconds: int) -> str:
    """Write a time, in nanoseconds since 1970, as runc does: RFC 3339, in UTC, without zeros at the end."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}{f'.{fraction:09}'.rstrip('0').rstrip('.')}Z"


def parse_time(text: str) -> dt.datetime | None:
    """Read a time of RFC 3339; None when it is none. Digits below a microsecond are cut off."""
    import datetime as dt  # noqa: PLC0415 - most readers of a state never look at its times

    match = re.fullmatch(_TIME, text, re.ASCII)
    if match is None:
        return None
    seconds, fraction, zone = match.groups()
    try:
        return dt.datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6].ljust(6, '0')}{zone}")
    except ValueError:
        return None


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        StateError: It is none.
    """
    if len(data) > MAX_STATE_BYTES:
        raise StateError(f"{where}: larger than {MAX_STATE_BYTES:,} bytes")
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise StateError(f"{where}: not JSON ({type(error).__name__}: {str(error)[:200]})") from error
    if not isinstance(document, dict):
        raise StateError(f"{where}: expected an object, found {type(document).__name__}")
    return document


def _typed(value: Any, kind: type, default: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    if kind is str:
        return value if _is_text(value) else default
    return value if isinstance(value, kind) else default


def _is_text(value: object) -> bool:
    """Tell strings that can be printed and passed on from those with half a character in them."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_path(value: object) -> bool:
    return _is_text(value) and str(value).startswith("/") and "\0" not in str(value)


def _number(state: Mapping[str, Any], name: str, default: int, highest: int, where: str) -> int:
    value = state.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value <= highest:
        raise StateError(f"{where}: {name}: expected a number from -1 to {highest}, found {str(value)[:100]!r}")
    return value


def _paths(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(_is_text(key) and _is_path(path) for key, path in value.items()):
        raise StateError(f"{where}: expected absolute paths by controller")
    return value


def _labels(value: object) -> dict[str, str]:
    labels = {}
    for label in value if isinstance(value, list) else ():
        if _is_text(label) and "=" in label:
            name, _, text = label.partition("=")
            labels[name] = text
    return labels


def _unit(found: object) -> tuple[str, str, str] | None:
    """Return slice, prefix and name of a unit; whether such a unit may be stopped is decided where that is done."""
    if not isinstance(found, dict) or found.get("Systemd") is not True:
        return None
    parent, prefix, name = (_typed(found.get(key), str, "") for key in ("parent", "scope_prefix", "name"))
    return parent, prefix, name


def _monitored(value: object, where: str) -> Monitored | None:
    if not isinstance(value, dict):
        return None
    log = _typed(value.get("log"), str, "")
    return Monitored(
        pid=_number(value, "pid", -1, _MAX_PID, where),
        start_time=_number(value, "start_time", 0, 2**64 - 1, where),
        log=log if _is_path(log) else "",
        log_format=_typed(value.get("log_format"), str, "json"),
        log_files=max(1, _number(value, "log_files", 1, 1000, where)),
        attachable=value.get("attachable") is True,
    )


def _mounted_root(value: object) -> MountedRoot | None:
    match value:
        case [str(path), int(before), int(made)] if _is_path(path):
            return MountedRoot(path, before, made)
    return None


def _private_pids(namespaces: object) -> bool:
    for namespace in namespaces if isinstance(namespaces, list) else ():
        if isinstance(namespace, dict) and namespace.get("type") == "NEWPID":
            return not namespace.get("path")
    return False
