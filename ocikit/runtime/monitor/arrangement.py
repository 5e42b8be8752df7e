"""A monitor for a container that is being made: what it gets, what it is told, and what is noted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.runtime.monitor.keeper import Keeper, log_of, run_time
from ocikit.runtime.plan.monitor import Kept, Remainder, monitor_step
from ocikit.runtime.state.documents import OWN_FILE, STATE_FILE, Monitored

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ocikit.runtime.cgroups.placement import Placement
    from ocikit.runtime.console import Reception
    from ocikit.runtime.launch import Launch
    from ocikit.runtime.options import CreateOptions
    from ocikit.runtime.plan.steps import Plan
    from ocikit.runtime.state.documents import OwnRecord
    from ocikit.runtime.stdio import Stdio
    from ocikit.spec import Spec

__all__ = ["Arrangement", "Arranging"]


class Arranging(NamedTuple):
    """What there is of a container when its monitor is arranged for."""

    root: str
    id: str
    spec: Spec
    options: CreateOptions
    places: Placement
    #: The directory of its state.
    directory: int
    stdio: Stdio
    own: OwnRecord

    def arrange(self, stack: ExitStack) -> Arrangement:
        """Open what the monitor is given.

        Args:
            stack: Closes it again, when the monitor has it.

        Raises:
            SystemCallError: Something cannot be opened.
            ValueError: The time that the container may run is none.
        """
        owned = self.own.lifetime == "process"
        state = f"{self.root.rstrip('/')}/{self.id}"
        keeper = stack.enter_context(Keeper(self.directory, self.stdio.monitored, owned=owned, root=self.root))
        terminal = self._has_terminal()
        log = log_of(self.options.log, state)
        # What goes elsewhere is none of the monitor's affair.
        logged = terminal or bool(self.stdio.monitored.keys() - {0})
        if logged:
            keeper.log_to(log)
        attachable = terminal or bool(self.stdio.monitored)
        if attachable:
            keeper.listen(self.directory)
        kept = Kept(
            cgroups=self.places.paths,
            private_pids=self._has_private_pids(),
            remainder=self._remainder() if owned else None,
            milliseconds=run_time(self.options),
            log=log.name if logged else "",
            log_format=self.options.log.format,
            log_bytes=self.options.log.max_bytes,
            log_files=self.options.log.max_files,
        )
        path = f"{log.directory}/{log.name}" if logged else ""
        noted = Monitored(-1, 0, path, kept.log_format, kept.log_files, attachable)
        return Arrangement(keeper, kept, noted)

    def _has_terminal(self) -> bool:
        process = self.spec.process
        return process is not None and process.terminal and self.options.console_socket is None

    def _has_private_pids(self) -> bool:
        namespaces = self.spec.linux.namespaces if self.spec.linux is not None else ()
        return any(one.type == "pid" and not one.path for one in namespaces)

    def _remainder(self) -> Remainder | None:
        """Return what the monitor may remove; None when there is more to it than removing files."""
        hooks = self.spec.hooks
        more = (
            self.places.unit is not None,
            self.own.rdt_groups,
            self.own.mounted_root is not None,
            self.options.notify,
            hooks is not None and hooks.poststop,
        )
        return None if any(more) else Remainder(self.id, (STATE_FILE, OWN_FILE), self.places.parents)


class Arrangement(NamedTuple):
    """A monitor that is about to be."""

    keeper: Keeper
    kept: Kept
    noted: Monitored

    def lead(self, plan: Plan) -> Plan:
        """Return a plan that leaves the monitor behind."""
        return plan.led_by(monitor_step(self.kept))

    def note(self, launch: Launch) -> Monitored:
        """Return what others have to know of the monitor, now that there is one."""
        from ocikit.runtime.host.procfs import start_time  # noqa: PLC0415 - with all that launches

        return self.noted._replace(pid=launch.attendant, start_time=start_time(launch.attendant) or 0)

    def introduce(self, launch: Launch, reception: Reception | None) -> None:
        """Tell the monitor of the container, and hand over its terminal.

        Raises:
            SetupError: The monitor is gone.
        """
        console = None
        if reception is not None:
            console, reception.console = reception.console, None
        self.keeper.introduce(launch.pid, console.fileno() if console is not None else None)
        if console is not None:
            console.close()
