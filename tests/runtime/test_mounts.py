"""What mounts look like from inside: options, places, order, and what is told when one cannot be made."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from launching import MOUNTS, default_spec, run_plan
from mounting import bind, make_open_bundle, mounted, tmpfs, with_rights, with_users

from ocikit.errors import SetupError, UnsupportedFieldError, ValidationError
from ocikit.runtime.host.caller import Caller
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.spec import Mount, Root

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox that the root of a user namespace may enter."""
    return make_open_bundle(tmp_path / "bundle")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that is a mount, with another mount in it."""
    top = tmp_path / "tree"
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noatime", "tmpfs", top], check=True)
    try:
        (top / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", top / "below"], check=True)
        for path in (top, top / "below"):
            (path / "file").write_text(path.name)
        yield top
    finally:
        subprocess.run(["umount", "--recursive", top], check=True)


def options_at(out: str, where: str) -> set[str]:
    """Return the options of the last mount at a place, as the container's mountinfo shows them."""
    found = [line.split() for line in out.splitlines() if line.split()[4] == where]
    assert found, out
    return set(found[-1][5].split(","))


# Options: what the source of the binds has is in the fixture (rw, nosuid, nodev, noatime).

ATTRIBUTES = {
    "none": ((), {"rw", "nosuid", "nodev", "noatime"}),
    "ro": (("ro",), {"ro", "noatime"}),
    "rw": (("rw",), {"rw", "noatime"}),
    "nosuid": (("nosuid",), {"rw", "nosuid", "noatime"}),
    "dev, suid": (("dev", "suid"), {"rw", "noatime"}),
    "noexec": (("noexec", "nodev"), {"rw", "noexec", "nodev", "noatime"}),
    "exec": (("noexec", "exec"), {"rw", "noatime"}),
    "atime": (("atime",), {"rw", "relatime"}),
    "norelatime": (("norelatime",), {"rw", "noatime"}),
    "nostrictatime": (("nostrictatime",), {"rw", "noatime"}),
    "relatime": (("relatime",), {"rw", "relatime"}),
    "strictatime": (("strictatime",), {"rw"}),
    "nodiratime": (("nodiratime",), {"rw", "nodiratime", "relatime"}),
    "diratime": (("diratime", "noatime"), {"rw", "noatime"}),
    "nosymfollow": (("nosymfollow",), {"rw", "nosymfollow", "noatime"}),
    "symfollow": (("nosymfollow", "symfollow"), {"rw", "noatime"}),
    "the last word": (("ro", "rw", "suid", "nosuid"), {"rw", "nosuid", "noatime"}),
    "for other mounts": (("sync", "lazytime", "silent", "iversion", "defaults"), {"rw", "nosuid", "nodev", "noatime"}),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_of_a_bind(case: str, bundle: Path, tree: Path) -> None:
    """A bind without attributes keeps those of its source; with any, it has those that are given, and its times."""
    options, expected = ATTRIBUTES[case]
    assert options_at(run_plan(bundle, mounted(bind(tree, "/at", *options))).out, "/at") == expected


BELOW = {
    "rro": (("rro",), {"ro", "nosuid", "nodev", "noatime"}, {"ro", "relatime"}),
    "ro alone": (("ro",), {"ro", "noatime"}, {"rw", "relatime"}),
    "ro and rro": (("ro", "rro"), {"ro", "noatime"}, {"ro", "relatime"}),
    "rrw": (("rro", "rrw"), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "relatime"}),
    "rnosuid": (("rnosuid",), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "nosuid", "relatime"}),
    "rsuid, rdev": (("rsuid", "rdev"), {"rw", "noatime"}, {"rw", "relatime"}),
    "rnoexec": (("rnoexec",), {"rw", "nosuid", "nodev", "noexec", "noatime"}, {"rw", "noexec", "relatime"}),
    "rnodev": (("rnodev",), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "nodev", "relatime"}),
    "rexec": (("rnoexec", "rexec"), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "relatime"}),
    "rnoatime": (("rnoatime",), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "noatime"}),
    "ratime": (("ratime",), {"rw", "nosuid", "nodev", "relatime"}, {"rw", "relatime"}),
    "rstrictatime": (("rstrictatime",), {"rw", "nosuid", "nodev"}, {"rw"}),
    "rnostrictatime": (("rnostrictatime",), {"rw", "nosuid", "nodev", "relatime"}, {"rw", "relatime"}),
    "rrelatime": (("rrelatime",), {"rw", "nosuid", "nodev", "relatime"}, {"rw", "relatime"}),
    "rnorelatime": (("rnorelatime",), {"rw", "nosuid", "nodev", "relatime"}, {"rw", "relatime"}),
    "rnodiratime": (
        ("rnodiratime",),
        {"rw", "nosuid", "nodev", "noatime", "nodiratime"},
        {"rw", "nodiratime", "relatime"},
    ),
    "rdiratime": (("rnodiratime", "rdiratime"), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "relatime"}),
    "rnosymfollow": (
        ("rnosymfollow",),
        {"rw", "nosuid", "nodev", "noatime", "nosymfollow"},
        {"rw", "nosymfollow", "relatime"},
    ),
    "rsymfollow": (("rnosymfollow", "rsymfollow"), {"rw", "nosuid", "nodev", "noatime"}, {"rw", "relatime"}),
}


