"""``state``, ``list``, ``ps``: what there is, as text or JSON."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.cli.messages import answer
from ocikit.runtime.listing import list_containers, load
from ocikit.runtime.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.cli.dispatch import Call
    from ocikit.runtime.container import Container

__all__ = ["list_all", "processes", "state"]

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def state(call: Call) -> None:
    """Print the state of a container."""
    found = _describe(load(call.root, call.id))
    answer(f"{json.dumps(found, indent=2, ensure_ascii=False)}\n")


def list_all(call: Call) -> None:
    """List the containers of the state root."""
    form = call.options.text("format")
    if form not in {"table", "json"}:
        raise CommandError("invalid format option")
    if call.root is not None and not os.path.isdir(call.root):
        raise CommandError(f"open {call.root}: no such directory")
    containers = list_containers(call.root)
    if call.options.flag("quiet"):
        answer("".join(f"{one.id}\n" for one in containers))
        return
    found = [_describe(one) for one in containers]
    if form == "json":
        # That there are none is null, as callers know it.
        answer(f"{json.dumps(found or None, separators=(',', ':'), ensure_ascii=False)}\n")
    else:
        answer(_table(found))


def _describe(container: Container) -> dict[str, Any]:
    """Return what other runtimes print of a container, in their order."""
    record = container._record  # noqa: SLF001 - shown as it was written, by whichever version wrote it
    status = container.status()
    found: dict[str, Any] = {
        "ociVersion": record.version,
        "id": container.id,
        "pid": 0 if status is Status.STOPPED else container.pid,
        "status": str(status),
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "created": record.created,
    }
    if container.annotations:
        found["annotations"] = dict(sorted(container.annotations.items()))
    return found | {"owner": _owner(os.path.join(container.root, container.id))}


def _owner(directory: str) -> str:
    try:
        uid = os.stat(directory).st_uid
    except FileNotFoundError:
        return ""
    import pwd  # noqa: PLC0415 - only here

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _table(found: Sequence[dict[str, Any]]) -> str:
    rows = [tuple(map(str.upper, _COLUMNS)), *(tuple(str(one[name]) for name in _COLUMNS) for one in found)]
    widths = [max(12, 3 + max(len(row[number]) for row in rows)) for number in range(len(_COLUMNS) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n" for row in rows
    )


def processes(call: Call) -> None:
    """List the processes of a container."""
    form = call.options.text("format")
    found = load(call.root, call.id).processes()
    if form == "json":
        answer(f"{json.dumps(found, separators=(',', ':'))}\n")
    elif form == "table":
        answer(_shown_by_ps(set(found), call.arguments[1:] or ("-ef",)))
    else:
        raise CommandError("invalid format option")


def _shown_by_ps(pids: set[int], options: Sequence[str]) -> str:
    import subprocess  # noqa: PLC0415 - only for this table

    try:
        done = subprocess.run(
            ["ps", *options],  # noqa: S607 - whichever ps there is
            stdin=subprocess.DEVNULL, capture_output=True, check=False, encoding="utf-8",
            errors="backslashreplace",
        )  # fmt: skip
    except FileNotFoundError:
        raise CommandError("ps: not found; install it (procps), or ask for --format json") from None
    if done.returncode != 0:
        raise CommandError(f"exit status {done.returncode}: {done.stdout}{done.stderr}")
    title, *lines = done.stdout.splitlines() or [""]
    if "PID" not in title.split():
        raise CommandError("couldn't find PID field in ps output")
    column = title.split().index("PID")
    shown = [line for line in lines if line.strip() and _number(line.split(), column) in pids]
    return "".join(f"{line}\n" for line in (title, *shown))


def _number(fields: Sequence[str], column: int) -> int:
    return int(fields[column]) if column < len(fields) and fields[column].isdigit() else -1
