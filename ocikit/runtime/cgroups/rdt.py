"""Intel RDT (and AMD QoS): a container's group in the resctrl file system, for caches and bandwidth of memory.

The rules are those of config-linux.md, "IntelRdt". A group that the configuration names belongs to somebody else: it is
joined, compared, and never removed. One that it does not name is the container's own, has its id, and goes with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import SetupError, UnsupportedFieldError, ValidationError
from ocikit.runtime.cgroups.files import flat, write_file
from ocikit.runtime.cgroups.hierarchies import is_below
from ocikit.runtime.host.procfs import unescape
from ocikit.runtime.late_log import log as _log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ocikit.runtime.stats.types import RdtStats
    from ocikit.spec import LinuxIntelRdt

__all__ = [
    "Group",
    "change",
    "find_group",
    "make",
    "mismatch",
    "mounted_at",
    "plan_group",
    "rdt_stats",
    "read_stats",
    "remove",
]

_PATH: Final = "$.linux.intelRdt"

#: Directories of resctrl that are no groups.
_RESERVED: Final = frozenset(("info", "mon_data", "mon_groups"))

#: What a line of schemata needs, by its beginning.
_FEATURES: Final = (("l3_cache_schema", "l3CacheSchema", "L3"), ("mem_bw_schema", "memBwSchema", "MB"))


class Group(NamedTuple):
    """The group of a container."""

    #: The container's id.
    id: str
    #: Where resctrl is mounted.
    root: str
    #: Its directory.
    path: str
    #: The directory of its monitoring group; empty when it has none.
    monitoring: str
    #: Lines that a group which exists has to have already.
    expected: tuple[str, ...]
    #: Lines to write, in order.
    schemata: tuple[str, ...]
    #: Whether somebody else has to have made it.
    must_exist: bool
    #: Whether it is named by the container's id, and not by the configuration.
    own: bool

    @property
    def tasks(self) -> tuple[str, ...]:
        """The files that the container's first process writes itself into."""
        return tuple(f"{path}/tasks" for path in (self.path, self.monitoring) if path)

    def to_make(self) -> tuple[str, ...]:
        """Return the directories that are to be removed with the container, because they are made for it."""
        own = (self.path,) if self.own and not os.path.isdir(self.path) else ()
        return (*own, self.monitoring) if self.monitoring else own


# ----------------------------------------------------------------------------------------------------------------- pure


def plan_group(rdt: LinuxIntelRdt, container_id: str, root: str) -> Group:
    """Say what the group of a container is.

    Args:
        rdt: ``linux.intelRdt``.
        container_id: The container's id.
        root: Where resctrl is mounted.

    Raises:
        ValidationError: A name that is none of a group, or a line that is more than one.
    """
    name = rdt.clos_id or container_id
    if name in _RESERVED | {".", ".."} or ("/" in name and name != "/") or "\n" in name or "\0" in name:
        raise ValidationError((f"{_PATH}.closID: {name[:80]!r} cannot be the name of a group of resctrl",))
    lines = {"l3CacheSchema": rdt.l3_cache_schema, "memBwSchema": rdt.mem_bw_schema}
    lines |= {f"schemata[{index}]": line for index, line in enumerate(rdt.schemata)}
    for key, line in lines.items():
        if "\n" in line:
            raise ValidationError((f"{_PATH}.{key}: expected one line, found a line break",))
    path = root if name == "/" else f"{root}/{name}"
    written = tuple(filter(None, lines.values()))
    return Group(
        id=container_id,
        root=root,
        path=path,
        monitoring=f"{path}/mon_groups/{container_id}" if rdt.enable_monitoring else "",
        expected=tuple(filter(None, (rdt.l3_cache_schema, rdt.mem_bw_schema))),
        schemata=written,
        must_exist=bool(rdt.clos_id) and not written,
        own=not rdt.clos_id,
    )


def mismatch(schemata: str, expected: Iterable[str]) -> str | None:
    """Compare lines with the schemata of a group.

    Numbers are compared as such: the kernel writes them with other zeros, and domains in another order.

    Returns:
        The first line that the group does not have; None when it has them all.
    """
    found = dict(_line(line) for line in schemata.splitlines())
    for line in expected:
        resource, domains = _line(line)
        there = found.get(resource, {})
        if any(there.get(domain) != value for domain, value in domains.items()):
            return line
    return None


def _line(text: str) -> tuple[str, dict[str, str]]:
    resource, _, rest = text.strip().partition(":")
    pairs = (part.strip().partition("=") for part in rest.split(";") if part.strip())
    domains = {domain.lstrip("0") or "0": value.strip().lstrip("0").lower() for domain, _, value in pairs}
    return resource.strip(), domains


# -------------------------------------------------------------------------------------------------------------- resctrl


def mounted_at() -> str | None:
    """Return where resctrl is mounted; None when it is not."""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if right.startswith("resctrl "):
                return unescape(left.split(" ")[4])
    return None


