"""The launcher and the helper, seen from inside the container and from the host."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from launching import MOUNTS, default_spec, make_rootfs, run_plan

from ocikit.errors import SetupError
from ocikit.runtime.launch import launch
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.steps import Slot
from ocikit.spec import (
    LinuxCapabilities,
    LinuxDevice,
    LinuxIDMapping,
    LinuxNamespace,
    LinuxTimeOffset,
    Mount,
    POSIXRlimit,
    Root,
    Spec,
    User,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox."""
    make_rootfs(tmp_path / "rootfs")
    return tmp_path


def with_linux(spec: Spec, **linux: Any) -> Spec:
    """Change fields of the linux section."""
    assert spec.linux is not None
    return attrs.evolve(spec, linux=attrs.evolve(spec.linux, **linux))


def with_namespaces(spec: Spec, *kinds: str, **linux: Any) -> Spec:
    """Add namespaces to those of the default configuration."""
    assert spec.linux is not None
    more = tuple(LinuxNamespace(type=kind) for kind in kinds)
    return with_linux(spec, namespaces=(*spec.linux.namespaces, *more), **linux)


def shell(bundle: Path, script: str, **process: Any) -> str:
    """Run a script under the default configuration; return what it printed."""
    ran = run_plan(bundle, default_spec("sh", "-c", script, **process))
    assert ran.code == 0, ran.out
    return ran.out.strip()


def test_init_is_alone_in_its_namespaces(bundle: Path) -> None:
    """The program is process 1, has its own host name, network, IPC and mounts, and nobody else is to be seen."""
    script = "echo $$; cat /proc/sys/kernel/hostname; ls /sys/class/net; ls /proc | grep -c '^[0-9]'"
    assert shell(bundle, script).split() == ["1", "runc", "lo", "3"]


@pytest.mark.parametrize("kind", ["pid", "net", "ipc", "uts", "mnt"])
def test_namespaces_are_new(bundle: Path, kind: str) -> None:
    """Each namespace of the default configuration is another one than the host's."""
    assert shell(bundle, f"readlink /proc/self/ns/{kind} || /bin/busybox readlink /proc/self/ns/{kind}") != os.readlink(
        f"/proc/self/ns/{kind}"
    )


def test_mounts_are_those_of_the_configuration(bundle: Path) -> None:
    """Every mount is there with its options, in order, and nothing of the host's shows."""
    lines = [line.split() for line in shell(bundle, "cat /proc/mounts").splitlines()]
    mounts = {fields[1]: (fields[2], set(fields[3].split(","))) for fields in lines}
    assert mounts["/proc"][0] == "proc"
    assert mounts["/dev"][0] == "tmpfs"
    assert {"nosuid", "mode=755", "size=65536k"} <= mounts["/dev"][1]
    assert {"nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"} <= mounts["/dev/pts"][1]
    assert {"nosuid", "noexec", "nodev", "size=65536k"} <= mounts["/dev/shm"][1]
    assert mounts["/dev/mqueue"][0] == "mqueue"
    assert {"ro", "nosuid", "noexec", "nodev"} <= mounts["/sys"][1]
    assert "ro" in mounts["/"][1]
    assert "ro" in mounts["/proc/sys"][1]
    assert str(bundle) not in "".join(mounts)


def test_masked_and_readonly_paths(bundle: Path) -> None:
    """A masked file reads as empty, a masked directory too, and read-only paths cannot be written to."""
    out = shell(
        bundle,
        "cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; "
        "(echo 1 > /proc/sys/kernel/sysrq) 2>/dev/null || echo refused",
    )
    assert out.split() == ["0", "0", "refused"]


def test_devices_and_links(bundle: Path) -> None:
    """The default devices are there with their numbers and rights, and so are the links."""
    out = shell(
        bundle,
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' $d; done; ls -l fd stdin ptmx",
    )
    assert "null 1:3 666" in out
    assert "full 1:7 666" in out
    assert "tty 5:0 666" in out
    assert "ptmx -> pts/ptmx" in out
    assert "fd -> /proc/self/fd" in out


def test_device_of_the_configuration(bundle: Path) -> None:
    """A device is made with its type, numbers, mode and owner, and parents that are missing."""
    device = LinuxDevice(path="/dev/deep/er/x", type="b", major=7, minor=300, file_mode=0o640, uid=3, gid=4)
    spec = with_linux(default_spec("stat", "-c", "%F %t:%T %a %u:%g", "/dev/deep/er/x"), devices=(device,))
    assert run_plan(bundle, spec).out.strip() == "block special file 7:12c 640 3:4"


