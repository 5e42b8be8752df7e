"""Containers of a user without privileges, from the first to the last moment of their lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from rootless_calls import GIVEN, elsewhere, failure, output, ranges, spec_of

from ocikit import errors, runtime
from ocikit.runtime import user_maps as idmaps
from ocikit.runtime.host import rootless
from ocikit.spec import LinuxIDMapping, LinuxNamespace, Mount, Root

if TYPE_CHECKING:
    from as_user import User


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
    script = "id -u; id -g; id -G; cd /proc/self; cat uid_map gid_map setgroups; grep Cap status"
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
            with container.exec(["sh", "-c", "id -u; cat /proc/1/comm"], stdin="null", stdout="pipe") as further:
                assert further.stdout is not None
                found.append(further.stdout.read().decode().split())
                assert further.wait(30).exit_code == 0
            if container.status() == "created":
                container.start()
    return found


def test_the_user_may_enter(user: User, container_id: str) -> None:
    """Whoever made the container may look into it and enter it, before and after it is started."""
    assert user.call(enter, container_id) == [["0", "ocikit:init"], ["0", "sleep"]]


# ----------------------------------------------------------------------------------------------------------- ranges


def use_ranges(container_id: str) -> list[Any]:
    """Run as a user out of the range, with groups; return what it saw, and what it left."""
    script = "id -u; id -g; id -G; cd /proc/self; cat uid_map setgroups; echo out > /dev/stdout; echo x > /tmp/by"
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
    expression = f"t.failure({container_id!r}, t.spec_of(linux=t.ranges()))"
    return list(elsewhere(["setpriv", "--no-new-privs"], expression))


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


# ---------------------------------------------------------------------------------------------------- runc on one root


def use_runc(container_id: str) -> dict[str, Any]:
    """Let runc use a container of ours, and use one of runc's."""
    seen: dict[str, Any] = {}

    def runc(*arguments: str) -> str:
        log = Path.home() / "runc.log"
        with log.open("w") as file:
            done = subprocess.run(["runc", *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
        assert done.returncode == 0, log.read_text()
        return log.read_text()

    bundle = Path.home() / "bundle"
    (bundle / "config.json").write_bytes(spec_of().to_json())
    with runtime.create(None, container_id, bundle, stdin="null") as container:
        seen["listed"] = container_id in runc("list")
        runc("start", container_id)
        seen["started"] = container.status()
        seen["executed"] = runc("exec", container_id, "id", "-u").strip()
        runc("kill", container_id, "KILL")
        container.wait(30)
        runc("delete", container_id)
    seen["deleted"] = not Path(runtime.default_root(), container_id).exists()
    runc("create", "--bundle", str(bundle), container_id)
    theirs = runtime.load(None, container_id)
    seen["theirs"] = theirs.status()
    theirs.start()
    theirs.signal(signal.SIGKILL)
    theirs.wait(30)
    theirs.destroy()
    seen["destroyed"] = not Path(runtime.default_root(), container_id).exists()
    (bundle / "config.json").unlink()
    return seen


def test_runc_of_the_same_user(user: User, container_id: str) -> None:
    """One state root, both ways: runc lists, starts, enters, kills and deletes ours, and we do that to runc's."""
    seen = user.call(use_runc, container_id)
    assert seen["listed"]
    assert seen["started"] == "running"
    assert seen["executed"] == "0"
    assert seen["deleted"]
    assert seen["theirs"] == "created"
    assert seen["destroyed"]


def under_apparmor(container_id: str) -> list[str]:
    """Fail where AppArmor is said to keep users from what they do in their namespaces."""
    place = Path.home() / "sysctl/kernel"
    place.mkdir(parents=True)
    (place / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    rootless._SYSCTLS = str(place.parent)  # type: ignore[misc]
    return failure(container_id, spec_of(oom_score_adj=-500))


def test_what_may_have_been_the_reason(user: User, container_id: str) -> None:
    """A refusal names the kernel parameter by which a host is known to refuse, as a possible reason."""
    kind, text = user.call(under_apparmor, container_id)
    assert kind == "SetupError"
    assert (
        "CAP_SYS_RESOURCE; perhaps because the kernel parameter kernel.apparmor_restrict_unprivileged_userns is 1"
        in text
    )
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in text


def ignore_children(container_id: str) -> str:
    """Use ranges in a process that lets the kernel reap its children."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with runtime.create(None, container_id, Path.home() / "bundle", spec=spec_of(linux=ranges()), stdin="null") as one:
        return Path(f"/proc/{one.pid}/uid_map").read_text()


def test_a_host_that_ignores_its_children(user: User, container_id: str) -> None:
    """Whether newuidmap has done its work is not told by an exit code that may be lost."""
    assert len(user.call(ignore_children, container_id).splitlines()) == 2


def share_pids(container_id: str) -> list[str]:
    """Share the pids of the host, whose procfs is bound."""
    spec = spec_of("sh", "-c", "readlink /proc/self/ns/pid; id -u")
    assert spec.linux is not None
    kept = tuple(one for one in spec.linux.namespaces if one.type != "pid")
    proc = Mount(destination="/proc", type="none", source="/proc", options=("rbind",))
    mounts = (proc, *(one for one in spec.mounts if one.destination != "/proc"))
    printed = output(container_id, attrs.evolve(spec.with_linux(namespaces=kept), mounts=mounts))
    return [*printed.split(), os.readlink("/proc/self/ns/pid")]


def test_the_pids_of_the_host(user: User, container_id: str) -> None:
    """Without a pid namespace of its own, no procfs can be mounted for the container; the host's is bound."""
    inside, uid, outside = user.call(share_pids, container_id)
    assert inside == outside
    assert uid == "0"