def find_group(rdt: LinuxIntelRdt | None, container_id: str) -> Group | None:
    """Return the group that a container asks for; None when it asks for none.

    Raises:
        UnsupportedFieldError: This machine has no resctrl, or not for what is asked for.
        ValidationError: The configuration makes no sense.
    """
    if rdt is None:
        return None
    root = mounted_at()
    if root is None:
        reason = (
            "no resctrl file system is mounted; on a machine with Intel RDT or AMD QoS, "
            "mount it with: mount -t resctrl resctrl /sys/fs/resctrl"
        )
        raise UnsupportedFieldError(_PATH, reason)
    for attribute, key, feature in _FEATURES:
        if getattr(rdt, attribute) and not os.path.isdir(f"{root}/info/{feature}"):
            raise UnsupportedFieldError(f"{_PATH}.{key}", f"this machine has none of it: no {root}/info/{feature}")
    return plan_group(rdt, container_id, root)


def make(group: Group) -> None:
    """Make the group of a container, or find it, and give it its schemata.

    Raises:
        SetupError: The group does not exist, is not what it has to be, or the kernel refuses.
    """
    if group.must_exist and not os.path.isdir(group.path):
        remedy = "without schemata, the group that closID names has to exist; make it, or say what is to be in it"
        raise SetupError(f"find the group of {_PATH}.closID", errno.ENOENT, group.path, remedy)
    if not _make_one(group, group.path) and not group.own:
        _compare(group)
    if group.schemata:
        write_schemata(group.root, group.path, group.schemata)
    if group.monitoring:
        _make_one(group, group.monitoring)


def _make_one(group: Group, path: str) -> bool:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        raise _failure("make resctrl group", error, path, group.root) from error
    return True


def _compare(group: Group) -> None:
    if not group.expected:
        return
    text = _text(f"{group.path}/schemata")
    other = mismatch(text or "", group.expected)
    if other is not None:
        remedy = f"the group has other values than {other!r}: {' '.join((text or 'none').split())[:300]}"
        raise SetupError(f"compare the group of {_PATH}.closID", errno.EEXIST, f"{group.path}/schemata", remedy)


def write_schemata(root: str, path: str, lines: Iterable[str]) -> None:
    """Write lines into the schemata of a group.

    Raises:
        SetupError: The kernel refuses.
    """
    try:
        write_file(f"{path}/schemata", "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise _failure("write resctrl schemata", error, f"{path}/schemata", root) from error


def _failure(action: str, error: OSError, path: str, root: str) -> SetupError:
    """Make an error of what the kernel says in words about the last command."""
    said = (_text(f"{root}/info/last_cmd_status") or "").strip()
    return SetupError(action, error.errno or errno.EIO, path, said if said and said != "ok" else None)


def change(group_path: str, rdt: LinuxIntelRdt) -> tuple[str, ...]:
    """Write other schemata into the group of a running container, and return what they were.

    Raises:
        SetupError: The kernel refuses.
        UnsupportedFieldError: resctrl is not mounted any more, or the group is none of it.
        ValidationError: A line that is more than one.
    """
    root = mounted_at()
    if root is None or not (group_path == root or is_below(group_path, root)):
        raise UnsupportedFieldError(_PATH, f"{group_path} is no group of a mounted resctrl file system")
    before = tuple(line.strip() for line in (_text(f"{group_path}/schemata") or "").splitlines())
    lines = plan_group(rdt, "changed", root).schemata
    if lines:
        write_schemata(root, group_path, lines)
    return before


def remove(paths: Sequence[str], container_id: str) -> None:
    """Remove groups that were made for a container; what is none with its id is left alone, what fails is logged."""
    root = mounted_at() if paths else None
    for path in reversed(paths):
        if root is None or not is_below(path, root) or os.path.basename(path) != container_id:
            continue
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            _log.warning("container %s: %s", container_id, _failure("remove resctrl group", error, path, root))


# ----------------------------------------------------------------------------------------------------------- statistics


def rdt_stats(path: str, monitoring: str) -> RdtStats | None:
    """Read what resctrl says of a container's group; None when it has none, or it is none of a mounted resctrl.

    Args:
        path: The directory of the group.
        monitoring: That of its monitoring group; without one, the numbers are those of all in the group.
    """
    root = mounted_at() if path else None
    if root is None or not (path == root or is_below(path, root)):
        return None
    return read_stats(root, path, monitoring if is_below(monitoring, path) else "")


def read_stats(root: str, path: str, monitoring: str = "") -> RdtStats:
    """Read the files of a group; as :func:`rdt_stats`, given where resctrl is mounted."""
    from ocikit.runtime.stats.types import RdtStats  # noqa: PLC0415 - for those who ask

    return RdtStats(
        schemata=tuple(line.strip() for line in (_text(f"{path}/schemata") or "").splitlines()),
        root_schemata=tuple(line.strip() for line in (_text(f"{root}/schemata") or "").splitlines()),
        info=dict(_info(root)),
        monitoring=dict(_monitoring(f"{monitoring or path}/mon_data")),
    )


def _info(root: str) -> Iterator[tuple[str, str]]:
    for of in ("L3", "MB"):
        for name in _names(f"{root}/info/{of}"):
            text = _text(f"{root}/info/{of}/{name}")
            if text is not None:
                yield f"{of}/{name}", text.strip()


def _monitoring(path: str) -> Iterator[tuple[str, Mapping[str, int]]]:
    for domain in _names(path):
        texts = "".join(f"{name} {_text(f'{path}/{domain}/{name}') or ''}\n" for name in _names(f"{path}/{domain}"))
        yield domain, flat(texts)


def _names(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(path))
    return []


def _text(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        return file.read()
    return None
