"""What is in /dev, and what a mount of cgroups shows."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest
from launching import MOUNTS, default_spec, run_plan
from mounting import bind, make_open_bundle, mounted, with_users

from ocikit import runtime
from ocikit.errors import SetupError
from ocikit.spec import LinuxDevice, LinuxNamespace, Mount, Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocikit.spec import Spec

WITHOUT_DEV = tuple(mount for mount in MOUNTS if not mount.destination.startswith("/dev"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox that the root of a user namespace may enter."""
    return make_open_bundle(tmp_path / "bundle")


def with_devices(*devices: LinuxDevice, script: str, mounts: tuple[Mount, ...] = MOUNTS) -> Spec:
    """Return a configuration with devices, whose program runs a script."""
    spec = attrs.evolve(default_spec("sh", "-c", f"exec 2>&1; {script}", mounts=mounts), root=Root(path="rootfs"))
    return spec.with_linux(devices=devices)


NULL = LinuxDevice(path="/dev/null2", type="c", major=1, minor=3)


@pytest.mark.parametrize("users", [False, True])
def test_default_devices_and_links(bundle: Path, *, users: bool) -> None:
    """The devices of the specification are there for everybody, and the links of everybody."""
    script = (
        "cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty; for l in fd stdin stdout stderr core ptmx;"
    )
    spec = with_devices(
        script=f"{script} do readlink $l; done; echo x > null; head -c 3 zero | wc -c; stat -Lc %t:%T ptmx"
    )
    (bundle / "rootfs/bin/head").symlink_to("busybox")
    out = run_plan(bundle, with_users(spec) if users else spec).out.splitlines()
    assert [line.partition(" ")[0] for line in out[:6]] == ["null", "zero", "full", "random", "urandom", "tty"]
    assert [line.split()[1:] for line in out[:6]] == [[n, "666"] for n in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0")]
    links = ["/proc/self/fd", *(f"/proc/self/fd/{n}" for n in range(3)), "/proc/kcore", "pts/ptmx"]
    assert out[6:] == [*links, "3", "5:2"]


def test_devices_of_the_configuration(bundle: Path) -> None:
    """Devices of every type, anywhere, with their modes and owners; a mode with the bits of a type is a mode."""
    devices = (
        LinuxDevice(path="/dev/char", type="c", major=10, minor=666, file_mode=0o100640, uid=7, gid=8),
        LinuxDevice(path="/dev/unbuffered", type="u", major=10, minor=667),
        LinuxDevice(path="/elsewhere/deep/block", type="b", major=8, minor=4095, file_mode=0o600),
        LinuxDevice(path="/dev/fifo", type="p", file_mode=0o644),
        LinuxDevice(path="/dev/null", type="c", major=1, minor=3, file_mode=0o600),
        LinuxDevice(path="/dev/tty", type="c", major=5, minor=0),
        LinuxDevice(path="/dev/ptmx", type="c", major=5, minor=2),
    )
    paths = " ".join(device.path for device in devices[:5])
    script = f"stat -c '%n %F %t:%T %a %u:%g' {paths}; readlink /dev/ptmx"
    assert run_plan(bundle, with_devices(*devices, script=script)).out.splitlines() == [
        "/dev/char character special file a:29a 640 7:8",
        "/dev/unbuffered character special file a:29b 666 0:0",
        "/elsewhere/deep/block block special file 8:fff 600 0:0",
        "/dev/fifo fifo 0:0 644 0:0",
        "/dev/null character special file 1:3 600 0:0",
        "pts/ptmx",
    ]


def test_what_stands_there_already(bundle: Path) -> None:
    """The same device is as good as a new one; anything else at its place is an error, and stays."""
    os.mkdir(bundle / "rootfs/dev")
    os.mknod(bundle / "rootfs/dev/null2", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    spec = with_devices(NULL, script="echo x > /dev/null2; stat -c %a /dev/null2", mounts=WITHOUT_DEV)
    assert run_plan(bundle, spec).out == "600\n"
    path = bundle / "rootfs/dev/null2"
    for command in (("touch", path), ("ln", "-s", "null", path), ("mkdir", path)):
        path.unlink()
        subprocess.run(command, check=True)
        with pytest.raises(SetupError, match="make device at /dev/null2: File exists"):
            run_plan(bundle, spec)


def test_a_multiplexer_of_the_image_is_replaced(bundle: Path) -> None:
    """Images bring a /dev/ptmx of their own, which is that of the host: the container's stands in its place."""
    os.mkdir(bundle / "rootfs/dev")
    os.mknod(bundle / "rootfs/dev/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    (bundle / "rootfs/dev/fd").symlink_to("elsewhere")
    spec = with_devices(script="readlink /dev/ptmx; readlink /dev/fd", mounts=WITHOUT_DEV)
    assert run_plan(bundle, spec).out == "pts/ptmx\nelsewhere\n"


def test_devices_of_the_host_in_a_user_namespace(bundle: Path) -> None:
    """In a user namespace a device is the host's at the same path; one that is another device is refused."""
    kmsg = LinuxDevice(path="/dev/kmsg", type="c", major=1, minor=11)
    spec = with_users(with_devices(kmsg, script="stat -c %t:%T /dev/kmsg"))
    assert run_plan(bundle, spec).out == "1:b\n"
    for wrong in (attrs.evolve(kmsg, minor=9), attrs.evolve(kmsg, path="/dev/no-such"), attrs.evolve(kmsg, type="b")):
        with pytest.raises(SetupError, match=r"make device at .*: No such (device|file)"):
            run_plan(bundle, with_users(with_devices(wrong, script="true")))


def test_shown_devices_are_nothing_but_devices(bundle: Path) -> None:
    """What is shown of the host cannot be executed, and gives nobody another user's rights."""
    script = "while read -r _ _ _ _ at how _; do case $at in /dev/null|/dev/zero|/dev/tty) echo $at $how;; esac; done"
    spec = with_users(with_devices(script=f"{script} < /proc/self/mountinfo"))
    shown = dict(line.split() for line in run_plan(bundle, spec).out.splitlines())
    assert set(shown) == {"/dev/null", "/dev/zero", "/dev/tty"}
    for how in shown.values():
        assert {"nosuid", "noexec", "rw"} <= set(how.split(",")), shown


def test_fifos_in_a_user_namespace(bundle: Path) -> None:
    """A fifo is nobody's device, and made like everywhere."""
    fifo = LinuxDevice(path="/dev/fifo", type="p", file_mode=0o600, uid=7, gid=7)
    spec = with_users(with_devices(fifo, script="stat -c '%F %a %u' /dev/fifo"))
    assert run_plan(bundle, spec).out == "fifo 600 7\n"


ELSEWHERE = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from launching import run_plan
from ocikit.spec import Spec
print(run_plan(Path(sys.argv[1]), Spec.from_json(Path(sys.argv[2]).read_bytes())).out)
"""


def run_in(bundle: Path, spec: Spec, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a container from another process, which a command starts with fewer rights or other mounts."""
    (bundle / "config.json").write_bytes(spec.to_json())
    script = [sys.executable, "-c", ELSEWHERE, str(bundle), str(bundle / "config.json"), os.path.dirname(__file__)]
    return subprocess.run([*command, *script], check=False, capture_output=True, text=True)


def test_where_nobody_may_make_devices(bundle: Path) -> None:
    """Without the right to make devices the host's are shown, also in a /dev that the image brings."""
    spec = with_devices(script="stat -c %t:%T /dev/null /dev/tty", mounts=WITHOUT_DEV)
    done = run_in(bundle, spec, "setpriv", "--bounding-set=-mknod")
    assert done.stdout.split() == ["1:3", "5:0"], done.stderr
    assert not (bundle / "rootfs/dev/null").is_char_device()


@pytest.mark.parametrize(("kind", "hidden"), [("proc", "/proc/timer_list"), ("sysfs", "/sys/power/state")])
def test_file_systems_with_something_hidden(bundle: Path, kind: str, hidden: str) -> None:
    """In a nested container the kernel refuses a procfs that would show what is masked; the error says what to do."""
    where = "/proc" if kind == "proc" else "/sys"
    hide = ["unshare", "--mount", "sh", "-c", f'mount --bind /dev/null {hidden} && exec "$@"', "sh"]
    if not os.path.exists(hidden):
        hide[4] = f'mount -t tmpfs tmpfs {where}/{os.listdir(where)[0]} && exec "$@"'
    done = run_in(bundle, with_users(with_devices(script="true")), *hide)
    assert f"mount {kind} at {where}: Operation not permitted" in done.stderr
    assert "in a nested container" in done.stderr
    # What the error says: share what is there.
    spec = with_users(with_devices(script="cat /proc/self/comm; ls -d /sys/class"))
    others = (mount for mount in spec.mounts if mount.type not in {"proc", "sysfs"})
    spec = attrs.evolve(spec, mounts=(bind("/proc", "/proc", "rbind"), bind("/sys", "/sys", "rbind", "ro"), *others))
    done = run_in(bundle, spec, *hide)
    assert done.stdout.split() == ["cat", "/sys/class"], done.stderr


def test_a_dev_of_the_host(bundle: Path) -> None:
    """A /dev that is bound is left as it is."""
    mounts = (*WITHOUT_DEV, bind(bundle / "dev", "/dev", "rbind"))
    (bundle / "dev").mkdir()
    (bundle / "dev/mine").write_text("")
    assert run_plan(bundle, with_devices(NULL, script="ls /dev", mounts=mounts)).out == "mine\n"


# Cgroups.


def with_cgroups(*options: str, own: bool, script: str) -> Spec:
    """Return a configuration with a mount of cgroups, and a cgroup namespace if it is to have its own."""
    mount = Mount(
        destination="/sys/fs/cgroup", source="cgroup", type="cgroup", options=("nosuid", "noexec", "nodev", *options)
    )
    spec = mounted(mount, script=script)
    assert spec.linux is not None
    kinds = tuple(one for one in spec.linux.namespaces if one.type != "cgroup")
    return spec.with_linux(namespaces=(*kinds, LinuxNamespace(type="cgroup")) if own else kinds)


@pytest.fixture
def run(bundle: Path, root: Path, new_id: Callable[[], str]) -> Callable[[Spec], str]:
    """Give what runs a container and returns what it writes."""
    for name in ("awk", "find", "wc", "touch", "grep", "head"):
        if not (bundle / "rootfs/bin" / name).exists():
            (bundle / "rootfs/bin" / name).symlink_to("busybox")
    return lambda spec: runtime.run(root, new_id(), bundle, spec=spec).stdout.decode()


#: The files of a cgroup that list processes: in the one hierarchy of v2, or in each of v1.
PROCESSES = "$(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs)"


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("users", [False, True])
def test_cgroups_are_those_of_the_container(run: Callable[[Spec], str], *, own: bool, users: bool) -> None:
    """What is shown of every hierarchy is the container's part of it: its first process is there, and no other."""
    script = f"for f in {PROCESSES}; do grep -c . $f; grep -cx 1 $f; done"
    spec = with_cgroups("ro", own=own, script=script)
    numbers = run(with_users(spec) if users else spec).split()
    assert numbers
    assert set(numbers[1::2]) == {"1"}
    assert all(int(one) <= 3 for one in numbers[::2])  # the shell and what it runs


def test_hierarchies_that_cannot_be_mounted(run: Callable[[Spec], str]) -> None:
    """Who may not mount the hierarchies is shown the container's part of each, and cannot write to it."""
    with subprocess.Popen(["unshare", "--cgroup", "sleep", "1000"]) as other:
        try:
            while os.path.samefile(f"/proc/{other.pid}/ns/cgroup", "/proc/self/ns/cgroup"):
                pass
            script = f"for f in {PROCESSES}; do grep -cx 1 $f; done; cat /proc/self/mounts"
            spec = with_users(with_cgroups("rw", own=False, script=script))
            assert spec.linux is not None
            joined = LinuxNamespace(type="cgroup", path=f"/proc/{other.pid}/ns/cgroup")
            out = run(spec.with_linux(namespaces=(*spec.linux.namespaces, joined)))
        finally:
            other.kill()
    assert writable("\n".join(line for line in out.splitlines() if line.count(" ") == 5)) == {False}
    assert {line for line in out.splitlines() if line.isdecimal()} == {"1"}


def writable(out: str) -> set[bool]:
    """Return whether the mounts of cgroups in a list of mounts can be written to."""
    lines = [line.split() for line in out.splitlines() if line.split()[2] in {"cgroup", "cgroup2"}]
    assert lines
    return {"rw" in line[3].split(",") for line in lines}


@pytest.mark.parametrize("own", [False, True])
def test_read_only_cgroups(run: Callable[[Spec], str], *, own: bool) -> None:
    """Read-only mounts of cgroups are so as a whole, and all hierarchies in them."""
    script = "cat /proc/self/mounts; mkdir /sys/fs/cgroup/new"
    out = run(with_cgroups("ro", own=own, script=script))
    *mounts, refused = out.splitlines()
    assert writable("\n".join(mounts)) == {False}
    assert "Read-only file system" in refused
    assert writable(run(with_cgroups("rw", own=own, script="cat /proc/self/mounts"))) == {True}


def test_cgroups_of_the_host_in_a_user_namespace(run: Callable[[Spec], str]) -> None:
    """Without a cgroup namespace of its own, a user namespace can write to no cgroup (CVE-2023-25809)."""
    out = run(with_users(with_cgroups("rw", own=False, script="cat /proc/self/mounts")))
    assert writable(out) == {False}


def test_cgroups_with_mapped_roots(run: Callable[[Spec], str]) -> None:
    """With a cgroup namespace of its own a container gets the hierarchy itself, or what it may see of it."""
    out = run(with_users(with_cgroups("rw", own=True, script="cat /proc/self/mounts; cat /proc/self/cgroup")))
    mounts = "\n".join(line for line in out.splitlines() if line.count(" ") == 5)
    assert writable(mounts)
    assert all(line.endswith(":/") for line in out.splitlines() if line.count(":") == 2 and " " not in line)
