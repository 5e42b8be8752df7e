"""Mounts that show files with other owners: which mappings there are, and what files look like from inside."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from launching import run_plan
from mounting import IDS, bind, make_open_bundle, mounted, tmpfs, with_users

from ocikit import runtime
from ocikit.errors import SetupError, UnsupportedFieldError, ValidationError
from ocikit.runtime.idmap import owners_of
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.runtime.plan.mount_options import parse
from ocikit.runtime.plan.steps import Owners
from ocikit.spec import Linux, LinuxIDMapping, LinuxNamespace, Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocikit.spec import Spec

SHOW = "stat -c %u:%g"
USERS = Linux(namespaces=(LinuxNamespace(type="user"),), uid_mappings=IDS, gid_mappings=IDS)


def ids(*triples: tuple[int, int, int]) -> tuple[LinuxIDMapping, ...]:
    """Return mappings: id in the file system, id on the host, how many."""
    return tuple(LinuxIDMapping(container_id=a, host_id=b, size=c) for a, b, c in triples)


def mapped(mount: Mount, uids: tuple[LinuxIDMapping, ...], gids: tuple[LinuxIDMapping, ...] | None = None) -> Mount:
    """Return a mount with mappings, the same ones for groups unless others are given."""
    return Mount(
        destination=mount.destination,
        source=mount.source,
        type=mount.type,
        options=mount.options,
        uid_mappings=uids,
        gid_mappings=uids if gids is None else gids,
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox that the root of a user namespace may enter."""
    return make_open_bundle(tmp_path / "bundle")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files of the users 0, 7 and 500, with the groups 0, 8 and 600."""
    top = tmp_path / "files"
    top.mkdir()
    for name, uid, gid in (("root", 0, 0), ("seven", 7, 8), ("far", 500, 600)):
        (top / name).write_text(name)
        os.chown(top / name, uid, gid)
    return top


@pytest.fixture
def below(files: Path) -> Iterator[Path]:
    """A mount in the directory of the files, of the directory itself."""
    place = files / "below"
    place.mkdir()
    subprocess.run(["mount", "--bind", files, place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def owners(bundle: Path, spec: Spec) -> list[str]:
    """Run a container that shows owners; return them."""
    ran = run_plan(bundle, spec)
    assert ran.code == 0, ran.out
    return ran.out.split()


def test_owners_without_a_user_namespace(bundle: Path, files: Path) -> None:
    """Users of the file system are those of the host that the mapping says; the others are nobody."""
    mount = mapped(bind(files, "/at"), ids((0, 1000, 1), (7, 2007, 2)), ids((0, 3000, 1), (8, 4008, 1)))
    script = f"{SHOW} /at/root /at/seven /at/far"
    assert owners(bundle, mounted(mount, script=script)) == ["1000:3000", "2007:4008", "65534:65534"]


def test_owners_in_a_user_namespace(bundle: Path, files: Path) -> None:
    """The mapping of the mount is to ids of the host, and that of the container back from there."""
    mount = mapped(bind(files, "/at"), ids((0, 100_000, 1), (7, 100_100, 1)), ids((0, 100_000, 65_536)))
    script = f"{SHOW} /at/root /at/seven /at/far"
    assert owners(bundle, with_users(mounted(mount, script=script))) == ["0:0", "100:8", "65534:600"]


@pytest.mark.parametrize("users", [False, True])
def test_writing_through_the_mapping(bundle: Path, files: Path, *, users: bool) -> None:
    """What the container's user makes belongs to the user of the file system that it is shown as."""
    mount = mapped(bind(files, "/at"), ids((0, 100_000, 65_536)) if users else ids((0, 0, 1), (7, 1000, 1)))
    spec = mounted(mount, script="touch /at/new && stat -c %u:%g /at/new")
    assert owners(bundle, with_users(spec) if users else spec) == ["0:0"]
    assert (files / "new").stat().st_uid == 0


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize(
    ("options", "shown_below"),
    [(("rbind",), False), (("rbind", "idmap"), False), (("rbind", "ridmap"), True)],
)
def test_mounts_below(bundle: Path, below: Path, options: tuple[str, ...], *, shown_below: bool, users: bool) -> None:
    """Mounts below are shown with other owners only if that is asked for."""
    mount = mapped(bind(below.parent, "/at", *options), ids((0, 100_000, 65_536)))
    spec = mounted(mount, script=f"{SHOW} /at/seven /at/below/seven")
    top, other = ("7:8", "65534:65534") if users else ("100007:100008", "7:8")
    expected = [top, top if shown_below else other]
    assert owners(bundle, with_users(spec) if users else spec) == expected


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_the_mapping_of_the_container(bundle: Path, files: Path, option: str) -> None:
    """Without mappings of its own a mount has those of the container: files have the owners they have on the host."""
    spec = with_users(mounted(bind(files, "/at", "rbind", option), script=f"{SHOW} /at/root /at/seven /at/far"))
    assert owners(bundle, spec) == ["0:0", "7:8", "500:600"]


