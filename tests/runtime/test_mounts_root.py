"""The root of a container: who sees what is mounted in it, how it is made without pivot_root, and what is hidden."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from launching import run_plan
from mounting import bind, make_open_bundle, mounted, tmpfs, with_rights, with_users

from ocikit import runtime
from ocikit.errors import SetupError, ValidationError
from ocikit.runtime.host import surroundings
from ocikit.runtime.options import CreateOptions
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.spec import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import Spec

ADMIN = ("CAP_SYS_ADMIN",)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox that the root of a user namespace may enter."""
    return make_open_bundle(tmp_path / "bundle")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A mount of the host that shares what is mounted in it, and is not the one that the bundle lies in."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        subprocess.run(["mount", "--make-shared", place], check=True)
        for name in ("from-host", "from-container"):
            (place / name).mkdir()
        yield place
    finally:
        subprocess.run(["umount", "--recursive", place], check=True)


def propagation_of(out: str, where: str) -> set[str]:
    """Return what mountinfo says of a mount: the fields before the dash, without their numbers."""
    fields = [line.split() for line in out.splitlines() if line.split()[4] == where][-1]
    return {field.partition(":")[0] for field in fields[6 : fields.index("-")]}


ROOTS = {
    "": set(),
    "private": set(),
    "rprivate": set(),
    "slave": set(),
    "rslave": set(),
    "shared": {"shared"},
    "rshared": {"shared"},
    "unbindable": {"unbindable"},
    "runbindable": {"unbindable"},
}


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("kind", ROOTS)
def test_propagation_of_the_root(bundle: Path, kind: str, *, users: bool) -> None:
    """The root has the propagation type that is asked for; all mounts below it do when the type is recursive."""
    spec = mounted().with_linux(rootfs_propagation=kind)
    out = run_plan(bundle, with_users(spec) if users else spec).out
    assert propagation_of(out, "/") == ROOTS[kind]
    assert propagation_of(out, "/dev/shm") == (ROOTS[kind] if kind in {"rshared", "runbindable"} else set())


def root_in(shared: Path, bundle: Path) -> Spec:
    """Return a configuration whose root lies in a mount that the host shares."""
    subprocess.run(["cp", "-a", bundle / "rootfs", shared / "rootfs"], check=True)
    return attrs.evolve(
        with_rights(mounted(script="cat /proc/self/mountinfo"), "CAP_SYS_ADMIN"), root=Root(path=str(shared / "rootfs"))
    )


def test_a_shared_root_is_not_that_of_the_host(bundle: Path, shared: Path) -> None:
    """Those in the container share mounts with each other, never with the host, wherever the root lies."""
    spec = root_in(shared, bundle).with_linux(rootfs_propagation="rshared")
    script = "mkdir /tmp; mount -t tmpfs inside /tmp; cat /proc/self/mountinfo"
    ran = run_plan(bundle, spec.with_process(args=("sh", "-c", script)))
    assert propagation_of(ran.out, "/") == {"shared"}
    assert " inside " in ran.out
    assert "inside" not in Path("/proc/self/mountinfo").read_text()
    assert str(shared / "rootfs") not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize(("kind", "seen"), [("", False), ("private", False), ("slave", True), ("rslave", True)])
def test_what_the_host_mounts_in_the_root_later(
    bundle: Path, shared: Path, root: Path, container_id: str, kind: str, *, seen: bool
) -> None:
    """A slave sees what the host mounts in the directory of the root from then on; others do not."""
    spec = root_in(shared, bundle).with_linux(rootfs_propagation=kind)
    (shared / "rootfs/later").mkdir()
    os.mkfifo(shared / "rootfs/ready")
    script = "echo > /ready; cat /ready > /dev/null; grep -c ' /later ' /proc/self/mountinfo; exit 0"
    spec = spec.with_process(args=("sh", "-c", script))
    with runtime.create(root, container_id, bundle, spec=spec, stdout="pipe") as container:
        container.start()
        (shared / "rootfs/ready").read_bytes()
        subprocess.run(["mount", "-t", "tmpfs", "later", shared / "rootfs/later"], check=True)
        (shared / "rootfs/ready").write_bytes(b"go on")
        container.wait(timeout=30)
        assert container.stdout is not None
        assert container.stdout.read() == (b"1\n" if seen else b"0\n")


VOLUMES = {
    "as it is": ("", (), False, False),
    "slave": ("", ("rslave",), True, False),
    "private": ("", ("rprivate",), False, False),
    "shared by the mount alone": ("", ("rshared",), True, False),
    "shared by root and mount": ("rshared", ("rshared",), True, True),
    "private in a shared root": ("rshared", ("rprivate",), False, False),
}


@pytest.mark.parametrize("case", VOLUMES)
def test_mounts_in_a_volume(bundle: Path, shared: Path, root: Path, container_id: str, case: str) -> None:
    """A volume passes mounts on in the directions that are asked for: to the host only if the root shares, too."""
    kind, options, to_container, to_host = VOLUMES[case]
    to_container = to_container or not options  # a slave is what all mounts of the host are by themselves
    spec = with_rights(mounted(bind(shared, "/volume", "rbind", *options)), "CAP_SYS_ADMIN").with_linux(
        rootfs_propagation=kind
    )
    script = (
        "mount -t tmpfs in-volume /volume/from-container; echo > /volume/fifo; cat /volume/fifo > /dev/null;"
        "grep -c ' /volume/from-host ' /proc/self/mountinfo; exit 0"
    )
    os.mkfifo(shared / "fifo")
    spec = spec.with_process(args=("sh", "-c", script))
    with runtime.create(root, container_id, bundle, spec=spec, stdout="pipe") as container:
        container.start()
        (shared / "fifo").read_bytes()
        assert (f" {shared}/from-container " in Path("/proc/self/mountinfo").read_text()) == to_host
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "from-host"], check=True)
        (shared / "fifo").write_bytes(b"go on")
        container.wait(timeout=30)
        assert container.stdout is not None
        assert container.stdout.read() == (b"1\n" if to_container else b"0\n")


