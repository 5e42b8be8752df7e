"""From an image's configuration to a container's: conversion.md of the image specification."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from ocikit.errors import ValidationError
from ocikit.spec import (
    Image,
    ImageConfig,
    Mount,
    Process,
    Root,
    RootFS,
    Spec,
    Timestamp,
    User,
    UserDatabase,
    image_to_runtime,
    resolve_user,
    tmpfs_volume,
)

USERS = UserDatabase.parse(
    passwd=b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n2000:x:5:6::/:\n",
    group=b"root:x:0:\napp:x:1001:\nwheel:x:10:root,app\naudio:x:63:app\n3000:x:7:\n",
)


def _image(**config: Any) -> Image:
    return Image(architecture="amd64", os="linux", config=ImageConfig(**{"cmd": ("sh",), **config}), rootfs=RootFS())


def _process(spec: Spec) -> Process:
    assert spec.process is not None
    return spec.process


RESOLVED: dict[str, User] = {
    "app": User(uid=1000, gid=1001, additional_gids=(10, 63)),
    "root": User(uid=0, gid=0, additional_gids=(10,)),
    "1000": User(uid=1000, gid=1001),
    "0": User(uid=0, gid=0),
    "4711": User(uid=4711, gid=0),
    "0001000": User(uid=1000, gid=1001),
    "2000": User(uid=2000, gid=0),
    "app:wheel": User(uid=1000, gid=10),
    "app:4711": User(uid=1000, gid=4711),
    "4711:wheel": User(uid=4711, gid=10),
    "4711:4712": User(uid=4711, gid=4712),
    "app:3000": User(uid=1000, gid=3000),
    "app:": User(uid=1000, gid=1001, additional_gids=(10, 63)),
    "1000:": User(uid=1000, gid=1001),
    "4294967294:4294967294": User(uid=4294967294, gid=4294967294),
}


@pytest.mark.parametrize("text", RESOLVED)
def test_users_are_resolved_in_the_container(text: str) -> None:
    """Names are looked up and ids taken verbatim; supplementary groups are for a name without a group only."""
    assert resolve_user(text, USERS) == RESOLVED[text]


@pytest.mark.parametrize("text", ["1", "0", "65534", "1:1", "7:0"])
def test_ids_need_no_names(text: str) -> None:
    """An image without passwd and group files runs under any id, with group 0 when none is given."""
    uid, _, gid = text.partition(":")
    assert resolve_user(text) == User(uid=int(uid), gid=int(gid or 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody", "none named 'nobody'"),
        ("App", "none named 'App'"),
        ("app:nobody", "/etc/group of the image, found none named 'nobody'"),
        ("-1", "none named '-1'"),
        ("+0", "none named"),
        (" 0", "none named"),
        ("0x0", "none named"),
        ("\u0660", "a user id from 0 to 4294967294"),
        ("4294967295", "a user id from 0 to 4294967294, found '4294967295'"),
        ("0:4294967295", "a group id from 0 to 4294967294"),
        ("18446744073709551616", "a user id"),
        (":1", "expected user, uid"),
        (":", "expected user, uid"),
        ("1:2:3", "expected user, uid"),
    ],
)
def test_nobody_is_never_taken_for_root(text: str, message: str) -> None:
    """A user that is not there is an error that names it and the file (CVE-2026-30892)."""
    with pytest.raises(ValidationError) as caught:
        resolve_user(text, USERS)
    assert str(caught.value).startswith("$.config.User: ")
    assert message in str(caught.value)


def test_verbatim_fields() -> None:
    """Command, environment and working directory are the image's, entrypoint before command."""
    spec = image_to_runtime(
        _image(entrypoint=("/entry", "a"), cmd=("b", "c"), env=("A=1", "B=x=y", "A=2"), working_dir="/srv/./x"),
        users=USERS,
    )
    process = _process(spec)
    assert process.args == ("/entry", "a", "b", "c")
    assert process.env[:3] == ("A=1", "B=x=y", "A=2")
    assert process.cwd == "/srv/./x"
    assert spec.validate() == ()


def test_an_image_that_says_little_gets_sensible_defaults() -> None:
    """Root user, directory /, a search path, a writable root; the rest is Spec.default()."""
    spec = image_to_runtime(_image())
    process, default = _process(spec), Spec.default()
    assert (process.user, process.cwd, process.terminal) == (User(), "/", False)
    assert process.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    assert spec.root == Root(path="rootfs")
    assert (spec.mounts, spec.linux, spec.hooks) == (default.mounts, default.linux, None)
    assert process.capabilities == _process(default).capabilities


def test_the_environment_of_the_base_only_adds() -> None:
    """An entry of the base never changes or removes one of the image; a caller's entry may."""
    base = evolve(Spec.default(), process=Process(cwd="/b", args=("x",), env=("PATH=/base", "TERM=xterm")))
    image = _image(env=("PATH=/image", "A=1", "A=2"))
    assert _process(image_to_runtime(image, base=base)).env == ("PATH=/image", "A=1", "A=2", "TERM=xterm")
    changed = image_to_runtime(image, base=base, env=("A=3", "NEW=", "TERM=vt100"))
    assert _process(changed).env == ("PATH=/image", "A=3", "TERM=vt100", "NEW=")


