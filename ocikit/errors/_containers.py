"""Errors about bundles, containers and the service: see :mod:`ocikit.errors`."""

from __future__ import annotations

from ocikit.errors._roots import OCIKitError, _FailedCallError

__all__ = [
    "BundleError",
    "CgroupError",
    "ContainerError",
    "DetachedError",
    "ExistError",
    "HookError",
    "InvalidIDError",
    "NotExistError",
    "NotPausedError",
    "NotRunningError",
    "PausedError",
    "RunTimeoutError",
    "RunningError",
    "ServiceError",
    "SetupError",
    "StateError",
]


class BundleError(OCIKitError, ValueError):
    """An image and the wishes of the caller do not make a bundle."""


class ContainerError(OCIKitError):
    """Base of the errors about the life of a container."""


class InvalidIDError(ContainerError, ValueError):
    """A container id is empty, too long, or has bytes outside ``A-Za-z0-9_+-.``."""


class ExistError(ContainerError):
    """A container with this id exists."""


class NotExistError(ContainerError, LookupError):
    """No container has this id."""


class NotRunningError(ContainerError):
    """The operation needs a running container."""


class RunningError(ContainerError):
    """The operation needs a container that is stopped."""


class PausedError(ContainerError):
    """The container is paused, which the operation does not allow."""


class NotPausedError(ContainerError):
    """The container is not paused."""


class RunTimeoutError(ContainerError, TimeoutError):
    """A container that was run did not end in time, and was killed.

    Args:
        message: Which one, and how long it had.
        stdout: What it had written to its standard output by then.
        stderr: What it had written to its standard error by then.
    """

    _arguments = ("message", "stdout", "stderr")

    def __init__(self, message: str, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(message)
        self.message = message
        self.stdout = stdout
        self.stderr = stderr


class DetachedError(ContainerError):
    """Whoever was attached to a container did not read fast enough and was let go, or its monitor was killed."""


class StateError(ContainerError, ValueError):
    """State on disk is damaged, or belongs to somebody who must not be trusted with it."""


class SetupError(ContainerError, _FailedCallError):
    """A step of making the container failed: ``action`` is the step, ``errno`` and ``filename`` the failure."""


class HookError(ContainerError):
    """A hook of the configuration failed, and with it what it was run for; the container is gone.

    Args:
        path: The JSON path of the hook (``$.hooks.createRuntime[1]``).
        program: What it executes.
        reason: What became of it, in words ("was killed: its time was up").
        exit_code: Its exit code; None when it did not come to have one.
        signal: The signal that ended it; None when none did.
        output: The end of what it wrote to its standard output and error.
    """

    _arguments = ("path", "program", "reason", "exit_code", "signal", "output")

    def __init__(  # noqa: PLR0917 - an error is copied by its arguments in their order
        self,
        path: str,
        program: str,
        reason: str,
        exit_code: int | None = None,
        signal: int | None = None,
        output: bytes = b"",
    ) -> None:
        kind, _, number = path.removeprefix("$.hooks.").rstrip("]").partition("[")
        # What a program of the container wrote must not reach a terminal as it stands.
        said = "".join(
            one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
            for one in output.decode(errors="backslashreplace").strip()
        )
        ends = (("exit code", exit_code), ("signal", signal))
        end = ", ".join(f"{name} {value}" for name, value in ends if value is not None)
        found = f"{program} {reason}" + (f" ({end})" if end else "") + (f"; it wrote: {said}" if said else "")
        super().__init__(f"{path}: error running {kind} hook #{number}: {found}")
        self.path = path
        self.program = program
        self.reason = reason
        self.exit_code = exit_code
        self.signal = signal
        self.output = output


class CgroupError(ContainerError, _FailedCallError):
    """A cgroup could not be made, configured, joined or removed."""


class ServiceError(OCIKitError):
    """Base of the errors of the service."""