@pytest.mark.parametrize("case", BELOW)
def test_attributes_of_all_mounts_below(case: str, bundle: Path, tree: Path) -> None:
    """Options with a leading "r" reach the mounts below, add to what is there, and others stay with the top."""
    options, top, below = BELOW[case]
    out = run_plan(bundle, mounted(bind(tree, "/at", "rbind", *options))).out
    assert (options_at(out, "/at"), options_at(out, "/at/below")) == (top, below)


def test_bind_leaves_the_mounts_below_behind(bundle: Path, tree: Path) -> None:
    """A bind that is not recursive shows what lies under the mounts of its source."""
    script = "cat /one/below/file; cat /all/below/file"
    ran = run_plan(bundle, mounted(bind(tree, "/one"), bind(tree, "/all", "rbind"), script=script))
    assert ran.out.splitlines() == ["cat: can't open '/one/below/file': No such file or directory", "below"]


KEPT = {
    "none": ((), {"rw", "nosuid", "nodev", "noatime"}),
    "ro": (("ro",), {"ro", "nosuid", "nodev", "noatime"}),
    "noexec, nosymfollow": (("noexec", "nosymfollow"), {"rw", "noexec", "nosuid", "nodev", "noatime", "nosymfollow"}),
    "norelatime": (("norelatime",), {"rw", "nosuid", "nodev", "noatime"}),
    "noatime": (("noatime",), {"rw", "nosuid", "nodev", "noatime"}),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_the_host_restricts_stays_in_a_user_namespace(case: str, bundle: Path, tree: Path) -> None:
    """Restrictions that the container's root has no right to lift stay, if nobody asked for lifting them."""
    options, expected = KEPT[case]
    ran = run_plan(bundle, with_users(mounted(bind(tree, "/at", "rbind", *options))))
    assert options_at(ran.out, "/at") == expected


@pytest.mark.parametrize("option", ["suid", "dev", "atime", "relatime", "strictatime", "nodiratime"])
def test_lifting_restrictions_of_the_host_is_refused_in_a_user_namespace(option: str, bundle: Path, tree: Path) -> None:
    """What is asked for and cannot be had is an error with the place in the configuration."""
    with pytest.raises(SetupError, match=r"\$\.mounts\[6\]\.source.*Operation not permitted"):
        run_plan(bundle, with_users(mounted(bind(tree, "/at", "rbind", option))))


def test_file_system_options(bundle: Path) -> None:
    """Options for the file system as a whole reach it: those of the table, its own, and several in one string."""
    mount = tmpfs("/at", "sync", "dirsync", "lazytime", "nosuid", "size=64k,nr_inodes=17", "mode=0750", "uid=7")
    out = run_plan(bundle, mounted(mount)).out
    shown = next(line for line in out.splitlines() if " /at " in line)
    assert set(shown.split()[5].split(",")) == {"rw", "nosuid", "relatime"}
    assert set(shown.rpartition(" ")[2].split(",")) >= {"sync", "dirsync", "lazytime", "size=64k", "nr_inodes=17"}
    assert {"mode=750", "uid=7"} <= set(shown.rpartition(" ")[2].split(","))


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        (("sync", "async"), (), ("sync",)),
        (("lazytime", "nolazytime"), (), ("lazytime",)),
        (("mand", "nomand", "silent", "loud", "defaults"), (), ("mand",)),
        (("iversion",), (), ("iversion",)),
        (("noiversion", "ro"), ("ro",), ()),
        (("nodiratime", "noexec"), ("nodiratime", "noexec", "relatime"), ()),
        (("strictatime", "nosymfollow"), ("nosymfollow",), ("relatime", "noatime")),
        (("rro", "rnosuid"), ("ro", "nosuid"), ()),
    ],
)
def test_options_of_the_table_in_a_new_file_system(
    bundle: Path, options: tuple[str, ...], shown: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    """Every option of the specification can be given with a new file system; the last word counts."""
    out = run_plan(bundle, mounted(tmpfs("/at", "size=64k", *options))).out
    line = next(line for line in out.splitlines() if " /at " in line)
    found = {*line.split()[5].split(","), *line.rpartition(" ")[2].split(",")}
    assert set(shown) <= found
    assert not set(hidden) & found


def test_unknown_options_are_told(bundle: Path) -> None:
    """What neither the specification nor the file system knows is an error that names both."""
    with pytest.raises(SetupError, match=r"mount tmpfs at /at.*does 'tmpfs' know the options nonsense"):
        run_plan(bundle, mounted(tmpfs("/at", "nonsense")))


def test_options_that_a_bind_cannot_have_are_told(bundle: Path, tree: Path) -> None:
    """What concerns a file system as a whole is no error with a bind, for engines pass it on, and is told."""
    spec = mounted(bind(tree, "/at", "size=1m", "sync", "iversion"), script="cat /at/file")
    assert run_plan(bundle, spec).out == "tree"
    warnings = compile_plan(spec, Surroundings(bundle=str(bundle))).warnings
    told = [one.removeprefix("$.mounts[6].options: ") for one in warnings if one.startswith("$.mounts[6].options: ")]
    assert [one.split()[0] for one in told] == ["iversion", "sync", "size=1m"]


REFUSED = {
    "bind of nothing": (Mount(destination="/at", options=("bind",)), ValidationError, "source: expected what to bind"),
    "no type": (Mount(destination="/at", source="x"), ValidationError, "type: a mount that is no bind"),
    "the root": (bind("/tmp", "/../."), ValidationError, "destination: the root itself"),
    "copy up a bind": (
        bind("/tmp", "/at", "tmpcopyup"),
        UnsupportedFieldError,
        "tmpcopyup is for mounts of type tmpfs",
    ),
    "change below": (bind("/tmp", "/at", "remount", "rro"), UnsupportedFieldError, "keeps its propagation"),
    "change propagation": (tmpfs("/at", "remount", "slave"), UnsupportedFieldError, "keeps its propagation"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case: str) -> None:
    """Contradictions are found before anything is done, and told with their place."""
    mount, error, text = REFUSED[case]
    with pytest.raises(error, match=rf"\$\.mounts\[6\].*{text}"):
        compile_plan(mounted(mount), Surroundings(bundle="/bundle"))


# Places.


def test_missing_source_is_told(bundle: Path) -> None:
    """A source that is not there is an error with the path and the place in the configuration."""
    with pytest.raises(
        SetupError, match=r"bind mount \(\$\.mounts\[6\]\.source\) at /no/such: .*does it exist"
    ) as caught:
        run_plan(bundle, mounted(bind("/no/such", "/at")))
    assert caught.value.filename == "/no/such"


def test_a_bind_has_no_options_of_a_file_system(bundle: Path, tree: Path) -> None:
    """They are left out, with a warning for each."""
    spec = mounted(bind(tree, "/at", "mode=700", "size=1k"), script="cat /at/file")
    assert run_plan(bundle, spec).out == "tree"
    warnings = compile_plan(spec, Surroundings(bundle=str(bundle))).warnings
    assert [one.split()[1] for one in warnings if "bind mount" in one] == ["mode=700", "size=1k"]


def test_relative_destinations_start_at_the_root(bundle: Path) -> None:
    """A relative destination is taken as below the root, with a warning; so is one with the root's own path."""
    spec = mounted(
        tmpfs("relative/place", "size=8k"),
        tmpfs(str(bundle / "rootfs/absolute"), "size=8k"),
        script="ls -d /*e/place /abs*",
    )
    assert run_plan(bundle, spec).out.split() == ["/absolute", "/relative/place"]
    warnings = compile_plan(spec, Surroundings(bundle=str(bundle))).warnings
    assert [one for one in warnings if "relative, which is deprecated; taken as /relative/place" in one]


def test_order_is_that_of_the_configuration(bundle: Path, tree: Path) -> None:
    """Later mounts lie in and over earlier ones, and can show what earlier ones mounted in the root."""
    root = bundle / "rootfs"
    mounts = (
        tmpfs("/a", "size=64k"),
        bind(tree, "/a/b", "rbind"),
        tmpfs("/a/b/below/c", "size=64k"),
        bind(root / "a", "/shown", "rbind"),
        bind(tree / "file", "/a/b/file"),
    )
    ran = run_plan(bundle, mounted(*mounts, script="cat /shown/b/below/file /a/b/file; ls /shown/b/below"))
    assert ran.out == "belowtreec\nfile\n"


def test_files_over_files_and_directories_over_directories(bundle: Path, tree: Path) -> None:
    """What is missing is made as what is mounted; what is there and of the other kind is an error."""
    (bundle / "rootfs/there").write_text("old")
    ran = run_plan(
        bundle, mounted(bind(tree / "file", "/there"), bind(tree / "file", "/new"), script="cat /there /new")
    )
    assert ran.out == "treetree"
    assert (bundle / "rootfs/new").read_text() == ""
    with pytest.raises(SetupError, match="Not a directory"):
        run_plan(bundle, mounted(bind(tree, "/there")))
    with pytest.raises(SetupError, match="Is a directory"):
        run_plan(bundle, mounted(bind(tree / "file", "/bin")))


def test_read_only_is_what_holds_the_places_of_later_mounts(bundle: Path) -> None:
    """A tmpfs, /dev and the root are read-only for the program, and hold what was mounted in them."""
    dev, rest = MOUNTS[1], (MOUNTS[0], *MOUNTS[2:])
    assert dev.destination == "/dev"
    mounts = (rest[0], attrs.evolve(dev, options=(*dev.options, "ro")), *rest[1:])
    script = "touch /ro/x /dev/x /x; touch /ro/in/y && ls /ro/in /dev/null"
    more = (tmpfs("/ro", "ro", "size=64k"), tmpfs("/ro/in", "size=64k"))
    spec = attrs.evolve(
        default_spec("sh", "-c", script + " 2>&1", mounts=(*mounts, *more)), root=Root(path="rootfs", readonly=True)
    )
    ran = run_plan(bundle, spec)
    refused = [f"touch: {path}: Read-only file system" for path in ("/ro/x", "/dev/x", "/x")]
    assert ran.out.splitlines() == [*refused, "/dev/null", "", "/ro/in:", "y"]


def test_mode_of_a_tmpfs(bundle: Path) -> None:
    """A tmpfs has the mode of the directory it hides, or the one that is asked for, or that of a temporary one."""
    (bundle / "rootfs/kept").mkdir(mode=0o710)
    (bundle / "rootfs/kept").chmod(0o2710)
    script = "stat -c %a /kept /asked /new"
    (bundle / "rootfs/asked").mkdir(mode=0o700)
    spec = mounted(tmpfs("/kept"), tmpfs("/asked", "mode=1500"), tmpfs("/new"), script=script)
    assert run_plan(bundle, spec).out.split() == ["2710", "1500", "1777"]


# Changing what is there.


def test_a_mount_is_changed(bundle: Path, tree: Path) -> None:
    """A remount changes the mount at a place: attributes of a bind, and options of a file system."""
    mounts = (
        bind(tree, "/bound"),
        bind("none", "/bound", "remount", "ro", "nosuid"),
        tmpfs("/whole", "size=64k"),
        tmpfs("/whole", "remount", "size=32k", "noexec"),
    )
    out = run_plan(bundle, mounted(*mounts)).out
    assert options_at(out, "/bound") == {"ro", "nosuid", "noatime"}
    assert "noexec" in options_at(out, "/whole")
    assert [line for line in out.splitlines() if " /whole " in line and "size=32k" in line]
    assert "ro" not in Path("/proc/self/mounts").read_text().split(f"{tree} tmpfs ")[1].split()[0].split(",")


def test_only_what_is_mounted_can_be_changed(bundle: Path) -> None:
    """A directory that is no mount is not taken for one."""
    (bundle / "rootfs/plain").mkdir()
    with pytest.raises(SetupError, match=r"change mount at /plain.*something must be mounted"):
        run_plan(bundle, mounted(bind("none", "/plain", "remount", "ro")))


# Out of reach.


def test_sources_that_only_root_can_reach(bundle: Path, tmp_path: Path) -> None:
    """In a user namespace, too, the administrator decides what is bound: a source below a private directory is."""
    private = tmp_path / "private"
    (private / "inner").mkdir(parents=True)
    (private / "inner/file").write_text("reached")
    (private / "inner/file").chmod(0o644)
    private.chmod(0o700)
    mounts = (bind(private / "inner", "/dir", "rbind", "ro"), bind(private / "inner/file", "/one"))
    ran = run_plan(bundle, with_users(mounted(*mounts, script="cat /dir/file /one; touch /dir/x")))
    assert ran.out == "reachedreachedtouch: /dir/x: Read-only file system\n"
    with pytest.raises(SetupError, match=r"\$\.mounts\[6\]\.source.*Permission denied"):
        run_plan(bundle, with_users(mounted(*mounts)), caller=Caller(capabilities=0))


def test_sources_out_of_reach_keep_the_restrictions_of_the_host(bundle: Path, tree: Path) -> None:
    """A mount that the launcher makes for the container is no way around what the host's mount forbids."""
    tree.chmod(0o700)
    spec = with_users(mounted(bind(tree / "file", "/at"), script="mount -o remount,bind,suid,dev,atime /at || echo no"))
    ran = run_plan(bundle, with_rights(spec, "CAP_SYS_ADMIN"))
    assert ran.out.splitlines()[-1] == "no"
    assert "permission denied" in ran.out
