"""Containers of a user without privileges, from the first to the last moment of their lives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from as_user import User

from ocikit import errors, runtime
from ocikit.runtime import idmaps
from ocikit.spec import (
    LinuxIDMapping,
    LinuxNamespace,
    Mount,
    Root,
    Spec,
    rootless,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIVEN = (700_000, 10_000)
UNIFIED = "/sys/fs/cgroup" if Path("/sys/fs/cgroup/cgroup.procs").exists() else "/sys/fs/cgroup/unified"
V2_ONLY = UNIFIED == "/sys/fs/cgroup"


@pytest.fixture(scope="module")
def user(new_id: Callable[[], str]) -> Iterator[User]:
    """Give a user without privileges, who was given some ids."""
    home = Path(tempfile.mkdtemp(prefix=f"{new_id()}-"))
    try:
        yield User(home, given=GIVEN).make()
    finally:
        shutil.rmtree(home)


# ----------------------------------------------------------------------------------------------- called as the user


def spec_of(*args: str, linux: dict[str, Any] | None = None, **process: Any) -> Spec:
    """Return a configuration for this user, with the root file system in its home."""
    spec = rootless(Spec.default(cgroup_namespace=V2_ONLY))
    assert spec.process is not None
    assert spec.process.capabilities is not None
    capabilities = attrs.evolve(spec.process.capabilities, ambient=())
    spec = spec.with_process(
        **({"args": args or ("sleep", "1000"), "terminal": False, "capabilities": capabilities} | process)
    )
    root = Root(path=str(Path.home() / "rootfs"), readonly=True)
    return attrs.evolve(spec.with_linux(**(linux or {})), root=root)


def ranges() -> dict[str, Any]:
    """Return the mappings of all that this user has: itself as root, and what it was given."""
    rest = LinuxIDMapping(container_id=1, host_id=GIVEN[0], size=GIVEN[1])
    return {
        name: (LinuxIDMapping(container_id=0, host_id=own, size=1), rest)
        for name, own in (("uid_mappings", os.getuid()), ("gid_mappings", os.getgid()))
    }


def output(container_id: str, spec: Spec, **options: Any) -> str:
    """Run a container in the state root of this user, and return what it printed."""
    done = runtime.run(None, container_id, Path.home() / "bundle", spec=spec, **options)
    assert done.exit_code == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


def failure(container_id: str, spec: Spec) -> list[str]:
    """Try to create a container; return what kind of error that is, and its text."""
    try:
        with runtime.create(None, container_id, Path.home() / "bundle", spec=spec):
            return []
    except errors.OCIKitError as error:
        assert not Path(runtime.default_root(), container_id).exists()
        return [type(error).__name__, str(error)]


def elsewhere(prefix: list[str], expression: str) -> Any:
    """Evaluate an expression, in which this module is ``t``, in a process that a command starts."""
    program = f"import json, test_rootless as t; print(json.dumps({expression}))"
    done = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --------------------------------------------------------------------------------------------------------- the life


def live(container_id: str) -> dict[str, Any]:
    """Do everything with a container that can be done with one."""
    seen: dict[str, Any] = {"root": runtime.default_root()}
    with runtime.create(None, container_id, Path.home() / "bundle", spec=spec_of(), stdin="null") as container:
        seen["state"] = json.loads(Path(runtime.default_root(), container_id, "state.json").read_bytes())
        seen["created"] = [container.status(), [one.id for one in runtime.list_containers()]]
        container.start()
        seen["running"] = [container.status(), runtime.load(None, container_id).pid == container.pid]
        seen["owner"] = Path(f"/proc/{container.pid}").stat().st_uid
        container.signal(signal.SIGKILL)
        seen["ended"] = [container.wait(30).signal, container.status()]
    seen["left"] = os.listdir(runtime.default_root())
    with pytest.raises(errors.NotExistError):
        runtime.load(None, container_id)
    return seen


def test_a_life(user: User, container_id: str) -> None:
    """It is created, listed, loaded, started, killed, waited for and destroyed, in the user's own state root."""
    seen = user.call(live, container_id)
    assert seen["root"] == f"{user.home}/run/runc"
    assert seen["created"] == ["created", [container_id]]
    assert seen["running"] == ["running", True]
    assert seen["owner"] == user.uid
    assert seen["ended"] == [signal.SIGKILL, "stopped"]
    assert seen["left"] == []
    state = seen["state"]
    assert state["rootless"] is state["config"]["rootless_euid"] is state["config"]["rootless_cgroups"] is True
    assert state["config"]["uid_mappings"] == [{"container_id": 0, "host_id": user.uid, "size": 1}]
    assert state["config"]["gid_mappings"] == [{"container_id": 0, "host_id": user.gid, "size": 1}]


