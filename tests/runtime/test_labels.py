"""Labels of security modules: refused where there is no such module, planned in their places where there is one.

Neither AppArmor nor SELinux is there where these tests run: what the kernel makes of the labels is not shown here.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from launching import default_spec

from ocikit import runtime
from ocikit.errors import UnsupportedFieldError
from ocikit.runtime.host import labels
from ocikit.runtime.launch import Launch, launch
from ocikit.runtime.plan.attributes import Modules
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.further import Enclosure, compile_exec
from ocikit.runtime.plan.steps import NO_SLOT, Op, Plan, Slot, Step, Sync, ask
from ocikit.runtime.state.template import Template
from ocikit.spec import Hook, Hooks, Process, Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABEL = "system_u:system_r:container_t:s0:c4,c5"
FILES = "system_u:object_r:container_file_t:s0:c4,c5"
BOTH = Modules(apparmor="attr/apparmor/exec", selinux=True)


def steps_of(spec: Spec, modules: Modules = BOTH) -> list[Step]:
    """Return the plan of a container on a host with these modules."""
    return list(compile_plan(spec, Surroundings(bundle="/bundle", modules=modules)).steps)


def labelled(mount_label: str = "", **process: Any) -> Spec:
    """Return a configuration with labels."""
    spec = default_spec("true", **process)
    return spec.with_linux(mount_label=mount_label) if mount_label else spec


def positions(steps: list[Step], op: Op, text: bytes = b"") -> list[int]:
    """Return where the steps of a kind are that have a text in one of their strings."""
    found = [number for number, step in enumerate(steps) if step.op == op]
    return [number for number in found if not text or any(text in string for string in steps[number].strings)]


@pytest.mark.parametrize(
    ("fields", "path", "module"),
    [
        ({"process": {"apparmor_profile": "container-default"}}, "$.process.apparmorProfile", "AppArmor"),
        ({"process": {"selinux_label": LABEL}}, "$.process.selinuxLabel", "SELinux"),
        ({"linux": {"mount_label": FILES}}, "$.linux.mountLabel", "SELinux"),
    ],
)
def test_labels_without_a_module_are_refused(
    root: Path, make_bundle: Callable[..., Path], fields: dict[str, Any], path: str, module: str
) -> None:
    """A protection that is asked for and not there is an error, before anything is made, that says what to do."""
    with pytest.raises(UnsupportedFieldError, match=f"{module} is not enabled on this host .*; remove the") as caught:
        runtime.create(root, "labelled", make_bundle(**fields))
    assert caught.value.path == path
    assert not root.exists()


def test_no_confinement_needs_no_module(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A profile with the name "unconfined" is none, and is kept for runc."""
    bundle = make_bundle(process={"apparmor_profile": "unconfined"})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        config = json.loads((root / container_id / "state.json").read_text())["config"]
        assert config["apparmor_profile"] == "unconfined"
        container.start()
        with pytest.raises(UnsupportedFieldError, match=r"\$.process.selinuxLabel"):
            container.exec(Process(args=("true",), cwd="/", selinux_label=LABEL))


