"""Hooks as steps of a plan, what they are told, and what is said of one that failed.

Pure. Where hooks run:

=================  =============  ========  ==============================================
kind               namespaces of  is told   runs
=================  =============  ========  ==============================================
prestart           the host       created   when all mounts are made, before the new root
createRuntime      the host       creating  right after these
createContainer    the container  creating  right after these
startContainer     the container  created   after start, right before the program
poststart          the host       running   right after the program was executed
poststop           the host       stopped   when nothing is left of the container
=================  =============  ========  ==============================================

A createContainer hook is a program of the host in the namespaces of the container, with the rights of its root. A
startContainer hook is a program of the container's own file system, which nobody vouches for: it runs as what the
program is going to be, with its user, capabilities, limits, labels and seccomp filter. That is also what runc does.
"""

from __future__ import annotations

import json
import os
import struct
from signal import strsignal
from typing import TYPE_CHECKING, Final

from ocikit.errors import ContainerError, HookError, SetupError
from ocikit.runtime.hook_commands import KINDS, commands
from ocikit.runtime.plan.steps import NO_SLOT, Op, Slot, Step, Sync, ask
from ocikit.spec import RUNTIME_SPEC_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.runtime.hook_commands import HookCommand
    from ocikit.spec import Spec

__all__ = [
    "ALONE",
    "KEEP_UMASK",
    "STOPPABLE",
    "TIED",
    "creation_hooks",
    "hook_failure",
    "hook_step",
    "report_failure",
    "start_hooks",
    "state_text",
]

# WIRE_HOOK_* of wire.h.
#: Nothing stops the hook but its time.
ALONE: Final = 0
#: The launcher's word stops it.
STOPPABLE: Final = 1
#: It is stopped, too, when the launcher is gone.
TIED: Final = 2
#: The umask of whoever runs the hook is that of the hook.
KEEP_UMASK: Final = 0xFFFF_FFFF_FFFF_FFFF

_ENDED: Final = 0x10000
_LATE: Final = 0x20000
_STOPPED: Final = 0x30000

_REPORT: Final = struct.Struct("=IIiI")  # struct wire_message


def creation_hooks(spec: Spec, container_id: str, bundle: str, umask: int) -> Iterator[Step]:
    """Plan the hooks between the mounts and the new root.

    The launcher is asked for those on the host whenever there are hooks of any kind: from this moment on it knows that
    there is something to clean up after.

    Args:
        spec: The configuration.
        container_id: The id of the container.
        bundle: Absolute path of its bundle.
        umask: What the hooks in the container have for a umask.
    """
    if not commands(spec.hooks, *KINDS):
        return
    yield ask("run the hooks on the host", Sync.HOOKS)
    state = state_text(container_id, bundle, spec.annotations, "creating")
    for command in commands(spec.hooks, "createContainer"):
        yield hook_step(command, state, how=TIED, umask=umask, directory=Slot.ROOT)


def start_hooks(spec: Spec, container_id: str, bundle: str, environment: Sequence[str]) -> Iterator[Step]:
    """Plan the hooks between start and the program.

    Args:
        spec: The configuration.
        container_id: The id of the container.
        bundle: Absolute path of its bundle.
        environment: That of the program; it is also that of hooks which have none, as for runc.
    """
    state = state_text(container_id, bundle, spec.annotations, "created")
    for command in commands(spec.hooks, "startContainer"):
        yield hook_step(command, state, environment=environment)


def state_text(
    container_id: str, bundle: str, annotations: Mapping[str, str], status: str, pid: int | None = 0
) -> tuple[bytes, bytes]:
    """Return the state that a hook reads (runtime.md, "State"), up to the pid and after it.

    Args:
        container_id: The id of the container.
        bundle: Absolute path of its bundle.
        annotations: Its annotations.
        status: What it is doing.
        pid: The process id of its init; 0 for that of whoever carries the step out, which is put between the parts;
            None when there is none. The second part is empty unless it is 0.
    """
    head = {"ociVersion": RUNTIME_SPEC_VERSION, "id": container_id, "status": status}
    rest: dict[str, object] = {"bundle": bundle}
    if annotations:
        rest["annotations"] = dict(annotations)
    if pid == 0:
        return _json(head)[:-1] + b',"pid":', b"," + _json(rest)[1:]
    return _json(head | ({} if pid is None else {"pid": pid}) | rest), b""


def _json(document: Mapping[str, object]) -> bytes:
    # Names of files may hold bytes that are no text; JSON in ASCII has a place for them.
    return json.dumps(document, separators=(",", ":")).encode()


def hook_step(
    command: HookCommand,
    state: tuple[bytes, bytes],
    *,
    how: int = ALONE,
    umask: int = KEEP_UMASK,
    directory: int = NO_SLOT,
    environment: Sequence[str] = (),
) -> Step:
    """Return the step that runs a hook.

    Args:
        command: The hook.
        state: What it reads.
        how: What can stop it.
        umask: Its umask.
        directory: The slot of its working directory; that of whoever runs it when there is none.
        environment: Its environment, if the configuration gives it none.
    """
    milliseconds = 0 if command.timeout is None else -(-command.timeout // 1_000_000)
    texts = (command.program, *command.arguments, *(command.environment or environment))
    name = f"{command.path} {command.program}"
    arguments = (milliseconds, len(command.arguments), umask, directory, how)
    strings = (_bytes(name), *state, *map(_bytes, texts))
    return Step(Op.HOOK, f"run {name}", arguments, strings, command.path)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def hook_failure(value: int, words: bytes) -> HookError:
    """Return the error of a hook that did not do well.

    Args:
        value: What the helper says of it: an errno, or what became of it.
        words: The name of the hook, a NUL, and the end of what it wrote.
    """
    name, _, output = words.partition(b"\0")
    path, _, program = name.decode("utf-8", "surrogateescape").partition(" ")
    kind, status = value & ~0xFFFF, value & 0xFFFF
    if kind == _LATE:
        return HookError(path, program, "was killed: its time was up", None, 9, output)
    if kind == _STOPPED:
        return HookError(path, program, "was killed: it was interrupted", None, 9, output)
    if kind != _ENDED:
        return HookError(
            path, program, f"could not be executed: {os.strerror(value)} (errno {value})", None, None, output
        )
    if number := status & 0x7F:
        what = (strsignal(number) or "no signal of this host").lower()
        return HookError(path, program, f"was killed: {what}", None, number, output)
    return HookError(path, program, "failed", status >> 8, None, output)


def report_failure(report: bytes) -> ContainerError | None:
    """Return what went wrong between start and the program, as init says it to whoever starts the container.

    Args:
        report: What it wrote to ``exec.fifo`` after the first byte; nothing when the program was executed.
    """
    if len(report) < _REPORT.size:
        return None
    _, _, value, op = _REPORT.unpack_from(report)
    if op == Op.HOOK:
        return hook_failure(value, report[_REPORT.size :])
    names = {Op.EXEC: "execute the program"}
    return SetupError(names.get(op, "go on after start"), value if 0 < value < _ENDED else 0)