def look_around(container_id: str) -> str:
    """Print who and where a program is."""
    script = "id -u; id -g; id -G; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; grep Cap /proc/self/status"
    return output(container_id, spec_of("sh", "-c", script))


def test_root_is_the_user(user: User, container_id: str) -> None:
    """Root of the container is the user who made it, alone, without its groups, and with the rights it was to have."""
    lines = user.call(look_around, container_id).splitlines()
    assert lines[:3] == ["0", "0", "0"]
    assert [line.split() for line in lines[3:5]] == [["0", str(user.uid), "1"], ["0", str(user.gid), "1"]]
    assert lines[5] == "deny"
    sets = dict(line.split(":\t") for line in lines[6:])
    expected = 1 << 5 | 1 << 10 | 1 << 29  # KILL, NET_BIND_SERVICE, AUDIT_WRITE
    assert {int(sets[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {expected}
    assert {int(sets[name], 16) for name in ("CapInh", "CapAmb")} == {0}


def write_into_root(container_id: str) -> list[int]:
    """Write a file into the root file system; return who owns it on the host."""
    spec = spec_of("sh", "-c", "echo x > /tmp/written; cat /tmp/written > /dev/null; test -O /tmp/written")
    output(container_id, attrs.evolve(spec, root=Root(path=str(Path.home() / "rootfs"))))
    found = (Path.home() / "rootfs/tmp/written").stat()
    (Path.home() / "rootfs/tmp/written").unlink()
    return [found.st_uid, found.st_gid]


def test_files_belong_to_the_user(user: User, container_id: str) -> None:
    """What root of the container writes, the user owns."""
    assert user.call(write_into_root, container_id) == [user.uid, user.gid]


def enter(container_id: str) -> list[Any]:
    """Execute further programs in a container that was created, and in one that runs."""
    found: list[Any] = []
    with runtime.create(None, container_id, Path.home() / "bundle", spec=spec_of(), stdin="null") as container:
        for _ in range(2):
            done = subprocess.run(
                ["nsenter", "--target", str(container.pid), "--user", "--preserve-credentials", "--mount", "id", "-u"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            found.append(done.stdout + done.stderr)
            if container.status() == "created":
                container.start()
    return found


def test_the_user_may_enter(user: User, container_id: str) -> None:
    """Whoever made the container may look into it and enter it, before and after it is started."""
    assert user.call(enter, container_id) == ["0\n", "0\n"]


# ----------------------------------------------------------------------------------------------------------- ranges


def use_ranges(container_id: str) -> list[Any]:
    """Run as a user out of the range, with groups; return what it saw, and what it left."""
    script = "id -u; id -g; id -G; cat /proc/self/uid_map; cat /proc/self/setgroups; echo out > /dev/stdout; echo x > /tmp/by"
    spec = spec_of("sh", "-c", script, linux=ranges())
    assert spec.process is not None
    spec = spec.with_process(user=attrs.evolve(spec.process.user, uid=1000, gid=1001, additional_gids=(5, 6)))
    spec = attrs.evolve(spec, root=Root(path=str(Path.home() / "rootfs")))
    (Path.home() / "rootfs/tmp").chmod(0o1777)
    text = output(container_id, spec)
    found = (Path.home() / "rootfs/tmp/by").stat()
    (Path.home() / "rootfs/tmp/by").unlink()
    return [text, found.st_uid, found.st_gid]


def test_ranges_that_root_has_given(user: User, container_id: str) -> None:
    """With ids of /etc/subuid and /etc/subgid, a container has users, who may be in groups, and own what they write."""
    text, uid, gid = user.call(use_ranges, container_id)
    lines = text.splitlines()
    assert lines[:3] == ["1000", "1001", "1001 5 6"]
    assert [line.split() for line in lines[3:5]] == [["0", str(user.uid), "1"], ["1", str(GIVEN[0]), str(GIVEN[1])]]
    assert lines[5:] == ["allow", "out"]
    assert (uid, gid) == (GIVEN[0] + 999, GIVEN[0] + 1000)


def ask_for_more(container_id: str) -> list[list[str]]:
    """Ask for ids that were not given, with and without the programs that map ranges."""
    more = ranges()
    more["gid_mappings"] = (more["gid_mappings"][0], attrs.evolve(more["gid_mappings"][1], size=GIVEN[1] + 1))
    refused = [failure(container_id, spec_of(linux=more))]
    idmaps._WHERE_TOOLS_ARE = "/nowhere"  # type: ignore[misc]
    refused.append(failure(container_id, spec_of(linux=ranges())))
    return refused


def test_ranges_that_nobody_has_given(user: User, container_id: str) -> None:
    """The error names the file, the user and the ids; without newuidmap it names that."""
    given, installed = user.call(ask_for_more, container_id)
    assert given[0] == "SetupError"
    assert "/etc/subgid" in given[1]
    assert f"user {user.name} has not been given the {GIVEN[1] + 1} ids from {GIVEN[0]} on" in given[1]
    assert installed[0] == "MissingDependencyError"
    assert "newuidmap" in installed[1]


def give_up_privileges(container_id: str) -> list[str]:
    """Have no use for set-uid programs, and ask for ranges."""
    return elsewhere(["setpriv", "--no-new-privs"], f"t.failure({container_id!r}, t.spec_of(linux=t.ranges()))")


def test_who_has_given_up_privileges_is_told(user: User, container_id: str) -> None:
    """What newuidmap says comes with the reason, which it does not know."""
    kind, text = user.call(give_up_privileges, container_id)
    assert kind == "SetupError"
    assert "/newgidmap" in text
    assert "no_new_privs" in text


# ---------------------------------------------------------------------------------------------------------- refused


def ask_too_much(container_id: str) -> dict[str, list[str]]:
    """Ask for what a user without privileges cannot have."""
    groups = spec_of()
    assert groups.process is not None
    groups = groups.with_process(user=attrs.evolve(groups.process.user, additional_gids=(0,)))
    other = LinuxIDMapping(container_id=0, host_id=0, size=1)
    alone = {"namespaces": (LinuxNamespace(type="mount"),), "uid_mappings": (), "gid_mappings": ()}
    return {
        "no user namespace": failure(container_id, attrs.evolve(spec_of(linux=alone), hostname="")),
        "groups": failure(container_id, groups),
        "score": failure(container_id, spec_of(oom_score_adj=-500)),
        "root": failure(container_id, spec_of(linux={"uid_mappings": (other,)})),
        "sysfs": failure(
            container_id,
            attrs.evolve(spec_of(), mounts=(Mount(destination="/sys", type="sysfs", source="sysfs"),)),
        ),
    }


REFUSED = {
    "no user namespace": ("ValidationError", "user 54321 has no rights to make these without a user namespace"),
    "groups": ("ValidationError", "remove them, or map a range of /etc/subgid"),
    "score": ("SetupError", "lowering it below the caller's takes CAP_SYS_RESOURCE"),
    "root": ("SetupError", "has not been given the 1 ids from 0 on"),
    "sysfs": ("ValidationError", "sysfs takes a network namespace of the container's own"),
}


def test_what_cannot_be_had(user: User, container_id: str) -> None:
    """Each refusal says what it is, and what to do instead."""
    found = user.call(ask_too_much, container_id)
    assert found.keys() == REFUSED.keys()
    for name, (kind, text) in REFUSED.items():
        assert (name, found[name][0]) == (name, kind)
        assert text in found[name][1]


def without_user_namespaces(container_id: str) -> str:
    """Create a container where the kernel allows no more user namespaces."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    return " ".join(elsewhere(prefix, f"t.failure({container_id!r}, t.spec_of())"))


def test_a_host_that_forbids_user_namespaces(user: User, container_id: str) -> None:
    """The kernel parameter that has to change is named, before anything is made."""
    text = user.call(without_user_namespaces, container_id)
    assert text.startswith("NotSupportedError")
    assert "user.max_user_namespaces is 0; change it (as root: sysctl -w user.max_user_namespaces=" in text
