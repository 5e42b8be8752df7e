"""Configurations are changed by making new ones: the short ways."""

from __future__ import annotations

import pytest

from ocikit.spec import Linux, LinuxMemory, Process, Spec


def test_with_process_changes_what_is_named_and_nothing_else() -> None:
    """Fields of the process are replaced; the rest of the configuration, and the original, stay."""
    spec = Spec.default()
    changed = spec.with_process(args=("sleep", "1"), terminal=False)
    assert changed.process is not None
    assert spec.process is not None
    assert (changed.process.args, changed.process.terminal) == (("sleep", "1"), False)
    assert changed.process.capabilities == spec.process.capabilities
    assert (changed.mounts, changed.linux) == (spec.mounts, spec.linux)
    assert spec.process.args == ("sh",)


def test_with_resources_goes_down_to_the_limits() -> None:
    """Limits that were there stay beside those that are changed."""
    spec = Spec.default().with_resources(memory=LinuxMemory(limit=1 << 20))
    assert spec.linux is not None
    assert spec.linux.resources is not None
    assert spec.linux.resources.memory == LinuxMemory(limit=1 << 20)
    assert len(spec.linux.resources.devices) == 1


def test_sections_that_are_missing_are_made() -> None:
    """A configuration without process or linux section gets one."""
    spec = Spec().with_process(args=("a",)).with_linux(masked_paths=("/proc/x",))
    assert spec.process == Process(cwd="/", args=("a",))
    assert spec.linux == Linux(masked_paths=("/proc/x",))


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is an error, not an unknown field of the document."""
    with pytest.raises(TypeError):
        Spec.default().with_process(arguments=("a",))
