"""Bundles: what an image and the wishes of a caller become, and that runc runs it as it is."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from builders import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Store, digest_of
from layers import directory, entry, file, layer, symlink
from unprivileged import NOBODY, in_child

import ocikit
from ocikit.bundle import Bundle, create
from ocikit.errors import BundleError, LimitExceededError, PolicyRequirementError, UnpackError
from ocikit.image.policy import Policy
from ocikit.image.types import SystemContext
from ocikit.spec import Mount, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

ANYTHING = Policy.insecure_accept_anything()
AMD64 = SystemContext(os_choice="linux", architecture_choice="amd64")
APPLETS = (b"sh", b"id", b"env", b"pwd", b"hostname", b"cat", b"true")
ACCOUNTS = (
    file(b"etc/passwd", b"root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:App:/home/app:/bin/sh\n"),
    file(b"etc/group", b"root:x:0:\nstaff:x:50:app,other\napp:x:1235:\n"),
)
CONFIG = {
    "User": "app",
    "Env": ["PATH=/bin", "LANG=C.UTF-8"],
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["id; pwd; hostname; env"],
    "WorkingDir": "/srv",
    "Labels": {"who": "the image"},
    "Volumes": {"/data": {}},
}


def busybox() -> bytes:
    """Return a layer with busybox, a few links to it, and users."""
    program = Path("/bin/busybox").read_bytes()
    links = [symlink(b"bin/" + name, b"busybox") for name in APPLETS]
    return layer(file(b"bin/busybox", program, mode=0o755), *links, directory(b"srv"), *ACCOUNTS)


def make_layout(path: Path, data: bytes, config: dict[str, Any], **members: Any) -> str:
    """Make a layout of one image of one plain layer; return its name."""
    store = Store()
    about = {"architecture": "amd64", "os": "linux", **members}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.json(
            OCI_CONFIG, about | {"config": config, "rootfs": {"type": "layers", "diff_ids": [digest_of(data)]}}
        ),
        "layers": [store.blob(OCI_LAYER.removesuffix("+gzip"), data)],
    }
    return f"oci:{store.layout(path, {'image': store.json(OCI_MANIFEST, document)})}:image"


def make(image: str, path: Path, **options: Any) -> Bundle:
    """Make a bundle for amd64 under a policy that allows everything."""
    return create(image, path, policy=options.pop("policy", ANYTHING), sys=AMD64, **options)


# crun refuses hosts that have a version 2 hierarchy of cgroups mounted beside those of version 1.
RUNTIMES = {
    "runc": ["runc"],
    "crun": ["unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"', "crun"],
}


def run(bundle: os.PathLike[str], state: Path, runtime: str = "runc") -> str:
    """Run a bundle with another runtime and return what it printed."""
    name = f"ocikit-test-{uuid.uuid4().hex}"
    command = [*RUNTIMES[runtime], "--root", str(state), "run", "--bundle", os.fspath(bundle), name]
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, text=True).stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make an image that can be run, once."""
    return make_layout(tmp_path_factory.mktemp("image") / "layout", busybox(), CONFIG)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Make an image that has users and nothing to run."""
    return make_layout(tmp_path / "layout", layer(*ACCOUNTS), CONFIG)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_runtimes_run_it_as_it_is(runtime: str, image: str, tmp_path: Path) -> None:
    """User, groups, working directory, host name and environment are those of the image."""
    bundle = make(image, tmp_path / "bundle")
    lines = run(bundle, tmp_path / "state", runtime).splitlines()
    assert lines[0].startswith("uid=1234(app) gid=1235(app) groups=")
    assert "50(staff)" in lines[0]
    assert lines[1:3] == ["/srv", "ocikit"]
    assert {"PATH=/bin", "LANG=C.UTF-8", "HOME=/home/app"} <= set(lines[3:])


def test_the_wishes_of_the_caller_win(image: str, tmp_path: Path) -> None:
    """Command, environment, directory, user, mounts and host name are those that are given."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "file").write_text("mounted\n")
    bundle = make(
        image,
        tmp_path / "bundle",
        args=["/bin/sh", "-c", "id -u; pwd; hostname; echo $LANG $MORE; cat /mnt/file"],
        env={"LANG": "de_DE.UTF-8", "MORE": "more"},
        cwd="/",
        user="4321",
        hostname="named",
        mounts=[Mount(destination="/mnt", type="bind", source=str(tmp_path / "shared"), options=("rbind", "ro"))],
    )
    assert run(bundle, tmp_path / "state").split() == ["4321", "/", "named", "de_DE.UTF-8", "more", "mounted"]


