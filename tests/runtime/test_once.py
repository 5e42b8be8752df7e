"""What was found out about a part of a configuration is not found out again, and never taken for that of another."""

from __future__ import annotations

import gc
import json
import os
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocikit import runtime
from ocikit.errors import ValidationError
from ocikit.runtime.once import Once
from ocikit.runtime.options import CreateOptions
from ocikit.runtime.plan.compiler import CgroupMount, Surroundings, compile_plan
from ocikit.runtime.plan.monitor import Kept, monitor_step
from ocikit.runtime.plan.stand_in import plan_for
from ocikit.spec import Hook, Hooks, Root, Spec, User

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_once() -> None:
    """A function is called once for each object, and for equal ones each time; errors are raised again."""
    calls: list[Root] = []

    def compute(root: Root) -> str:
        calls.append(root)
        if root.path == "bad":
            raise ValueError(root.path)
        return root.path

    once = Once(compute)
    one, other, bad = Root(path="a"), Root(path="a"), Root(path="bad")
    assert [once(one), once(one), once(other)] == ["a", "a", "a"]
    assert len(calls) == 2
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            once(bad)
    assert len(calls) == 4


def test_what_is_gone_is_forgotten() -> None:
    """Nothing is kept of objects that are gone, and a new one in the place of an old one is another one."""
    once: Once[Root, str] = Once(lambda root: root.path)
    for number in range(1000):
        assert once(Root(path=str(number))) == str(number)
    gc.collect()
    assert once._found == {}


def test_a_bundle_that_changes(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A configuration that was changed, also to one of the same length, is read anew each time."""
    for text in (b"one", b"two", b"one"):
        bundle = make_bundle("echo", text.decode())
        assert runtime.run(root, container_id, bundle).stdout == text + b"\n"
        os.utime(bundle / "config.json", (0, 0))


def test_another_configuration(root: Path, make_spec: Callable[..., Spec], tmp_path: Path, container_id: str) -> None:
    """What holds of one configuration is not said of one that was made from it."""
    spec = make_spec("true")
    assert runtime.run(root, container_id, tmp_path, spec=spec).exit_code == 0
    with pytest.raises(ValidationError, match="hostname"):
        runtime.run(root, container_id, tmp_path, spec=attrs.evolve(spec, hostname="x" * 65))
    with pytest.raises(ValidationError):
        runtime.run(root, container_id, tmp_path, spec=spec.with_process(cwd="relative"))
    assert runtime.run(root, container_id, tmp_path, spec=spec).exit_code == 0


def test_states_of_one_configuration(root: Path, make_bundle: Callable[..., Path], new_id: Callable[[], str]) -> None:
    """Of containers that are made from one configuration each has its own id in its state, and nobody else's."""
    bundle = make_bundle("true")
    found = []
    for _ in range(2):
        with runtime.create(root, new_id(), bundle, stdin="null") as container:
            text = (root / container.id / "state.json").read_text()
        state = json.loads(text)
        assert state["id"] == state["config"]["cgroups"]["name"] == container.id
        found.append(json.dumps(state["config"]).replace(container.id, "the id"))
    assert found[0] == found[1]
    with runtime.create(root, new_id(), bundle, stdin="null", options=CreateOptions(no_new_keyring=True)) as container:
        config = json.loads((root / container.id / "state.json").read_text())["config"]
    assert config["no_new_keyring"] is True


def test_a_note_that_is_replaced(created: runtime.Container, root: Path) -> None:
    """What was written down is read once; what somebody puts in its place is read anew, and counts."""
    file = root / created.id / "ocikit.json"
    moments = ["2020-02-02T02:02:02+00:00", "2021-02-02T02:02:02+00:00"]  # of one length
    assert created.state().started is None
    for moment in moments:
        other = file.with_name("other.json")
        other.write_text(json.dumps(json.loads(file.read_text()) | {"started": moment}))
        other.chmod(0o600)
        other.rename(file)
        started = created.state().started
        assert started is not None
        assert started.isoformat() == moment


def test_plans_of_one_configuration(make_spec: Callable[..., Spec]) -> None:
    """A plan that was taken from an earlier time is the one that would have been made, to the last byte and word."""
    hooks = Hooks(start_container=(Hook(path="/bin/true", args=("true", "x")),))
    spec = make_spec("true", hooks=hooks)
    host = Surroundings(bundle="/bundles/one-container", cgroup_join=("/sys/fs/cgroup/pids/x",))
    for name in ("one-container", "two-container", "container-onetwo", "another-one", "short", "one-container"):
        mounts = (CgroupMount("pids", f"/sys/fs/cgroup/pids/above/{name}", ()),)
        around = host._replace(id=name, cgroup_join=(f"/sys/fs/cgroup/pids/{name}/tasks",), cgroup_mounts=mounts)
        expected, found = compile_plan(spec, around), plan_for(spec, around)
        assert found.encode(7) == expected.encode(7)
        assert [found.step(number) for number in range(len(found.steps))] == list(expected.steps)
        assert found.warnings == expected.warnings
        leader = monitor_step(Kept(cgroups={}, private_pids=True))
        assert found.led_by(leader).encode(7) == expected.led_by(leader).encode(7)


def test_errors_are_about_the_container(make_spec: Callable[..., Spec]) -> None:
    """What stands in for an id is never shown."""
    spec = make_spec("true").with_process(args=("\0",))
    around = Surroundings(bundle="/b", id="a-long-container-id")
    with pytest.raises(ValidationError) as expected:
        compile_plan(spec, around)
    for _ in range(2):
        with pytest.raises(ValidationError) as caught:
            plan_for(spec, around)
        assert caught.value.violations == expected.value.violations


def test_processes_of_one_template(created: runtime.Container) -> None:
    """A command that was run before runs as it is asked for this time."""
    created.start()

    def output(*args: str, **options: Any) -> bytes:
        with created.exec(args, stdin="null", stdout="pipe", **options) as process:
            return process.communicate(timeout=60).stdout

    for _ in range(3):
        assert output("sh", "-c", "echo $A") == b"\n"
        assert output("sh", "-c", "echo $A", env={"A": "1"}) == b"1\n"
        assert output("sh", "-c", "echo $A", env={"A": "2"}) == b"2\n"
        assert output("sh", "-c", "pwd", cwd="/tmp") == b"/tmp\n"
        assert output("id", "-u", user=User(uid=7)) == b"7\n"
        assert output("id", "-u") == b"0\n"
    for wrong in ("true", b"true", [1], [["true"]], None):
        with pytest.raises(TypeError):
            created.exec(wrong)  # type: ignore[arg-type]