def test_the_mapping_of_a_namespace_that_is_joined(
    bundle: Path, files: Path, root: Path, new_id: Callable[[], str]
) -> None:
    """A container that joins a user namespace has its files mapped as there."""
    with runtime.create(root, new_id(), bundle, spec=with_users(mounted(script="sleep 1000"))) as first:
        first.start()
        joined = mounted(bind(files, "/at", "idmap"), script=f"{SHOW} /at/seven")
        assert joined.linux is not None
        kinds = tuple(one for one in joined.linux.namespaces if one.type not in {"user", "pid"})
        user = LinuxNamespace(type="user", path=f"/proc/{first.pid}/ns/user")
        spec = joined.with_linux(namespaces=(*kinds, LinuxNamespace(type="pid"), user))
        done = runtime.run(root, new_id(), bundle, spec=spec)
    assert (done.stdout, done.exit_code) == (b"7:8\n", 0)


def test_mappings_in_the_words_of_crun(bundle: Path, files: Path) -> None:
    """The mapping of a mount may stand in its option, in numbers of the host or of the container."""
    script = f"{SHOW} /at/seven"
    plain = bind(files, "/at", "idmap=uids=7-300-1;gids=8-400-1")
    assert owners(bundle, mounted(plain, script=script)) == ["300:400"]
    of_container = bind(files, "/at", "idmap=uids=@7-300-1;gids=@8-400-1#0-0-1")
    assert owners(bundle, with_users(mounted(of_container, script=script))) == ["300:400"]


@pytest.mark.parametrize("users", [False, True])
def test_owners_in_a_new_file_system(bundle: Path, *, users: bool) -> None:
    """A tmpfs can be shown with other owners, too."""
    mount = mapped(tmpfs("/at", "uid=5,gid=6,mode=755"), ids((0, 100_000, 65_536)))
    spec = mounted(mount, script=f"{SHOW} /at")
    assert owners(bundle, with_users(spec) if users else spec) == ["5:6" if users else "100005:100006"]


def test_many_mounts_share_their_namespaces(bundle: Path, files: Path) -> None:
    """Equal mappings take one user namespace, however many mounts have them; no descriptor remains."""
    one, other = ids((7, 1000, 1)), ids((7, 2000, 1))
    mounts = [mapped(bind(files, f"/at{n}"), one if n % 2 else other) for n in range(20)]
    spec = mounted(*mounts, script="stat -c %u /at*/seven | uniq -c | wc -l; ls /proc/self/fd | wc -l")
    plan = compile_plan(spec, Surroundings(bundle=str(bundle)))
    assert plan.mount_owners == (Owners(((7, 2000, 1),), ((7, 2000, 1),)), Owners(((7, 1000, 1),), ((7, 1000, 1),)))
    before = len(os.listdir("/proc/self/fd"))
    ran = run_plan(bundle, spec)
    assert ran.out.split()[-1] == "4"
    assert len(os.listdir("/proc/self/fd")) == before