def test_rights_of_the_process(bundle: Path) -> None:
    """Capabilities, bounding set, no_new_privs and umask are exactly the configured ones."""
    caps = ("CAP_KILL", "CAP_NET_RAW")
    sets = LinuxCapabilities(
        bounding=caps, effective=("CAP_KILL",), permitted=caps, inheritable=caps, ambient=("CAP_KILL",)
    )
    out = shell(
        bundle, "cat /proc/self/status", capabilities=sets, user=User(uid=7, gid=8, additional_gids=(9,), umask=0o37)
    )
    status = dict(line.split(":\t", 1) for line in out.splitlines() if ":\t" in line)
    kill, raw = 1 << 5, 1 << 13
    assert int(status["CapBnd"], 16) == kill | raw
    assert int(status["CapInh"], 16) == kill | raw
    assert int(status["CapAmb"], 16) == kill
    assert int(status["CapEff"], 16) == kill  # what an execve as an ordinary user leaves: the ambient set
    assert status["NoNewPrivs"] == "1"
    assert status["Umask"] == "0037"
    assert status["Uid"].split() == ["7"] * 4
    assert status["Gid"].split() == ["8"] * 4
    assert status["Groups"].split() == ["9"]


def test_limits_and_oom_score(bundle: Path) -> None:
    """Resource limits and the OOM score are the configured ones."""
    limits = (POSIXRlimit(type="RLIMIT_NOFILE", soft=64, hard=128), POSIXRlimit(type="RLIMIT_CORE", soft=0, hard=0))
    out = shell(
        bundle, "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj", rlimits=limits, oom_score_adj=321
    )
    assert out.split() == ["64", "128", "0", "321"]


def test_nothing_of_the_host_is_inherited(bundle: Path) -> None:
    """Of descriptors, environment, signal dispositions and keyring nothing comes along."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        out = shell(
            bundle, "ls /proc/self/fd; cat /proc/self/status; env; readlink /proc/self/exe", env=("PATH=/bin", "A=b")
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(reader)
        os.close(writer)
    lines = out.splitlines()
    assert lines[:4] == ["0", "1", "2", "3"]  # the fourth is the directory that ls reads
    assert "SigIgn:\t0000000000000000" in lines
    assert "SigBlk:\t0000000000000000" in lines
    assert {"PATH=/bin", "A=b"} <= set(lines)
    assert not [line for line in lines if line.startswith("LD_")]


def test_working_directory_is_made_and_entered(bundle: Path) -> None:
    """A working directory that is missing is made; one that only root may enter is entered all the same."""
    assert shell(bundle, "pwd", cwd="/some/where") == "/some/where"
    closed = bundle / "rootfs/closed"
    closed.mkdir(mode=0o700)
    assert shell(bundle, "pwd", cwd="/closed", user=User(uid=5, gid=5)) == "/closed"


def test_bind_mounts(bundle: Path) -> None:
    """Directories and files are bound, read-only when asked, and what is missing at the target is made."""
    source = bundle / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("content")
    mounts = (
        *MOUNTS,
        Mount(destination="/new/dir", source=str(source), type="bind", options=("rbind", "ro")),
        Mount(destination="/new/file", source="source/file", type="bind", options=("bind", "rw")),
    )
    script = "cat /new/dir/file /new/file; touch /new/dir/x 2>/dev/null || echo refused; echo more >> /new/file"
    ran = run_plan(bundle, default_spec("sh", "-c", script, mounts=mounts))
    assert ran == (0, "contentcontentrefused\n")
    assert (source / "file").read_text() == "contentmore\n"


def test_user_and_cgroup_namespaces_come_with_the_others(bundle: Path) -> None:
    """Ids are mapped, and the devices that nobody may make in a user namespace are the host's."""
    bundle.chmod(0o755)
    for parent in list(bundle.parents)[:3]:
        parent.chmod(0o755)
    os.chown(bundle / "rootfs", 100_000, 100_000)
    ids = (LinuxIDMapping(container_id=0, host_id=100_000, size=65_536),)
    spec = with_namespaces(
        default_spec("sh", "-c", "id -u; cat /proc/self/uid_map; stat -c %t:%T /dev/null"),
        "user",
        "cgroup",
        uid_mappings=ids,
        gid_mappings=ids,
    )
    words = run_plan(bundle, attrs.evolve(spec, root=Root(path="rootfs"))).out.split()
    assert words == ["0", "0", "100000", "65536", "1:3"]


def test_clocks_of_a_time_namespace(bundle: Path) -> None:
    """A time namespace has its clocks set off from the host's."""
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("no time namespaces")
    offsets = {"boottime": LinuxTimeOffset(secs=10_000_000), "monotonic": LinuxTimeOffset(secs=5)}
    spec = with_namespaces(
        default_spec("cat", "/proc/uptime", "/proc/self/timens_offsets"), "time", time_offsets=offsets
    )
    words = run_plan(bundle, spec).out.split()
    assert float(words[0]) > 10_000_000
    assert words[2:] == ["monotonic", "5", "0", "boottime", "10000000", "0"]


