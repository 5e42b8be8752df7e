"""What is not for everybody: other users of this host, and the switches of the host that cgroups have."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attacking import add_program
from launching import make_rootfs

from ocikit import runtime
from ocikit.errors import OCIKitError, SetupError, StateError
from ocikit.runtime.host.listener import refuse_stranger
from ocikit.spec import LinuxIDMapping, LinuxNamespace, LinuxSeccomp, LinuxSyscall, Mount, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}

STRANGER = 54_321


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that everybody may write to, and let everybody come to it."""
    parents = [tmp_path, *tmp_path.parents][:3]
    modes = [parent.stat().st_mode for parent in parents]
    for parent in parents:
        parent.chmod(parent.stat().st_mode | 0o011)
    place = tmp_path / "public"
    place.mkdir()
    place.chmod(0o1777)
    yield place
    for parent, mode in zip(parents, modes, strict=True):
        parent.chmod(mode)


def as_stranger(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of the host as somebody else."""
    return subprocess.run(
        list(map(str, command)), user=STRANGER, group=STRANGER, extra_groups=[], capture_output=True, text=True,
        check=False, timeout=60, **options,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ files of ours


def test_states_are_ours(public: Path, bundle: Path, container_id: str) -> None:
    """Nobody else finds out what containers there are, reads their states, or starts one."""
    root = public / "state"
    with runtime.create(root, container_id, bundle, **QUIET) as container:
        path = root / container_id
        for command in (
            ("ls", root), ("ls", path), ("cat", path / "state.json"), ("cat", path / "ocikit.json"),
            ("dd", f"if={path}/exec.fifo", "count=1"), ("dd", "if=/dev/zero", f"of={path}/exec.fifo", "count=1"),
            ("rm", "-f", path / "state.json"), ("kill", "-9", str(container.pid)),
        ):  # fmt: skip
            done = as_stranger("/bin/busybox", *command)
            assert done.returncode != 0, command
            assert done.stdout == "", command
        assert container.status() is runtime.Status.CREATED
        assert [stat.S_IMODE(one.stat().st_mode) for one in (root, path / "state.json")] == [0o700, 0o600]


def test_roots_of_others(public: Path, bundle: Path, container_id: str) -> None:
    """A state root that somebody else was faster to make is not used."""
    root = public / "state"
    assert as_stranger("mkdir", "-m", "755", root).returncode == 0
    with pytest.raises(StateError, match=f"belongs to user {STRANGER}"):
        runtime.create(root, container_id, bundle, **QUIET)
    assert os.listdir(root) == []
    root.rmdir()
    (public / "link").symlink_to("/")
    with pytest.raises(OCIKitError):
        runtime.load(public / "link" / "nothing", container_id)


# ----------------------------------------------------------------------------------------------------- listeners


@contextlib.contextmanager
def listening(path: Path, user: int) -> Iterator[socket.socket]:
    """Listen at a path, as some user."""
    with socket.socket(socket.AF_UNIX) as listener:
        os.seteuid(user)
        try:
            listener.bind(str(path))
            listener.listen()
        finally:
            os.seteuid(0)
        yield listener


def taken(listener: socket.socket) -> int:
    """Return how many descriptors came by the next connection."""
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
    for fd in fds:
        os.close(fd)
    return len(fds)


def with_terminal(spec: Spec, path: Path) -> tuple[Spec, runtime.CreateOptions]:
    """Ask for a terminal."""
    return spec.with_process(terminal=True), runtime.CreateOptions(console_socket=str(path))


def with_agent(spec: Spec, path: Path) -> tuple[Spec, runtime.CreateOptions]:
    """Ask for an agent of the filter."""
    calls = (LinuxSyscall(names=("acct",), action="SCMP_ACT_NOTIFY"),)
    seccomp = LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=calls, listener_path=str(path))
    return spec.with_linux(seccomp=seccomp), runtime.CreateOptions()


@pytest.mark.parametrize("ask", [with_terminal, with_agent])
def test_who_was_faster_to_listen(
    root: Path, make_spec: Callable[..., Spec], new_id: Callable[[], str], public: Path, ask: Any
) -> None:
    """A socket that somebody else put where everybody may put one gets nothing; one in a directory of his own does."""
    streams = {} if ask is with_terminal else QUIET
    spec, options = ask(make_spec("true"), public / "socket")
    with listening(public / "socket", STRANGER) as stranger:
        with pytest.raises(SetupError, match=f"user {STRANGER} listens there"):
            runtime.create(root, new_id(), public, spec=spec, options=options, **streams)
        assert taken(stranger) == 0
    assert not root.exists() or os.listdir(root) == []
    (public / "own").mkdir()
    os.chown(public / "own", STRANGER, STRANGER)
    spec, options = ask(make_spec("true"), public / "own/socket")
    with (
        listening(public / "own/socket", STRANGER) as chosen,
        runtime.create(root, new_id(), public, spec=spec, options=options, **streams),
    ):
        assert taken(chosen) == 1


def test_listeners_that_are_meant(public: Path) -> None:
    """Those of root, of this user, and of the owner of the directory are meant, wherever they are."""
    for owner in (0, STRANGER):
        path = public / f"socket{owner}"
        os.chown(public, owner, owner)
        with listening(path, owner), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            refuse_stranger(connection, str(path), "try")


# ------------------------------------------------------------------------------------------------------- cgroups

#: Mounts every v1 hierarchy, as itself and as root of a user namespace, and writes to what the host would execute
#: (CVE-2022-0492), and to what hands devices out.
_RELEASER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int found(const char *path, const struct stat *about, int type, struct FTW *where)
{
	const char *name = path + where->base;
	int fd;

	int agent = !strcmp(name, "release_agent");

	if (!agent && strcmp(name, "devices.allow"))
		return 0;
	fd = open(path, O_WRONLY);
	if (fd >= 0 && write(fd, agent ? "/evil" : "a", agent ? 5 : 1) > 0)
		printf("written %s\n", path);
	close(fd);
	return 0;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	write(fd, text, strlen(text));
	close(fd);
}

static void try(void)
{
	static const char *names[] = {
		"memory", "pids", "cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio", "rdma", "net_cls", "perf_event",
		"hugetlb", "misc", "none,name=systemd", "none,name=new",
	};
	char place[64];

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(place, sizeof(place), "/dev/shm/%u", i);
		mkdir(place, 0755);
		mount("none", place, "cgroup", 0, names[i]);
	}
	mkdir("/dev/shm/v2", 0755);
	mount("none", "/dev/shm/v2", "cgroup2", 0, NULL);
	mount(NULL, "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND, NULL);
	nftw("/sys/fs/cgroup", found, 20, FTW_PHYS);
	nftw("/dev/shm", found, 20, FTW_PHYS);
}

int main(void)
{
	try();
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) == 0) {
		put("/proc/self/setgroups", "deny");
		put("/proc/self/uid_map", "0 0 1");
		put("/proc/self/gid_map", "0 0 1");
		try();
	}
	printf("tried\n");
	return 0;
}
"""

KINDS: dict[str, tuple[str, ...]] = {
    "as the default is": (),
    "with a cgroup namespace": ("cgroup",),
    "with users of its own": ("user",),
    "with both": ("cgroup", "user"),
}
MAPPED = {
    name: (LinuxIDMapping(container_id=0, host_id=300_000, size=65_536),) for name in ("uid_mappings", "gid_mappings")
}


@pytest.mark.parametrize("kind", KINDS)
def test_switches_of_the_host(
    kind: str, root: Path, make_spec: Callable[..., Spec], container_id: str, public: Path
) -> None:
    """Nothing that the host executes, and no device, is had through cgroups (CVE-2022-0492)."""
    rootfs = make_rootfs(public / "rootfs")
    for name in ("dev", "proc", "sys"):
        (rootfs / name).mkdir()
    add_program(rootfs / "bin", "releaser", _RELEASER)
    spec = make_spec("releaser")
    assert spec.linux is not None
    more = tuple(LinuxNamespace(type=one) for one in KINDS[kind] if one not in {n.type for n in spec.linux.namespaces})
    spec = spec.with_linux(namespaces=(*spec.linux.namespaces, *more), **(MAPPED if "user" in KINDS[kind] else {}))
    if not any(mount.type == "cgroup" for mount in spec.mounts):
        shown = Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=("ro",))
        spec = attrs.evolve(spec, mounts=(*spec.mounts, shown))
    spec = attrs.evolve(spec, root=Root(path=str(rootfs), readonly=True))
    before = agents()
    done = runtime.run(root, container_id, public, spec=spec, timeout=60)
    assert done.stdout == b"tried\n", done
    assert agents() == before


def agents() -> dict[str, str]:
    """Return what this host executes when a cgroup is empty."""
    return {str(path): path.read_text() for path in Path("/sys/fs/cgroup").glob("*/release_agent")}