def test_sources_in_the_container(bundle: Path, files: Path) -> None:
    """What an earlier entry mounted in the root can be shown with other owners, also in a user namespace."""
    mounts = (bind(files, "/a"), mapped(bind(bundle / "rootfs/a", "/b"), ids((0, 100_000, 65_536))))
    assert owners(bundle, with_users(mounted(*mounts, script=f"{SHOW} /b/seven"))) == ["7:8"]


def test_file_systems_without_mapped_owners(bundle: Path) -> None:
    """A file system that cannot map owners is an error that says so."""
    with pytest.raises(
        SetupError, match=r"map owners \(\$\.mounts\[6\]\) at /at: Invalid argument.*does its file system know"
    ):
        run_plan(bundle, mounted(mapped(bind("/proc", "/at"), ids((0, 1, 1)))))


def test_state_has_the_mapping(bundle: Path, files: Path, root: Path, container_id: str) -> None:
    """The state has what runc would have written into it."""
    mounts = (
        mapped(bind(files, "/a", "rbind", "ridmap", "rro", "dev"), ids((7, 1000, 1))),
        tmpfs("/b", "tmpcopyup", "size=1m", "rslave"),
    )
    with runtime.create(root, container_id, bundle, spec=mounted(*mounts, script="true")):
        state = json.loads((root / container_id / "state.json").read_text())
    first, second = state["config"]["mounts"][-2:]
    line = [{"container_id": 7, "host_id": 1000, "size": 1}]
    assert first["id_mapping"] == {"recursive": True, "uid_mappings": line, "gid_mappings": line}
    assert first["rec_attr"] == {"Attr_set": 1, "Attr_clr": 0, "Propagation": 0, "Userns_fd": 0}
    assert (first["device"], first["flags"], first["cleared_flags"]) == ("bind", 1 << 12 | 1 << 14, 4)
    assert (second["extensions"], second["data"], second["propagation_flags"]) == (1, "size=1m", [1 << 19 | 1 << 14])


# What mappings say.


def find(mount: Mount, linux: Linux) -> Owners | None:
    """Return what a mount is shown with."""
    return owners_of(mount, parse(mount.options, "$.mounts[0].options"), linux, "$.mounts[0]")


def test_mounts_without_mappings() -> None:
    """Nothing is mapped that nobody asked for."""
    assert find(bind("/a", "/b"), USERS) is None


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("idmap=uids=0-1-1", "gidMappings: expected 1 to 340"),
        ("idmap=users=0-1-1", "expected idmap=uids=…;gids=…, found 'users=0-1-1'"),
        ("idmap=uids=0-1;gids=0-1-1", "expected three numbers with '-' between them, found '0-1'"),
        ("idmap=uids=0-x-1;gids=0-1-1", "expected three numbers"),
        ("idmap=uids=0-4294967296-1;gids=0-1-1", "an id is at most 4294967295"),
        ("idmap=uids=@0-65536-1;gids=0-1-1", "the container's user namespace has no id 65536"),
    ],
)
def test_mappings_that_cannot_be_read(option: str, text: str) -> None:
    """What stands after the option is told, with the place of the mount."""
    with pytest.raises(ValidationError) as caught:
        find(bind("/a", "/b", option), USERS)
    assert text in str(caught.value)
    assert "$.mounts[0]" in str(caught.value)


REFUSED: dict[str, tuple[Any, type[Exception]]] = {
    "no mapping anywhere": (bind("/tmp", "/at", "idmap=uids=;gids="), ValidationError),
    "cgroups": (mapped(Mount(destination="/at", type="cgroup"), IDS), UnsupportedFieldError),
    "too many": (mapped(bind("/tmp", "/at"), ids(*((n, n, 1) for n in range(341)))), ValidationError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mapped_is_refused(case: str) -> None:
    """Refused before anything is done, with the place."""
    mount, error = REFUSED[case]
    with pytest.raises(error, match=r"\$\.mounts\[6\]"):
        compile_plan(mounted(mount), Surroundings(bundle="/bundle"))