def test_the_configuration_says_what_umoci_says(image: str, tmp_path: Path) -> None:
    """Process and annotations are those that umoci derives from the same image."""
    bundle = make(image, tmp_path / "bundle")
    place = tmp_path / "umoci"
    subprocess.run(
        ["umoci", "unpack", "--image", image.removeprefix("oci:"), str(place)], check=True, capture_output=True
    )
    theirs = json.loads((place / "config.json").read_bytes())
    ours = json.loads((bundle.path / "config.json").read_bytes())
    assert ours["process"]["args"] == theirs["process"]["args"]
    assert ours["process"]["cwd"] == theirs["process"]["cwd"]
    assert ours["process"]["user"] == theirs["process"]["user"]
    assert set(CONFIG["Env"]) <= set(ours["process"]["env"]) & set(theirs["process"]["env"])
    assert ours["annotations"]["who"] == theirs["annotations"]["who"] == "the image"


def test_what_a_bundle_is(small: str, tmp_path: Path) -> None:
    """It stands for its path, keeps others out, and says what is in it."""
    bundle = make(small, tmp_path / "a" / "bundle")
    assert os.fspath(bundle) == str(bundle.path) == str(tmp_path / "a" / "bundle")
    assert {path.name for path in bundle.path.iterdir()} == {"rootfs", "config.json"}
    assert [oct(path.stat().st_mode & 0o777) for path in (tmp_path / "a", bundle.path)] == ["0o700"] * 2
    assert Spec.from_json((bundle.path / "config.json").read_bytes()) == bundle.spec
    assert (bundle.rootfs / "etc" / "passwd").exists()
    assert bundle.image.path == str(bundle.rootfs)
    assert bundle.image_digest == bundle.image.digest
    process = bundle.spec.process
    assert process is not None
    assert (process.terminal, bundle.spec.hostname) == (False, "ocikit")
    assert bundle.spec.root is not None
    assert (bundle.spec.root.path, bundle.spec.root.readonly) == ("rootfs", False)
    assert ocikit.bundle.create is create


def test_a_bundle_is_shown_in_short(small: str, tmp_path: Path) -> None:
    """In a notebook or a log it is its path, not all that is in it."""
    bundle = make(small, tmp_path / "bundle")
    assert repr(bundle) == f"Bundle(path={tmp_path / 'bundle'!r})"


def test_annotations_and_environment_as_entries(small: str, tmp_path: Path) -> None:
    """Annotations are added and win; the environment may be given as entries."""
    bundle = make(small, tmp_path / "bundle", annotations={"who": "the caller", "more": "1"}, env=["LANG=C", "X="])
    assert bundle.spec.annotations["who"] == "the caller"
    assert bundle.spec.annotations["more"] == "1"
    assert bundle.spec.annotations["org.opencontainers.image.os"] == "linux"
    assert bundle.spec.process is not None
    assert bundle.spec.process.env == ("PATH=/bin", "LANG=C", "X=")


def test_a_hook_has_the_last_word(small: str, tmp_path: Path) -> None:
    """What the hook returns is what is written."""
    bundle = make(small, tmp_path / "bundle", spec_hook=lambda spec: evolve(spec, hostname="hooked"))
    assert json.loads((bundle.path / "config.json").read_bytes())["hostname"] == "hooked"
    assert bundle.spec.hostname == "hooked"