def test_no_propagation_type() -> None:
    """A word that is none is refused with its place."""
    with pytest.raises(ValidationError, match=r"\$\.linux\.rootfsPropagation: .*'public'"):
        compile_plan(mounted().with_linux(rootfs_propagation="public"), Surroundings(bundle="/bundle"))


# Without pivot_root.


@pytest.mark.parametrize("users", [False, True])
def test_moving_the_root(bundle: Path, *, users: bool) -> None:
    """Where pivot_root is refused the root is moved: the container looks the same from inside, the host is not seen."""
    (bundle / "rootfs/mark").write_text("inside")
    spec = mounted(
        tmpfs("/more", "size=64k"), script="cat /mark; ls -d /more /bin; ls /../../; cat /proc/mounts | wc -l"
    )
    around = {"no_pivot": True, "revealing": surroundings.revealing_mounts()}
    ran = run_plan(bundle, with_users(spec) if users else spec, **around)
    assert ran.out.startswith("inside")
    assert "lost+found" not in ran.out
    assert "/more" in ran.out


def test_the_option_for_ramdisks(bundle: Path, root: Path, container_id: str) -> None:
    """Whoever creates the container says that its root is moved, and finds the host's mounts for that."""
    (bundle / "rootfs/mark").write_text("inside")
    options = CreateOptions(no_pivot=True)
    spec = mounted(script="cat /mark")
    with runtime.create(root, container_id, bundle, spec=spec, stdout="pipe", options=options) as container:
        container.start()
        container.wait(timeout=30)
        assert container.stdout is not None
        assert container.stdout.read() == b"inside"


@pytest.mark.parametrize("no_pivot", [False, True])
def test_a_moved_root_leaves_no_whole_procfs(bundle: Path, *, no_pivot: bool) -> None:
    """Below the moved root there is no procfs of the host that would let somebody mount one without masks."""
    spec = with_rights(
        mounted(script="unshare -mrpf mount -t proc proc /proc && ls /proc/sysrq-trigger"),
        "CAP_SYS_ADMIN",
        "CAP_SETFCAP",
    )
    (bundle / "rootfs/bin/unshare").symlink_to("busybox")
    spec = spec.with_process(no_new_privileges=False)
    ran = run_plan(bundle, spec, no_pivot=no_pivot, revealing=surroundings.revealing_mounts())
    assert ran.code != 0
    assert ran.out == "mount: permission denied (are you root?)\n"


def test_whole_file_systems_of_the_host_are_found() -> None:
    """Every procfs and sysfs that is mounted as a whole is in the list, what is mounted later first."""
    found = surroundings.revealing_mounts()
    assert {"/proc", "/sys"} <= set(found)
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert len(found) == len([one for one in lines if one[3] == "/" and one[one.index("-") + 1] in {"proc", "sysfs"}])


@pytest.mark.parametrize("kind", ["private", "rprivate"])
def test_a_private_root_that_is_moved(kind: str) -> None:
    """What is mounted in a private root that is only moved could show on the host: refused."""
    around = Surroundings(bundle="/bundle", no_pivot=True)
    with pytest.raises(ValidationError, match="is not safe without pivot_root"):
        compile_plan(mounted().with_linux(rootfs_propagation=kind), around)


# What is hidden.


def test_masked_and_read_only_paths(bundle: Path) -> None:
    """Hidden are files, directories, devices and what is below what is hidden; what is not there need not be."""
    top = bundle / "rootfs/hidden"
    (top / "below").mkdir(parents=True)
    (top / "below/file").write_text("secret")
    (bundle / "rootfs/file").write_text("secret")
    (bundle / "rootfs/kept").mkdir()
    os.mkfifo(bundle / "rootfs/fifo")
    (bundle / "rootfs/link").symlink_to("file")
    masked = ("/hidden", "/hidden/below", "/hidden/below/file", "/file", "/fifo", "/missing", "/link", "/hidden/")
    script = "ls -A /hidden | wc -l; cat /file /fifo /link | wc -c; touch /hidden/x"
    script += "; echo x > /kept/x; echo x >> /etc-file; cat /kept/x"
    (bundle / "rootfs/etc-file").write_text("")
    spec = mounted(script=script).with_linux(
        masked_paths=masked, readonly_paths=("/kept", "/etc-file", "/kept/", "/no")
    )
    out = run_plan(bundle, spec).out
    assert out.split()[:2] == ["0", "0"]
    assert out.count("Read-only file system") == 3
    assert "can't open '/kept/x'" in out


def test_a_mask_that_is_a_loop_is_an_error(bundle: Path) -> None:
    """What cannot be hidden because it leads nowhere is told, and not left as it is."""
    (bundle / "rootfs/loop").symlink_to("loop")
    with pytest.raises(SetupError, match="mask at /loop: Too many levels of symbolic links"):
        run_plan(bundle, mounted().with_linux(masked_paths=("/loop",)))


def test_masks_of_directories_share_one_file_system(bundle: Path) -> None:
    """However many directories are hidden, there is one empty file system; each is hidden once."""
    for name in "abc":
        (bundle / "rootfs" / name).mkdir()
    spec = mounted().with_linux(masked_paths=("/a", "/b", "/c", "/a", "//b/"))
    lines = [line.split() for line in run_plan(bundle, spec).out.splitlines()]
    masks = [line for line in lines if line[4] in {"/a", "/b", "/c"}]
    assert len(masks) == 3
    assert len({line[2] for line in masks}) == 1