def test_sysctl_of_the_container(bundle: Path) -> None:
    """A kernel parameter is set in the container and nowhere else."""
    spec = with_linux(
        default_spec("cat", "/proc/sys/net/ipv4/ip_default_ttl"), sysctl={"net.ipv4.ip_default_ttl": "77"}
    )
    assert run_plan(bundle, spec).out.strip() == "77"


def test_joined_namespace_is_the_given_one(bundle: Path) -> None:
    """A namespace with a path is entered, not made: here the host's IPC and UTS."""
    spec = default_spec("sh", "-c", "readlink /proc/self/ns/uts || busybox readlink /proc/self/ns/uts")
    assert spec.linux is not None
    joined = tuple(
        LinuxNamespace(type=n.type, path="/proc/self/ns/uts") if n.type == "uts" else n for n in spec.linux.namespaces
    )
    spec = with_linux(attrs.evolve(spec, hostname=""), namespaces=joined)
    assert run_plan(bundle, spec).out.strip() == os.readlink("/proc/self/ns/uts")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"args": ("nosuch",)}, "find 'nosuch'"),
        ({"args": ("/bin",)}, "find '/bin'"),
        ({"cwd": "/bin/busybox/x"}, "/bin/busybox/x"),
    ],
)
def test_what_fails_says_what_and_where(bundle: Path, changes: dict[str, Any], words: str) -> None:
    """A step that fails is an error that names the step, the errno and the path."""
    spec = default_spec("true")
    assert spec.process is not None
    with pytest.raises(SetupError, match=words) as caught:
        run_plan(bundle, attrs.evolve(spec, process=attrs.evolve(spec.process, **changes)))
    assert caught.value.errno


def test_mount_errors_name_the_mount(bundle: Path) -> None:
    """A mount that fails says which one, and a bind without a source says which source."""
    for mount, words in (
        (Mount(destination="/x", type="nosuchfs", source="none"), "mount nosuchfs at /x"),
        (Mount(destination="/x", type="tmpfs", source="tmpfs", options=("size=nonsense",)), "mount tmpfs at /x"),
        (Mount(destination="/x", type="bind", source="/no/such/source"), "/no/such/source"),
    ):
        with pytest.raises(SetupError, match=words):
            run_plan(bundle, default_spec("true", mounts=(*MOUNTS, mount)))


def test_a_script_without_interpreter_fails_at_start(bundle: Path) -> None:
    """What only execve can find out comes back from start as an error."""
    script = bundle / "rootfs/bin/script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(SetupError, match="execute '/bin/script'"):
        run_plan(bundle, default_spec("/bin/script"))


def test_abandoned_init_ends(bundle: Path) -> None:
    """Leaving the block before commit kills and reaps init, at every stage."""
    plan = compile_plan(default_spec("true"), Surroundings(bundle=str(bundle)))
    fifo = bundle / "exec.fifo"
    os.mkfifo(fifo)
    fifo_fd = os.open(fifo, os.O_PATH)
    before = set(os.listdir("/proc/self/fd"))
    pids = []
    for wait in (False, True):
        with launch(plan, stdio=(0, 1, 2), passed={Slot.FIFO: fifo_fd}) as init:
            pids.append(init.pid)
            if wait:
                init.ready()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[1], 0)
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(fifo_fd)


def test_init_shows_nothing_of_the_host(bundle: Path) -> None:
    """While it waits for start, init executes a sealed memory file and cannot be looked into by its user."""
    plan = compile_plan(default_spec("true", user=User(uid=1234, gid=1234)), Surroundings(bundle=str(bundle)))
    fifo = bundle / "exec.fifo"
    os.mkfifo(fifo)
    fifo_fd = os.open(fifo, os.O_PATH)
    with launch(plan, stdio=(0, 1, 2), passed={Slot.FIFO: fifo_fd}) as init:
        init.ready()
        exe = f"/proc/{init.pid}/exe"
        assert os.readlink(exe).startswith("/memfd:ocikit-helper")
        assert os.stat(f"/proc/{init.pid}/status").st_uid == 0  # not dumpable: not the container user's
        with pytest.raises(OSError, match=r"Text file busy|not permitted"):
            os.open(exe, os.O_WRONLY)
        assert stat.S_ISREG(os.stat(exe).st_mode)
    os.close(fifo_fd)


def test_init_that_speaks_before_it_is_introduced(bundle: Path) -> None:
    """An init that fails at once may be faster than its helper: the error is still its own, and nobody stays behind."""
    around = Surroundings(bundle=str(bundle), cgroup_join=("/no/such/cgroup",))
    plan = compile_plan(default_spec("true"), around)
    fifo_fd = os.open("/dev/null", os.O_PATH)
    for _ in range(100):
        with (
            pytest.raises(SetupError, match="join cgroup at /no/such/cgroup"),
            launch(plan, stdio=(0, 1, 2), passed={Slot.FIFO: fifo_fd}) as init,
        ):
            init.ready()
    os.close(fifo_fd)
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
