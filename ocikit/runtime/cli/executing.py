"""``exec``: a further process in a container."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import NotRunningError
from ocikit.runtime.cli import handover
from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.execution import Request, execute, template_of
from ocikit.runtime.listing import load
from ocikit.runtime.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocikit.runtime.child import ContainerProcess
    from ocikit.runtime.cli.arguments import Options
    from ocikit.runtime.cli.dispatch import Call
    from ocikit.runtime.console import Console
    from ocikit.runtime.state.template import Template
    from ocikit.spec import LinuxCapabilities, Process, User

__all__ = ["changed_user", "execute_in", "sub_cgroups", "user_id"]

_MAX_PROCESS_BYTES: Final = 4 * 1024 * 1024

#: One less than what the kernel takes for "leave it as it is".
_MAX_USER_ID: Final = 0xFFFF_FFFE


def execute_in(call: Call) -> int:
    """Run a program in a container; unless it is detached, wait for its end."""
    if call.options.flag("detach"):
        _start(call)
        return 0
    from ocikit.runtime.cli import foreground  # noqa: PLC0415 - who does not wait does not need it

    with foreground.Signals() as signals:
        process = _start(call, foreground.prepare)
        with foreground.terminal_of(process.console) as terminal:
            return foreground.attend(process, process.held(), signals, terminal)


def _start(call: Call, prepare: Callable[[Console], None] | None = None) -> ContainerProcess:
    """Start the process; with a function that prepares its terminal, if it has one, for the foreground."""
    options = call.options
    container = load(call.root, call.id)
    if container.status() is Status.STOPPED:
        raise CommandError("cannot exec in a stopped container")
    template = template_of(container)
    wanted = _process(options, call.arguments[1:], template)
    console = options.text("console-socket")
    handover.check_terminal(wanted.terminal, console, detached=prepare is None)
    _, fds = handover.descriptors(options.number("preserve-fds"), activation=False)
    with handover.PidfdSocket(options.text("pidfd-socket")) as pidfd_socket:
        request = Request(
            wanted,
            cgroup=sub_cgroups(options.texts("cgroup")),
            console_socket=console or None,
            preserve_fds=fds,
            ignore_paused=options.flag("ignore-paused"),
            give_streams=True,
            prepare_console=prepare,
            branch=False,  # who uses runc expects it where the container is
            # Engines are waiting for it, and for nothing between it and them.
            orphaned=prepare is None,
        )
        process = execute(container, template, request)
        try:
            pidfd_socket.send(process.pid, "setns")
            handover.write_pid(options.text("pid-file"), process.pid)
        except BaseException:
            with contextlib.suppress(NotRunningError):
                process.signal(signal.SIGKILL)
            process.wait()
            raise
    return process


def _process(options: Options, command: Sequence[str], template: Template) -> Process:
    """Return the process that is asked for: from a file, or that of the configuration with some changes."""
    path = options.text("process")
    if path:
        from ocikit.spec import Process  # noqa: PLC0415 - the classes of the specification are many

        with open(path, "rb") as file:
            return Process.from_json(file.read(_MAX_PROCESS_BYTES))
    if not command:
        raise CommandError("exec args cannot be empty")
    if template.process is None:
        raise CommandError("the configuration of the container is gone; describe the process with --process FILE")
    import attrs  # noqa: PLC0415

    return attrs.evolve(template.process, args=tuple(command), console_size=None, **_changes(options, template.process))


def _changes(options: Options, process: Process) -> dict[str, Any]:
    changed: dict[str, Any] = {
        "terminal": options.flag("tty"),
        "env": _environment(process.env, options.texts("env")),
        "user": changed_user(process.user, options.text("user"), options.numbers("additional-gids")),
    }
    for name, attribute in (("cwd", "cwd"), ("apparmor", "apparmor_profile"), ("process-label", "selinux_label")):
        if options.text(name):
            changed[attribute] = options.text(name)
    if options.given("no-new-privs"):
        changed["no_new_privileges"] = options.flag("no-new-privs")
    if options.texts("cap"):
        changed["capabilities"] = _capabilities(process.capabilities, options.texts("cap"))
    return changed


def _environment(env: Sequence[str], added: Sequence[str]) -> tuple[str, ...]:
    replaced = {entry.partition("=")[0] for entry in added}
    return (*(entry for entry in env if entry.partition("=")[0] not in replaced), *added)


def _capabilities(configured: LinuxCapabilities | None, added: Sequence[str]) -> LinuxCapabilities:
    """Add capabilities: never inheritable ones, and ambient ones only where there are inheritable ones already."""
    import attrs  # noqa: PLC0415

    from ocikit.spec import LinuxCapabilities  # noqa: PLC0415

    found = configured if configured is not None else LinuxCapabilities()
    sets = ("bounding", "effective", "permitted", *(("ambient",) if found.inheritable else ()))
    changed: dict[str, Any] = {name: tuple(dict.fromkeys((*getattr(found, name), *added))) for name in sets}
    return attrs.evolve(found, **changed)


def changed_user(configured: User, text: str, groups: Sequence[int]) -> User:
    """Return the user that is asked for.

    Args:
        configured: That of the configuration.
        text: ``uid`` or ``uid:gid``; empty to leave both.
        groups: In addition to those of the configuration.

    Raises:
        CommandError: One of them is no number of a user or group.
    """
    import attrs  # noqa: PLC0415

    changed: dict[str, Any] = {}
    if text:
        uid, colon, gid = text.partition(":")
        changed["uid"] = user_id(uid, "uid")
        if colon:
            changed["gid"] = user_id(gid, "gid")
    for group in groups:
        if not 0 <= group <= _MAX_USER_ID:
            raise CommandError(f"additional-gids must be a positive number {group}")
    return attrs.evolve(configured, additional_gids=(*configured.additional_gids, *groups), **changed)


def user_id(text: str, what: str) -> int:
    """Read an id of a user or group: digits and nothing else, because what is read wrongly may be root.

    Raises:
        CommandError: It is something else.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > _MAX_USER_ID:
        raise CommandError(f'bad {what}: expected a number from 0 to {_MAX_USER_ID}, found "{text}"')
    return int(text)


def sub_cgroups(arguments: Sequence[str]) -> str | dict[str, str] | None:
    """Read which cgroups below those of the container are to be joined.

    Args:
        arguments: One path; or paths with the controllers, separated by commas, that they are for: ``cpu,memory:a/b``.

    Raises:
        CommandError: Both, or a controller twice.
    """
    if not arguments:
        return None
    found: dict[str, str] = {}
    for argument in arguments:
        controllers, colon, path = argument.partition(":")
        if not colon:
            if len(arguments) > 1:
                raise CommandError(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
            return argument
        for controller in controllers.split(","):
            if not controller:
                raise CommandError(f"invalid --cgroup argument: {argument} (empty <controller> prefix)")
            if controller in found:
                raise CommandError(f"invalid --cgroup argument(s): controller {controller} specified multiple times")
            found[controller] = path
    return found