def _raise(_: Spec) -> Spec:
    raise KeyError("of the hook")


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a hook that raises": ({"spec_hook": _raise}, KeyError, "of the hook"),
    "a hook that returns nothing": ({"spec_hook": lambda _: None}, BundleError, "expected it to return a Spec"),
    "a result that is not valid": (
        {"spec_hook": lambda spec: evolve(spec, mounts=(Mount(destination=""),))},
        BundleError,
        r"\$\.mounts\[0\]",
    ),
    "a user who is not there": ({"user": "nobody-here"}, BundleError, "nobody-here"),
    "a group that is not there": ({"user": "app:no-group"}, BundleError, "no-group"),
    "a command as one text": ({"args": "echo hi"}, BundleError, r"args: expected a list such as \['echo hi'\]"),
    "an environment as one text": ({"env": "A=b"}, BundleError, r"env: expected a list such as \['A=b'\]"),
    "a variable without a value": ({"env": ["A"]}, BundleError, "expected NAME=value, found 'A'"),
    "a variable without a name": ({"env": {"": "b"}}, BundleError, "expected NAME=value, found '=b'"),
    "a relative working directory": ({"cwd": "srv"}, BundleError, "absolute"),
    "a policy that rejects": (
        {"policy": Policy.from_bytes(b'{"default": [{"type": "reject"}]}')},
        PolicyRequirementError,
        "not allowed",
    ),
    "a user without privileges who is not root": ({"rootless": True}, BundleError, "pass user='0:0'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_remains_of_a_failure(name: str, small: str, tmp_path: Path) -> None:
    """The error says what is wrong, and there is no bundle, in whole or in part."""
    options, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make(small, tmp_path / "bundle", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


def test_an_image_without_a_command(tmp_path: Path) -> None:
    """A command has to come from somewhere."""
    image = make_layout(tmp_path / "layout", layer(), {})
    with pytest.raises(BundleError, match="pass args"):
        make(image, tmp_path / "bundle")
    bundle = make(image, tmp_path / "bundle", args=["/x"])
    assert bundle.spec.process is not None
    assert bundle.spec.process.args == ("/x",)
    assert bundle.spec.process.cwd == "/"


def test_an_image_for_another_system(tmp_path: Path) -> None:
    """An image that is not for linux is refused before anything is unpacked."""
    image = make_layout(tmp_path / "layout", layer(file(b".wh.")), CONFIG, os="plan9")
    with pytest.raises(BundleError, match="'plan9'"):
        make(image, tmp_path / "bundle")


def test_a_place_that_is_taken(small: str, tmp_path: Path) -> None:
    """A bundle is not made over another."""
    make(small, tmp_path / "bundle")
    with pytest.raises(UnpackError, match="new or an empty directory"):
        make(small, tmp_path / "bundle")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UnpackError, match="every user can write"):
        make(small, tmp_path / "open" / "bundle")


ODD_ACCOUNTS: dict[str, Callable[[bytes], bytes]] = {
    "a link to the host": lambda out: symlink(b"etc/passwd", out),
    "a link in a directory of the host": lambda out: symlink(b"etc", os.path.dirname(out)),
    "a fifo": lambda _: entry(b"etc/passwd", kind=b"6"),
    "a device": lambda _: entry(b"etc/passwd", kind=b"3", device=(1, 5)),
    "a directory": lambda _: directory(b"etc/passwd"),
    "a link in a circle": lambda _: symlink(b"etc/passwd", b"passwd"),
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("name", ODD_ACCOUNTS)
def test_users_are_those_of_the_image(name: str, tmp_path: Path) -> None:
    """Whatever stands in the place of the file, no file of the host is read, and nothing waits for a FIFO."""
    (tmp_path / "passwd").write_text("app:x:0:0::/:\n")
    image = make_layout(
        tmp_path / "layout", layer(ODD_ACCOUNTS[name](os.fsencode(tmp_path / "passwd"))), {"Cmd": ["x"], "User": "app"}
    )
    with pytest.raises(BundleError, match="found none named 'app'"):
        make(image, tmp_path / "bundle")
    bundle = make(image, tmp_path / "bundle", user="7:8")
    assert bundle.spec.process is not None
    assert (bundle.spec.process.user.uid, bundle.spec.process.user.gid) == (7, 8)


def test_users_through_a_link_in_the_image(tmp_path: Path) -> None:
    """A link that stays in the image is followed."""
    data = layer(file(b"usr/etc/passwd", b"app:x:7:8::/:\n"), symlink(b"etc/passwd", b"/usr/etc/passwd"))
    bundle = make(make_layout(tmp_path / "layout", data, {"Cmd": ["x"], "User": "app"}), tmp_path / "bundle")
    assert bundle.spec.process is not None
    assert (bundle.spec.process.user.uid, bundle.spec.process.user.gid) == (7, 8)


def test_more_users_than_anybody_has(tmp_path: Path) -> None:
    """The file with the users is read up to a limit."""
    data = layer(file(b"etc/passwd", b"# \n" * (2 << 20)))
    image = make_layout(tmp_path / "layout", data, {"Cmd": ["x"], "User": "app"})
    with pytest.raises(LimitExceededError, match="give user='uid:gid'"):
        make(image, tmp_path / "bundle")
    assert make(image, tmp_path / "bundle", user="0:0").spec.process is not None


def test_deleting_a_bundle(small: str, tmp_path: Path) -> None:
    """It is gone, and deleting it again is nothing."""
    bundle = make(small, tmp_path / "a" / "bundle")
    bundle.delete()
    assert list((tmp_path / "a").iterdir()) == []
    bundle.delete()
    (tmp_path / "a").rmdir()
    bundle.delete()


def test_a_bundle_without_privileges(tmp_path: Path) -> None:
    """A user without privileges makes one, is root in it, and can delete it although parts of it are closed."""
    top = Path(tempfile.mkdtemp())
    try:
        data = layer(*ACCOUNTS, directory(b"closed", mode=0), file(b"closed/file", b"x"))
        image = make_layout(top / "layout", data, {"Cmd": ["x"], "User": "root"})
        make(image, tmp_path / "bundle", rootless=True).delete()  # imports what nobody may not be able to read
        os.chown(top, NOBODY, NOBODY)

        def make_and_delete() -> str:
            bundle = make(image, top / "bundle", rootless=True)
            text = bundle.spec.to_json().decode()
            bundle.delete()
            return text

        document = json.loads(in_child(make_and_delete, user=NOBODY))
        assert document["linux"]["uidMappings"] == [{"containerID": 0, "hostID": NOBODY, "size": 1}]
        assert {"type": "user"} in document["linux"]["namespaces"]
        assert document["process"]["user"] == {"uid": 0, "gid": 0}
        assert [path.name for path in top.iterdir()] == ["layout"]
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)