def test_the_base_gives_what_the_image_does_not_say() -> None:
    """User, directory, command and everything else come from the base when the image is silent."""
    base = evolve(
        Spec.default(),
        root=Root(path="elsewhere", readonly=True),
        process=Process(cwd="/b", args=("base",), user=User(uid=7, gid=7), terminal=True),
        hostname="box",
        annotations={"a": "base", "b": "base"},
        extra={"x-kept": 1},
    )
    spec = image_to_runtime(_image(cmd=(), labels={"a": "image"}), base=base, rootfs="/root/fs")
    process = _process(spec)
    assert (process.args, process.cwd, process.user, process.terminal) == (("base",), "/b", User(uid=7, gid=7), True)
    assert spec.root == Root(path="/root/fs", readonly=True)
    assert (spec.hostname, spec.extra) == ("box", {"x-kept": 1})
    assert spec.annotations["a"] == "image"
    assert spec.annotations["b"] == "base"
    bare = image_to_runtime(_image(), base=Spec())
    assert bare.root == Root(path="rootfs")
    assert _process(bare) == Process(cwd="/", args=("sh",))


def test_a_command_of_the_caller_replaces_that_of_the_image() -> None:
    """Args are the whole command; without any an image must have one."""
    image = _image(entrypoint=("/entry",), cmd=("x",))
    assert _process(image_to_runtime(image, args=["/bin/true"])).args == ("/bin/true",)
    with pytest.raises(ValidationError, match=r"^\$\.config: names no command.*pass args"):
        image_to_runtime(_image(cmd=()))


def test_annotations_follow_from_the_image() -> None:
    """What the image says becomes annotations; what it leaves out becomes none."""
    image = evolve(
        _image(stop_signal="SIGINT", exposed_ports={"80/tcp": {}, "53/udp": {}}),
        created=Timestamp("2024-09-26T21:31:42.5Z"),
        author="Alyssa <a@example.com>",
        variant="v3",
        os_version="1.2",
        os_features=("a", "b"),
    )
    prefix = "org.opencontainers.image."
    assert image_to_runtime(image).annotations == {
        f"{prefix}os": "linux",
        f"{prefix}architecture": "amd64",
        f"{prefix}variant": "v3",
        f"{prefix}os.version": "1.2",
        f"{prefix}os.features": "a,b",
        f"{prefix}author": "Alyssa <a@example.com>",
        f"{prefix}created": "2024-09-26T21:31:42.5Z",
        f"{prefix}stopSignal": "SIGINT",
        f"{prefix}exposedPorts": "53/udp,80/tcp",
    }
    assert image_to_runtime(_image()).annotations == {f"{prefix}os": "linux", f"{prefix}architecture": "amd64"}


def test_labels_win() -> None:
    """A label overrides an automatic annotation and one of the base, unchanged."""
    labels = {"org.opencontainers.image.os": "plan9", "com.example": "", "org.opencontainers.image.stopSignal": "USR1"}
    base = evolve(Spec.default(), annotations={"com.example": "base", "org.opencontainers.image.architecture": "base"})
    annotations = image_to_runtime(_image(labels=labels, stop_signal="SIGINT"), base=base).annotations
    assert annotations == {**labels, "org.opencontainers.image.architecture": "amd64"}


def test_volumes_become_mounts_on_request() -> None:
    """Volumes are left alone by default, and otherwise mounts after all others, made as the caller wants."""
    image = _image(volumes={"/data": {}, "/var/log/": {}})
    assert image_to_runtime(image).mounts == Spec.default().mounts
    mounts = image_to_runtime(image, volume=tmpfs_volume).mounts
    assert [mount.destination for mount in mounts[-2:]] == ["/data", "/var/log/"]
    assert mounts[-1].type == "tmpfs"
    bound = image_to_runtime(image, volume=lambda path: Mount(destination=path, source=f"/v{path}", options=("bind",)))
    assert bound.mounts[-2] == Mount(destination="/data", source="/v/data", options=("bind",))


@pytest.mark.parametrize(
    "path",
    ["", "data", "/", "//", "/.", "/proc", "/proc/", "//proc/sys", "/./proc/self", "/a/../proc", "/sys/fs", "/dev"],
)
def test_volumes_do_not_hide_what_the_runtime_relies_on(path: str) -> None:
    """A volume over /proc and the like would defeat masks and labels (CVE-2019-16884)."""
    with pytest.raises(ValidationError, match=r"^\$\.config\.Volumes: expected an absolute path"):
        image_to_runtime(_image(volumes={path: {}}), volume=tmpfs_volume)
    assert image_to_runtime(_image(volumes={path: {}})).validate() == ()


def test_a_working_directory_is_absolute() -> None:
    """A relative directory means nothing to a runtime and is refused here, where its origin is known."""
    with pytest.raises(ValidationError, match=r"^\$\.config\.WorkingDir: expected an absolute path, found 'srv'"):
        image_to_runtime(_image(working_dir="srv"))
