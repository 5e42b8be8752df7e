"""``create`` and ``run``: a bundle becomes a container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocikit.runtime import creation
from ocikit.runtime.cli import handover
from ocikit.runtime.cli.dispatch import CommandError
from ocikit.runtime.cli.starting import start_notified
from ocikit.runtime.configuration import read_spec
from ocikit.runtime.options import CreateOptions
from ocikit.runtime.state.root import root_path

if TYPE_CHECKING:
    from ocikit.runtime.cli.arguments import Options
    from ocikit.runtime.cli.dispatch import Call
    from ocikit.runtime.container import Container
    from ocikit.spec import Spec

__all__ = ["create", "run"]


def create(call: Call) -> None:
    """Create a container, which outlives this process."""
    _create(call, detached=True)


def run(call: Call) -> int:
    """Create and start a container; unless it is detached, wait for its end and delete it."""
    if call.options.flag("detach"):
        container = _create(call, detached=True)
        try:
            start_notified(container, call)
        except BaseException:
            container.destroy(force=True)
            raise
        return 0
    from ocikit.runtime.cli import foreground  # noqa: PLC0415 - who does not wait does not need it

    with foreground.Signals() as signals:
        container = _create(call, detached=False)
        try:
            if container.console is not None:
                foreground.prepare(container.console)
            with foreground.terminal_of(container.console) as terminal:
                start_notified(container, call, attended=True)
                held = container._init().held()  # noqa: SLF001 - this module is a part of the runtime
                return foreground.attend(container, held, signals, terminal)
        finally:
            if not call.options.flag("keep"):
                container.destroy(force=True)


def _create(call: Call, *, detached: bool) -> Container:
    bundle = os.path.abspath(call.options.text("bundle") or ".")
    spec = read_spec(bundle, call.options.text("config") or "config.json")
    console = call.options.text("console-socket")
    handover.check_terminal(spec.process is not None and spec.process.terminal, console, detached=detached)
    listening, fds = handover.descriptors(call.options.number("preserve-fds"), activation=True)
    with handover.PidfdSocket(call.options.text("pidfd-socket")) as pidfd_socket:
        container = creation.create(
            call.root,
            call.id,
            bundle,
            spec=_notifying(_listening(spec, listening), call),
            lifetime="detached",
            options=CreateOptions(
                console_socket=console or None,
                preserve_fds=fds,
                give_streams=True,
                no_pivot=call.options.flag("no-pivot"),
                notify=bool(os.environ.get("NOTIFY_SOCKET")),
                no_new_keyring=call.options.flag("no-new-keyring"),
                systemd_cgroup=_systemd(call.command),
                systemd_properties=call.command.flag("systemd-properties"),
                rootless=_rootless(call.command.text("rootless")),
                monitor=False,  # whoever calls is one, or will not stay, like this process
            ),
        )
        try:
            pidfd_socket.send(container.pid, "standard")
            handover.write_pid(call.options.text("pid-file"), container.pid)
        except BaseException:
            container.destroy(force=True)
            raise
    return container


def _listening(spec: Spec, count: int) -> Spec:
    """Tell the program of the descriptors that it is to listen at, as systemd does (sd_listen_fds(3))."""
    if not count or spec.process is None:
        return spec
    return spec.with_process(env=(*spec.process.env, f"LISTEN_FDS={count}", "LISTEN_PID=1"))


def _notifying(spec: Spec, call: Call) -> Spec:
    """Tell the program of a socket where systemd waits for a word of it."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return spec
    from ocikit.runtime.cli.notifying import told_where  # noqa: PLC0415 - few callers are services

    return told_where(spec, root_path(call.root), call.id)


def _systemd(command: Options) -> bool:
    manager = command.text("cgroup-manager")
    if manager == "disabled":
        raise CommandError(
            "--cgroup-manager: without cgroups a container could neither be limited nor be ended whole; "
            "expected cgroupfs or systemd, found disabled"
        )
    if manager not in {"", "cgroupfs", "systemd"}:
        raise CommandError(f'--cgroup-manager: expected cgroupfs or systemd, found "{manager}"')
    return manager == "systemd" if manager else command.flag("systemd-cgroup")


def _rootless(text: str) -> bool | None:
    if text.lower() in {"", "auto"}:
        return None
    if text.lower() in {"true", "1", "t"}:
        return True
    if text.lower() in {"false", "0", "f"}:
        return False
    raise CommandError(f'--rootless: expected true, false or auto, found "{text}"')
