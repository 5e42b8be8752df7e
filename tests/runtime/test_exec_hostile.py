"""A hostile container gets nothing of the host from those who enter it (CVE-2016-9962, 2019-5736, 2024-21626)."""

from __future__ import annotations

import hashlib
import os
import signal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from executing import facts, output
from watcher import add_watcher

from ocikit import _sys, runtime
from ocikit.errors import OCIKitError, SetupError
from ocikit.runtime.plan import capabilities
from ocikit.spec import LinuxCapabilities, LinuxNamespace, Process, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}

#: How often the container is entered under its eyes.
ENTRIES = 60

ORDINARY = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID")


@pytest.fixture(scope="module")
def hostile_rootfs(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root file system with the watcher in it."""
    return add_watcher(rootfs, tmp_path_factory.mktemp("hostile") / "rootfs")


@pytest.fixture
def running(created: runtime.Container) -> Iterator[runtime.Container]:
    """Give a container of ours whose program sleeps; the helper must be the same afterwards."""
    created.start()
    before = helper_digest()
    yield created
    assert helper_digest() == before


def helper_digest() -> str:
    """Return what the helper is that this process starts."""
    with open(_sys.helper_executable(), "rb") as file:
        file.seek(0)
        return hashlib.sha256(file.read()).hexdigest()


@pytest.mark.parametrize("names", [ORDINARY, (*ORDINARY, "CAP_SYS_PTRACE")], ids=["ordinary", "may trace"])
def test_a_watcher_gets_nothing(
    root: Path, make_spec: Callable[..., Spec], container_id: str, hostile_rootfs: Path, names: tuple[str, ...]
) -> None:
    """Who looks at everything in /proc all the time finds no way out, no program to write to, and no more rights.

    Also not with CAP_SYS_PTRACE, with which it may look at, and change, what has no more rights than itself.
    """
    sets = LinuxCapabilities(bounding=names, effective=names, permitted=names)
    spec = make_spec("watcher", f"{capabilities.to_mask(names)[0]:x}", process={"capabilities": sets})
    spec = attrs.evolve(spec, root=Root(path=str(hostile_rootfs)))
    before = helper_digest()
    with runtime.create(root, container_id, hostile_rootfs.parent, spec=spec, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        assert container.stdout.readline() == b"watching\n"
        for number in range(ENTRIES):
            container.exec(["sh", "-c", f"exit {number}"], **QUIET).wait(timeout=60)
        container.signal(signal.SIGTERM)
        lines = container.stdout.read().decode().splitlines()
    assert int(lines[-1].removeprefix("seen ")) > 0, lines
    assert lines[:-1] == []
    assert helper_digest() == before


def test_the_watcher_sees_what_is_there(
    root: Path, make_spec: Callable[..., Spec], container_id: str, hostile_rootfs: Path, tmp_path: Path
) -> None:
    """What is handed to a container on purpose it does get: the test before this one can fail."""
    sets = LinuxCapabilities(bounding=ORDINARY, effective=ORDINARY, permitted=ORDINARY)
    spec = make_spec("watcher", f"{capabilities.to_mask(ORDINARY)[0]:x}", process={"capabilities": sets})
    spec = attrs.evolve(spec, root=Root(path=str(hostile_rootfs)))
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with runtime.create(root, container_id, hostile_rootfs.parent, spec=spec, stdin="null", stdout="pipe") as container:
        container.start()
        assert container.stdout is not None
        assert container.stdout.readline() == b"watching\n"
        container.exec(["sleep", "1000"], preserve_fds=(directory,), **QUIET)
        assert container.stdout.readline().startswith(b"directory 3")
    os.close(directory)


def test_its_own_executable_as_the_program(running: runtime.Container) -> None:
    """What /proc/self/exe is on the way in is not there to be executed: the helper is not in the container's /proc."""
    with pytest.raises(SetupError, match="/proc/self/exe"):
        running.exec(["/proc/self/exe"])
    assert running.processes() == [running.pid]


def test_a_script_that_names_the_executable(
    root: Path, make_spec: Callable[..., Spec], tmp_path: Path, container_id: str, rootfs: Path
) -> None:
    """A script whose interpreter is /proc/self/exe executes the sealed helper, which has no plan and no launcher."""
    script = rootfs / "tmp/again"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    before = helper_digest()
    try:
        with runtime.create(root, container_id, tmp_path, spec=make_spec(), stdin="null") as container:
            container.start()
            with container.exec(["/tmp/again"], **QUIET) as process:
                assert process.wait(timeout=30).exit_code == 255
            assert container.processes() == [container.pid]
    finally:
        script.unlink()
    assert helper_digest() == before


def test_working_directories_outside_of_the_root(running: runtime.Container, tmp_path: Path) -> None:
    """No descriptor that somebody left open leads out of the container."""
    held = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        os.set_inheritable(held, True)
        for number in (*range(3, 20), held, 5 + 2, 133):
            for path in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../.."):
                with pytest.raises(OCIKitError):
                    running.exec(["true"], cwd=path)
    finally:
        os.close(held)
    assert output(running, "sh", "-c", "pwd", cwd="/tmp/../bin/..") == "/"


def test_inheritable_capabilities_are_not_filled(running: runtime.Container) -> None:
    """A process that is given capabilities has those sets that were named (CVE-2022-29162)."""
    names = ("CAP_KILL", "CAP_NET_RAW")
    sets = LinuxCapabilities(bounding=names, effective=names, permitted=names)
    found = facts(running, Process(args=("cat", "/proc/self/status"), cwd="/", env=("PATH=/bin",), capabilities=sets))
    assert (found["CapInh"], found["CapAmb"]) == ("0" * 16, "0" * 16)
    assert int(found["CapPrm"], 16) == capabilities.to_mask(names)[0]


def test_the_attendant_is_nobody_inside(running: runtime.Container) -> None:
    """Who waits for the process is outside of the container, without descriptors, and cannot be looked into."""
    with running.exec(["sleep", "1000"], **QUIET) as process, process.held() as attendant:
        assert attendant is not None
        with open(f"/proc/self/fdinfo/{attendant}", encoding="ascii") as file:
            pid = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
        assert pid not in running.processes()
        assert os.listdir(f"/proc/{pid}/fd") == []
        assert os.stat(f"/proc/{pid}/status").st_uid == 0
        for name in ("mnt", "pid", "net"):
            assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")


def test_a_container_with_the_files_of_the_host(
    root: Path, make_spec: Callable[..., Spec], tmp_path: Path, container_id: str
) -> None:
    """Who shares our pid namespace and sees all our processes still gets no descriptor of one that enters it."""
    kinds = tuple(LinuxNamespace(type=kind) for kind in ("mount", "network", "uts", "ipc"))
    with runtime.create(
        root, container_id, tmp_path, spec=make_spec(linux={"namespaces": kinds}), stdin="null"
    ) as container:
        container.start()
        with container.exec(["sleep", "1000"], **QUIET) as process:
            shown = output(container, "ls", f"/proc/{process.pid}/fd")
            assert shown.split() == ["0", "1", "2"]
