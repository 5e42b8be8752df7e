"""Arguments of a wrong kind: the error says what was expected, and nothing has been made."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from ocikit import runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"spec": {"ociVersion": "1.0.2"}}, TypeError, "spec: expected a Spec .*, found dict"),
        ({"options": {"no_pivot": True}}, TypeError, "options: expected CreateOptions, found dict"),
        (
            {"options": runtime.CreateOptions(preserve_fds=(9999,))},
            ValueError,
            "preserve_fds: expected open descriptors, found 9999: Bad file descriptor",
        ),
    ],
)
def test_creation(
    root: Path, bundle: Path, container_id: str, *, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """What a user of other libraries might give it."""
    with pytest.raises(kind, match=message):
        runtime.create(root, container_id, bundle, **arguments)
    assert not root.exists() or list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda one: one.signal("TERM"), TypeError, "signal: expected a number, such as signal.SIGTERM, found 'TERM'"),
        (lambda one: one.update({"memory": {}}), TypeError, "resources: expected a LinuxResources"),
        (lambda one: one.update(None), TypeError, "resources: expected a LinuxResources"),
        (lambda one: one.exec(["true"], env=["A=1"]), TypeError, "env: expected names and values"),
        (lambda one: one.exec(["true"], user="nobody"), TypeError, "user: expected a User with ids"),
        (lambda one: one.exec(["true"], preserve_fds=[9999]), ValueError, "expected open descriptors, found 9999"),
    ],
)
def test_containers(
    created: runtime.Container, call: Callable[[runtime.Container], object], kind: type[Exception], message: str
) -> None:
    """A container that is asked for what makes no sense is as it was."""
    with pytest.raises(kind, match=message):
        call(created)
    assert created.status() == "created"
    assert created.processes() == [created.pid]


def test_processes(created: runtime.Container) -> None:
    """A further process that is asked for what makes no sense goes on."""
    with created.exec(["sleep", "600"], stdin="null") as process:
        with pytest.raises(TypeError, match="signal: expected a number"):
            process.signal("KILL")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"nothing would read it; start the process with stdin=.pipe."):
            process.communicate(b"input")
        assert process.poll() is None


def test_stopping(root: Path) -> None:
    """A signal by name is none."""
    with pytest.raises(TypeError, match="signal: expected a number"):
        runtime.stop_and_remove(root, prefix="x", signal="TERM")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="signal 0: expected a number from 1 to"):
        runtime.stop_and_remove(root, prefix="x", signal=0)
    assert runtime.stop_and_remove(root, prefix="x", signal=signal.SIGINT).ok