def test_modules_are_looked_for_where_there_are_labels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the kernel says of itself decides; an AppArmor that is switched off is none."""
    plain, both = Process(cwd="/"), Process(cwd="/", apparmor_profile="x", selinux_label="y")
    linux = Spec.default().linux
    assert linux is not None
    enabled, enforce = tmp_path / "enabled", tmp_path / "enforce"
    monkeypatch.setattr(labels, "_APPARMOR_ENABLED", str(enabled))
    monkeypatch.setattr(labels, "_SELINUX", str(enforce))
    assert labels.find_modules(both) == Modules()
    enabled.write_text("N\n")
    assert labels.find_modules(both) == Modules()
    enabled.write_text("Y\n")
    enforce.write_text("1")
    # Without AppArmor there is at most the file that all modules share.
    expected = "attr/exec" if os.path.exists("/proc/self/attr/exec") else ""
    assert labels.find_modules(both).apparmor in {"attr/apparmor/exec", expected}
    assert labels.find_modules(both).selinux
    assert labels.find_modules(plain) == labels.find_modules(None) == Modules()
    assert labels.find_modules(plain, attrs.evolve(linux, mount_label="z")) == Modules(selinux=True)


def test_labels_of_the_process() -> None:
    """They are written to a procfs that nobody else reaches, as root, after programs of the host were executed."""
    hooks = Hooks(create_container=(Hook(path="/bin/true"),), start_container=(Hook(path="/bin/true"),))
    spec = attrs.evolve(labelled(apparmor_profile="confined", selinux_label=LABEL), hooks=hooks)
    steps = steps_of(spec)
    (profile,) = positions(steps, Op.WRITE, b"exec confined")
    (label,) = positions(steps, Op.WRITE, b"self/attr/exec")
    assert steps[label].strings == (b"self/attr/exec", LABEL.encode())
    assert steps[profile].strings[0] == b"self/attr/apparmor/exec"
    assert steps[profile].arguments[0] == steps[label].arguments[0] == Slot.PROC
    first_hook, last_hook = positions(steps, Op.HOOK)
    (pivot,), (user,) = positions(steps, Op.PIVOT), positions(steps, Op.IDS)
    assert first_hook < pivot < profile < label < user < last_hook
    # The keys of its session are its own, too.
    (keys,) = positions(steps, Op.WRITE, b"/proc/self/attr/keycreate")
    assert keys + 1 == positions(steps, Op.KEYRING)[0]
    assert steps[keys].strings[1] == LABEL.encode()


def test_labels_of_further_processes() -> None:
    """They are told to the host's procfs, before the container is entered, and pass on."""
    process = Process(args=("true",), cwd="/", apparmor_profile="confined", selinux_label=LABEL)
    enclosure = Enclosure(id="x", joined=frozenset({"mount", "pid"}), modules=BOTH)
    steps = list(compile_exec(process, enclosure, Template(process=process, defaults=process)).steps)
    written = positions(steps, Op.WRITE, b"exec confined") + positions(steps, Op.WRITE, b"/proc/self/attr/exec")
    assert len(written) == 2
    assert max(written) < positions(steps, Op.JOIN_PROCESS)[0]
    assert {steps[number].arguments[0] for number in written} == {NO_SLOT}


def test_unconfined_is_told_where_there_is_somebody_to_tell() -> None:
    """On a host with AppArmor, "unconfined" is a profile like any other."""
    assert positions(steps_of(labelled(apparmor_profile="unconfined")), Op.WRITE, b"exec unconfined")
    assert not positions(steps_of(labelled(apparmor_profile="unconfined"), Modules()), Op.WRITE, b"unconfined")
    assert not positions(steps_of(labelled()), Op.WRITE, b"attr/")


def test_labels_of_mounts() -> None:
    """New file systems get the label as an option, but for those that have labels already, and message queues."""
    steps = steps_of(labelled(FILES))
    options = {steps[number].strings[0]: steps[number].strings for number in positions(steps, Op.FILESYSTEM)}
    context = f"context={FILES}".encode()
    assert {kind for kind, strings in options.items() if context in strings} == {b"tmpfs", b"devpts"}
    (label,) = positions(steps, Op.LABEL, FILES.encode())
    assert steps[label - 1].strings[0] == b"mqueue"
    assert all(steps[number].strings[1] == FILES.encode() for number in positions(steps, Op.MASK))
    assert not positions(steps_of(labelled()), Op.LABEL)


def test_a_label_reaches_the_root_of_a_file_system() -> None:
    """The attribute is there, on a file system that keeps it without SELinux."""
    found: list[bytes] = []

    def look(_: Launch, fd: int) -> None:
        found.append(os.getxattr(f"/proc/self/fd/{fd}", "security.selinux"))

    steps = (
        Step(Op.UNSHARE, "leave the mounts of the host", (0x0002_0000,)),
        Step(Op.CLONE, "clone", (0, NO_SLOT)),
        Step(Op.FILESYSTEM, "make", (Slot.MOUNT, 0), (b"tmpfs", b"tmpfs")),
        Step(Op.LABEL, "label", (Slot.MOUNT,), (FILES.encode(),)),
        ask("look", Sync.MOUNT, Slot.MOUNT),
        Step(Op.READY, "be ready"),
    )
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with launch(Plan(steps), stdio=(null, null, null), passed={}, answers={Sync.MOUNT: look}) as started:
            started.ready()
    finally:
        os.close(null)
    assert found == [FILES.encode()]


def test_labels_are_kept_for_runc() -> None:
    """The state names them, for whoever executes further processes."""
    from ocikit.runtime.state.attributes import linux_record, process_record  # noqa: PLC0415

    spec = labelled(FILES, apparmor_profile="confined", selinux_label=LABEL)
    assert spec.process is not None
    assert spec.linux is not None
    assert process_record(spec.process) == {"apparmor_profile": "confined", "process_label": LABEL}
    assert linux_record(spec.linux) == {"mount_label": FILES}
