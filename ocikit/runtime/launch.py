"""A plan becomes a process: the helper is started, and what it says is turned into results and errors.

The conversation, in order (the names are those of ``wire.h``):

1. The helper carries out the steps up to the clone and says PID, with a pidfd; then it is gone, and reaped. Before
   that it may ask for something (SYNC), and is answered.
2. Init may wait for what the launcher does meanwhile (:attr:`Sync.NOTHING`), and is told to go on without asking. It
   may ask for something that only the launcher can do (SYNC), and is answered.
3. Init says READY: everything up to ``exec.fifo`` is done. It waits for :meth:`Launch.commit`, and ends by itself when
   the launcher is gone before that. From then on it waits at the fifo, on its own. Or its plan lets it go right on.
4. The program is executed, and the channel closes; or it could not be, and init says FAILED.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Self

from ocikit import _sys
from ocikit._fs import Descriptor
from ocikit.errors import HookError, SetupError
from ocikit.runtime import channel, unintroduced
from ocikit.runtime.channel import SAID_FAILED, SAID_PID, SAID_READY, SAID_SYNC
from ocikit.runtime.descendants import kill_descendants
from ocikit.runtime.host.procfs import children, pid_of, start_time
from ocikit.runtime.plan.hooks import hook_failure
from ocikit.runtime.plan.steps import Op, Sync
from ocikit.runtime.reaping import is_child, peek, reap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.runtime.plan.steps import Plan, Step
    from ocikit.runtime.uninterrupted import Cancellation

__all__ = ["Launch", "launch"]

_PLAN_ITSELF = 0xFFFF_FFFF
_GO_ON = b"g"
_KILLED_EARLY = "its init was killed meanwhile; by the kernel, if linux.resources.memory.limit is too low for it"
_FILTERED = "its seccomp filter ended it: the profile has to allow write, read, openat, close and execve at least"
_STRANGE = "that is nothing which the helper says: somebody who may trace the processes of a container has interfered"
_LOOK = 500  # milliseconds after which somebody who waits for an introduction looks whether there is anybody to make it
_LAST_MOMENTS = 1000  # milliseconds that a killed process gets to end
_RELEASES = 200  # how often a process is let go on that was killed and froze before it knew
_RELEASE_PAUSE = 5  # milliseconds between two of them


def launch(
    plan: Plan,
    *,
    stdio: tuple[int, int, int],
    passed: Mapping[int, int],
    answers: Mapping[Sync, Callable[[Launch, int], None]] | None = None,
    release: Callable[[int], object] | None = None,
    cancellation: Cancellation | None = None,
    control: Descriptor | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Launch:
    """Start the helper with a plan, and wait until init exists.

    Args:
        plan: What is to be done.
        stdio: Standard input, output and error of the container.
        passed: Descriptors that the plan works with, by :class:`~ocikit.runtime.plan.steps.Slot`; they remain the
            caller's.
        answers: What is done when init asks for something (:class:`Sync`): a function that gets the launch, and the
            descriptor that init hands over, -1 for none. The descriptor is closed when the function returns, unless
            it took a copy. What the function raises ends the launch. Maps of ids are written without being asked for
            here.
        release: What lets a process go that cannot be killed where it is (in a frozen v1 cgroup); it gets the
            process id.
        cancellation: Ends the wait for init.
        control: Our end of the channel to the monitor that the plan leaves behind, if it does; it ends when this is
            closed.
        meanwhile: What is done while helper and init are made, and init waits for (:attr:`Sync.NOTHING`). What it
            raises ends the launch.

    Returns:
        Init, in the middle of its work. Use it in a ``with`` block.

    Raises:
        SetupError: A step before the clone failed.
        NotSupportedError: The helper cannot be run here.
        OSError: The helper could not be started.
    """
    started = Launch(plan, answers or {}, release, control)
    try:
        with cancellation.waking(started.kill) if cancellation is not None else contextlib.nullcontext():
            started._start(stdio, passed, meanwhile)  # noqa: SLF001 - the function is the constructor that may fail
    except BaseException:
        started.abort()
        raise
    return started


class Launch:
    """A container's init on its way; made by :func:`launch`.

    Leaving the ``with`` block without :meth:`commit` kills init, reaps it and closes everything.
    """

    def __init__(
        self,
        plan: Plan,
        answers: Mapping[Sync, Callable[[Launch, int], None]],
        release: Callable[[int], object] | None = None,
        control: Descriptor | None = None,
    ) -> None:
        self._plan = plan
        self._control = control
        self._answers = {Sync.ID_MAPS: Launch._map_ids, Sync.SCHEDULING: Launch._schedule} | dict(answers)
        self._release = release
        # Init is a child of the helper, which stays: as an attendant, or as a monitor.
        self._attended = any(step.op in {Op.ATTEND, Op.MONITOR} for step in plan.steps[:1])
        self._closing = threading.Lock()
        self._helper = _sys.Spawned()
        # Whether init executes its program at our word only.
        self._waits = not any(step.op == Op.READY and any(step.arguments) for step in plan.steps[-2:-1])
        # What init said before it was introduced: two things at most without an answer, READY and FAILED.
        self._early: list[_sys.Inbox] = []
        self._introduction = _sys.Inbox()
        self._inbox = _sys.Inbox()
        self._channel: Descriptor | None = None
        # Its other end, by which an init can be recognised that was not introduced.
        self._others_end = -1
        self._committed = self._killed = False
        # Goes to init with the next word to go on.
        self._answer_fd: Descriptor | None = None
        #: The step that init waits in for an answer.
        self.asking: Step | None = None
        #: The process id of init, in the pid namespace of this process; of the helper while there is no init.
        self.pid = -1
        #: When init was started, in clock ticks since boot (proc_pid_stat(5), field 22).
        self.start_time = 0

    @property
    def pidfd(self) -> int:
        """A descriptor of init, owned by this object until :meth:`take_pidfd`.

        Init is a child of this process, unless the plan has it attended to.
        """
        return self._introduction.fd

    @property
    def introduced_as(self) -> int:
        """The process id by which init was introduced, to be shown: also of one that had ended by then."""
        return self._introduction.answer

    def take_pidfd(self) -> int:
        """Hand the descriptor of init over to the caller, who closes it."""
        return self._introduction.take_fd()

    @property
    def attendant(self) -> int:
        """The process id of the attendant or monitor."""
        return self._helper.pid

    def take_attendant(self) -> tuple[int, int]:
        """Hand over the attendant or monitor: its process id, and a descriptor, which the caller closes."""
        return self._helper.pid, self._helper.take_pidfd()

    def orphan(self) -> None:
        """End the attendant of init, which goes to whoever takes the orphans of this process; before :meth:`commit`.

        Once the program is executed that would be too late: it may end before the attendant does.
        """
        self._end_helper()
        self._attended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:
            self.abort()

    def _start(
        self, stdio: tuple[int, int, int], passed: Mapping[int, int], meanwhile: Callable[[], object] | None
    ) -> None:
        self._channel, theirs = channel.open_pair()
        self._others_end = os.fstat(theirs.fd).st_ino
        channel.start(self._helper, self._plan, theirs, stdio, passed)
        self.pid = self._helper.pid
        if self._killed:
            self.kill()  # that was before there was anybody
        if meanwhile is not None:
            meanwhile()
            with contextlib.suppress(SetupError):  # it has ended, and why is still to be heard
                self._say_go_on()
        self.pid = self._hear_of_init()
        if self._control is not None or not self._attended:
            self.start_time = start_time(self.pid) or 0
        if not self._attended:
            self._end_helper()

    def _hear_of_init(self) -> int:
        """Wait for the process id; what init says before its helper has introduced it is kept for later."""
        clone = next((number for number, step in enumerate(self._plan.steps) if step.op == Op.CLONE), 0)
        while self._next(self._introduction):
            if self._introduction.said == SAID_PID:
                return self._introduced()
            if self._introduction.said == SAID_SYNC and self._introduction.step < clone:
                if self._attended:
                    # It is not the one that stays who asks.
                    self.pid = next(iter(children(self._helper.pid)), -1)
                self._answer(self._introduction)
                continue
            if len(self._early) > 1:
                self._introduction.close()
                raise _strange("make init known")
            self._early.append(self._introduction)
            self._introduction = _sys.Inbox()
        if self._early and self._early[-1].said == SAID_FAILED:
            raise self._failure(self._early[-1])
        raise SetupError("clone init", errno.ESRCH, remedy="the helper was killed before it could")

    def _introduced(self) -> int:
        """Return the process id of init: that of the descriptor which came along, so that nobody can name another."""
        pid = pid_of(self.pidfd) if self.pidfd >= 0 else 0
        if pid not in {self._introduction.answer, -1}:
            self._introduction.close()
            raise _strange("make init known")
        return pid

    def ready(self) -> None:
        """Wait until init is set up completely.

        Raises:
            SetupError: A step failed; the error says which, why, and where.
            HookError: A hook in the container failed.
        """
        while (message := self._receive()) is not None:
            if message.said == SAID_READY:
                return
            if message.said == SAID_SYNC:
                self._answer(message)
        raise SetupError("set up the container", errno.ESRCH, remedy=self._why_silent())

    def _why_silent(self) -> str:
        """Say what is likely to have ended init before it could say so itself."""
        filtered = any(step.op == Op.SECCOMP for step in self._plan.steps)
        with contextlib.suppress(ChildProcessError):
            child = self._helper.pidfd if self._attended else self.pidfd
            ended = peek(child) if filtered else None
            if ended is not None and ended.si_status != signal.SIGKILL:
                return _FILTERED
        return _KILLED_EARLY

    def commit(self) -> None:
        """Let init go on to wait at ``exec.fifo``: its state is on disk. From here on it lives without us.

        Raises:
            SetupError: Init has ended in the meantime.
        """
        try:
            if self._waits:
                self._say_go_on()
        except SetupError:
            self._receive()  # why it has, if it could say so
            raise
        self._committed = True

    def exec_error(self) -> SetupError | HookError | None:
        """Wait until the program is executed; call it after init was released from ``exec.fifo``.

        Returns:
            None, or why it could not be executed.
        """
        try:
            self._receive()
        except (SetupError, HookError) as error:
            return error
        finally:
            self.close_channel()
        return None

    def close_channel(self) -> None:
        """Stop listening to init; doing so twice is nothing."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def kill(self) -> None:
        """Kill whatever there is, from any thread; whoever waits for it notices."""
        self._killed = True
        with self._closing:
            # With them, whoever attends to them ends.
            helper = -1 if self._kill_attended() else self._helper.pidfd
            for pid, pidfd in ((self._helper.pid, helper), (self.pid, self.pidfd)):
                if pidfd >= 0:
                    self._kill(pid, pidfd)

    def _kill_attended(self) -> bool:
        """Kill whom the helper attends to: init, or who is to become its parent and never was introduced.

        Returns:
            Whether there was anybody.
        """
        if not self._attended or self._helper.pidfd < 0:
            return False
        # While it is stopped it makes nobody whom we would miss, and who in a frozen cgroup could not be killed later.
        self._signal_helper(signal.SIGSTOP)
        attended = children(self._helper.pid)
        for pid in attended:
            with contextlib.suppress(ProcessLookupError), Descriptor(os.pidfd_open(pid)) as process:
                # Now that it is held: is it still the one?
                if pid in children(self._helper.pid):
                    if not self._waits:
                        kill_descendants(pid, process.fd)
                    self._kill(pid, process.fd)
        if attended:
            self._signal_helper(signal.SIGCONT)
        return bool(attended)

    def _signal_helper(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._helper.pidfd, number)

    def _kill(self, pid: int, pidfd: int) -> None:
        for _ in range(_RELEASES):
            if self._release is not None and pid > 0:
                self._release(pid)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            # It may be on its way to where it freezes, and not be there yet.
            if self._release is None or channel.is_readable(pidfd, _RELEASE_PAUSE):
                return

    def abort(self) -> None:
        """Kill and reap whatever there is; doing so twice is nothing."""
        if not self._attended:
            self._end_helper()
            self._hear_late()
        self.close_channel()
        if self._control is not None:
            self._control.close()
        # Without a descriptor to look for them, they end with the channel, and others have to wait for them.
        with contextlib.suppress(OSError):
            if self._kill_attended():
                # So that nobody else has to wait for them, who may not.
                channel.is_readable(self._helper.pidfd, _LAST_MOMENTS)
        self._end_helper()
        if self.pidfd >= 0:
            self._kill(self.pid, self.pidfd)
            reap(self.pidfd)
            with self._closing:
                os.close(self.take_pidfd())
        for box in (*self._early, self._inbox):
            box.close()

    def _hear_late(self) -> None:
        """Hear of an init that was introduced to nobody who listened: interrupted, or without a free descriptor."""
        while self.pidfd < 0 and self._channel is not None:
            self._introduction.close()
            if not channel.is_readable(self._channel.fd, 0):
                # The helper is gone, and init is there: it was killed before it could say so.
                self._end_unintroduced()
                return
            try:
                if not self._introduction.receive(self._channel.fd):
                    return
            except OSError:
                return
            if self._introduction.said != SAID_PID or not is_child(self.pidfd):
                self._introduction.close()

    def _end_unintroduced(self) -> None:
        found = unintroduced.find(self._others_end)
        if found is not None:
            with found:
                self._kill(-1, found.fd)
                reap(found.fd)

    def _is_lost(self) -> bool:
        """Tell whether nobody is left who could introduce init."""
        if channel.is_readable(self._helper.pidfd, 0):
            return True
        return self._attended and unintroduced.is_abandoned(self._helper.pid)

    def _end_helper(self) -> None:
        """Reap the helper; when it is not needed any more, it is gone or about to go."""
        if self._helper.pidfd >= 0:
            self._kill(self._helper.pid, self._helper.pidfd)
            reap(self._helper.pidfd)
            with self._closing:
                self._helper.close()

    def answer_with(self, fd: int) -> None:
        """Send init a copy of a descriptor with the answer it waits for; for functions that answer."""
        self._answer_fd = Descriptor(os.dup(fd))

    def _say_go_on(self) -> None:
        if self._channel is None:
            return
        try:
            channel.say(self._channel, _GO_ON, fd=self._answer_fd.fd if self._answer_fd is not None else None)
        except BrokenPipeError:
            raise SetupError("release init", errno.ESRCH, remedy="it was killed in the meantime") from None

    def _receive(self) -> _sys.Inbox | None:
        """Return the next message of init; None when there is nobody left to send one.

        Raises:
            SetupError: The message says that a step failed.
            HookError: The step was to run a hook.
        """
        message = self._early.pop(0) if self._early else None
        if message is None and self._next(self._inbox):
            message = self._inbox
        if message is not None and message.said == SAID_FAILED:
            raise self._failure(message)
        return message

    def _next(self, inbox: _sys.Inbox) -> bool:
        """Wait for the next message of helper or init; return whether there is one."""
        if self._channel is None:
            return False
        ours = self._channel.fd
        waiting = select.poll()
        waiting.register(ours, select.POLLIN)
        # The wait is Python's, so that Ctrl-C ends it. A descriptor that comes along goes where no interrupt loses it.
        while not waiting.poll(None if self.pidfd >= 0 else _LOOK):
            if self._is_lost() and not waiting.poll(0):
                return False
        try:
            heard = inbox.receive(ours)
        except ConnectionResetError:
            # They ended with something of ours unread. That is told first, and once; what they said is behind it.
            heard = inbox.receive(ours)
        except OSError as error:
            inbox.close()
            if error.errno == errno.EPROTO:
                raise _strange("hear from init") from None
            raise
        if not heard or inbox.said not in {SAID_PID, SAID_SYNC}:
            inbox.close()
        return heard

    def _failure(self, message: _sys.Inbox) -> SetupError | HookError:
        if message.step == _PLAN_ITSELF:
            return SetupError("read the plan", message.answer, remedy="helper and library are of different versions")
        step = self._step(message)
        if step.op is Op.HOOK:
            return hook_failure(message.answer, message.words)
        return SetupError(step.action, message.answer, step.path, step.remedy)

    def _step(self, message: _sys.Inbox) -> Step:
        """Return the step that a message is about; what sent it may be under somebody else's control."""
        if message.step >= len(self._plan.steps):
            raise _strange("hear what step this is")
        return self._plan.step(message.step)

    def _asked(self, message: _sys.Inbox) -> Callable[[Launch, int], None]:
        """Return what is done when the step that init is at asks for something."""
        self.asking = self._step(message)
        expected = self.asking.arguments[0] if self.asking.op is Op.SYNC else Sync.MOUNT
        if self.asking.op not in {Op.SYNC, Op.BIND} or message.answer != expected or not expected:
            raise _strange(self.asking.action)
        return self._answers[Sync(message.answer)]

    def _answer(self, message: _sys.Inbox) -> None:
        try:
            self._asked(message)(self, message.fd)
            self._say_go_on()
        finally:
            if message.fd >= 0:
                os.close(message.take_fd())
            if self._answer_fd is not None:
                self._answer_fd.close()
                self._answer_fd = None

    def _schedule(self, _: int) -> None:
        try:
            _sys.schedule(self.pid, self._plan.scheduler)
        except OSError as error:
            step = next(
                step for step in self._plan.steps if step.op is Op.SYNC and step.arguments[0] == Sync.SCHEDULING
            )
            raise SetupError(step.action, error.errno or errno.EIO, step.path, step.remedy) from None

    def _map_ids(self, _: int) -> None:
        from ocikit.runtime.host.rootless import this_process  # noqa: PLC0415
        from ocikit.runtime.user_maps import write_maps  # noqa: PLC0415 - for containers with users of their own

        write_maps(self.pid, self._plan.uid_map, self._plan.gid_map, this_process())


def _strange(action: str) -> SetupError:
    return SetupError(action, errno.EPROTO, remedy=_STRANGE)
