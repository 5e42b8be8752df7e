"""Names of images in stores, what they mean to a policy, and where the store is that none names."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from builders import Store
from hypothesis import given
from hypothesis import strategies as st
from stores import fill, run, specifier

from ocikit.errors import InvalidReferenceError, LayoutError, LimitExceededError, PolicyRequirementError
from ocikit.image import Policy, SystemContext, image_name, inspect, list_images, parse_image_name, transports
from ocikit.image.policy import policy_context
from ocikit.image.storage.conf import StoreLocation, default_location
from ocikit.image.transports.containers_storage import StorageReference
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from pathlib import Path

ID = "0123456789abcdef" * 4
DIGEST = f"sha256:{ID}"
STORE = "[overlay@/a/b+/run/x]"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No storage.conf of this machine, and none of its variables, has a say."""
    for name in ("STORAGE_DRIVER", "STORAGE_OPTS", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "_CONTAINERS_ROOTLESS_UID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty.conf").touch()
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "empty.conf"))


def parse(text: str) -> StorageReference:
    """Parse a reference."""
    reference = parse_image_name(f"containers-storage:{text}")
    assert isinstance(reference, StorageReference)
    return reference


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        (f"localhost/x@{DIGEST}", f"localhost/x@{DIGEST}"),
        (f"localhost/x:1@{DIGEST}", f"localhost/x:1@{DIGEST}"),
        (f"localhost/x@{ID}", f"localhost/x:latest@{ID}"),
        (f"localhost/x@{DIGEST}@{ID}", f"localhost/x@{DIGEST}@{ID}"),
        (f"@{ID}", f"@{ID}"),
        ("abc", "docker.io/library/abc:latest"),
    ],
)
def test_names(text: str, whole: str) -> None:
    """Names are completed as Docker does it, the store stands before them, and both come back."""
    reference = parse(f"{STORE}{text}")
    assert reference.string_within_transport == f"{STORE}{whole}"
    assert parse(reference.string_within_transport) == reference
    assert image_name(reference) == str(reference) == f"containers-storage:{STORE}{whole}"
    assert reference.policy_configuration_identity == f"[overlay@/a/b]{whole}"


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("/a", ("overlay", "/a", "/run/containers/storage", ())),
        ("vfs@/a", ("vfs", "/a", "/run/containers/storage", ())),
        ("overlay2@/a+/b", ("overlay", "/a", "/b", ())),
        ("vfs@/a+/b:x=1,y=/c", ("vfs", "/a", "/b", ("x=1", "y=/c"))),
        ("vfs@/a:x=1:2", ("vfs", "/a", "/run/containers/storage", ("x=1:2",))),
        ("vfs@//a/../b/./c/+/d/", ("vfs", "/b/c", "/d", ())),
        ("zfs@/a@b", ("zfs", "/a@b", "/run/containers/storage", ())),
    ],
)
def test_stores(text: str, location: tuple[str, str, str, tuple[str, ...]]) -> None:
    """What stands in brackets may be shorter or longer; the whole of it comes back."""
    store = parse(f"[{text}]x").store
    assert (store.driver, store.graph_root, store.run_root, store.options) == location
    assert StoreLocation.parse(store.specifier[1:-1], "") == store


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]x",
        "[overlay]x",
        "[@/a]x",
        "[overlay@]x",
        "[overlay@a]x",
        "[overlay@/a+b]x",
        "[overlay@/a+]x",
        "[overlay@/a",
        STORE,
        f"{STORE}@",
        f"{STORE}@ab",
        f"{STORE}@abc",
        f"{STORE}@{ID.upper()}",
        f"{STORE}@{ID}0",
        f"{STORE}@{DIGEST}",
        f"{STORE}x@sha256:12",
        f"{STORE}x@{DIGEST}@{DIGEST}",
        f"{STORE}x@{ID}@{ID}",
        f"{STORE}x@{DIGEST}@",
        f"{STORE}UPPER",
        f"{STORE}a b",
        f"{STORE}{ID}",
        "[overlay@/a\0b]x",
    ],
)
def test_what_is_no_name(text: str) -> None:
    """Outside the grammar a reference is refused, with what was expected."""
    with pytest.raises(InvalidReferenceError):
        parse(text)


@given(st.text(alphabet="ab0f/@:[]+,.=-_ A\0ä", max_size=40))
def test_any_text(text: str) -> None:
    """Any text is a reference that comes back, or a typed error; so is any scope."""
    transport = transports.get("containers-storage")
    with contextlib.suppress(ValueError):
        transport.validate_policy_configuration_scope(text)
    try:
        reference = transport.parse_reference(f"[vfs@/{text}")
    except InvalidReferenceError:
        return
    assert transport.parse_reference(reference.string_within_transport) == reference


def test_identities_and_namespaces() -> None:
    """From the name with its id over the parents of the repository to the driver in its root, and the root alone."""
    store, root = "[overlay@/a/b]", "[/a/b]"
    assert parse(f"{STORE}localhost/team/app:1@{ID}").policy_configuration_namespaces == (
        f"{store}localhost/team/app:1",
        f"{store}localhost/team/app",
        f"{store}localhost/team",
        f"{store}localhost",
        store,
        root,
    )
    assert parse(f"{STORE}localhost/app").policy_configuration_namespaces == (
        f"{store}localhost/app",
        f"{store}localhost",
        store,
        root,
    )
    assert parse(f"{STORE}@{ID}").policy_configuration_namespaces == (store, root)
    for reference in (parse(f"{STORE}localhost/team/app:1@{ID}"), parse(f"{STORE}x@{DIGEST}"), parse(f"{STORE}@{ID}")):
        for scope in (reference.policy_configuration_identity, *reference.policy_configuration_namespaces):
            reference.transport.validate_policy_configuration_scope(scope)


SCOPES = ["[/a]", "[overlay@/a]", "[overlay@/a]x", "[overlay@/a]x:1", f"[overlay@/a]x@{ID}", f"[overlay@/a]@{ID}"]
SCOPES += [f"[/a]x@{DIGEST}", f"[overlay@/a]x@{DIGEST}@{ID}", "[overlay@/a+/b]", "[overlay@/a]UPPER/any thing"]
NO_SCOPES = ["x", "/a", "[", "[]", "[@/a]", "[overlay@]", "[a]", "[overlay@a]x", "[overlay@/a]x@", "[overlay@/a]x@12"]
NO_SCOPES += [f"[overlay@/a]x@{ID}@{DIGEST}", f"[overlay@/a]x@{ID}@{ID}", "overlay@/a]x", "[overlay@/a"]


def test_scopes_are_those_of_skopeo(tmp_path: Path) -> None:
    """A policy of skopeo's is one here, and what skopeo refuses is refused."""
    source = Store()
    layout = source.layout(tmp_path / "layout", {"1": source.image()})
    validate = transports.get("containers-storage").validate_policy_configuration_scope
    for scope in [*SCOPES, *NO_SCOPES]:
        rule = [{"type": "insecureAcceptAnything"}]
        policy = tmp_path / "policy.json"
        policy.write_text(json.dumps({"default": rule, "transports": {"containers-storage": {scope: rule}}}))
        command = ["skopeo", "--policy", str(policy), "copy", "-q", f"oci:{layout}:1", f"dir:{tmp_path}/out"]
        accepted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        assert accepted == (scope in SCOPES), scope
        if accepted:
            validate(scope)
            continue
        with pytest.raises(ValueError, match="can never match"):
            validate(scope)


def test_policies_mean_what_they_mean_to_skopeo(tmp_path: Path) -> None:
    """The same images of a store are allowed by the same scopes, those with the id that a name leads to included."""
    source = Store()
    top = source.image()
    layout = source.layout(tmp_path / "layout", {"1": top})
    fill(tmp_path, "vfs", f"oci:{layout}:1", "localhost/team/app:1")
    name = f"containers-storage:{specifier(tmp_path, 'vfs')}localhost/team/app:1"
    id_ = json.loads(source.blobs[top["digest"]])["config"]["digest"].removeprefix("sha256:")
    store, root = f"[vfs@{tmp_path}/vfs]", f"[{tmp_path}/vfs]"
    rests = [f"localhost/team/app:1@{id_}", "localhost/team/app:1", "localhost/team/app", "localhost/team", "localhost"]
    yes = {store, root, *(f"{store}{rest}" for rest in rests)}
    no = {f"{store}localhost/team/app:2", f"{store}localhost/other", f"[overlay@{tmp_path}/vfs]", f"[{tmp_path}]"}
    no |= {f"{store}@{id_}", f"{root}localhost/team/app:1", f"{store}localhost/team/app:1@{ID}"}
    for scope in sorted(yes | no):
        document = {"default": [{"type": "reject"}]}
        accept = {"containers-storage": {scope: [{"type": "insecureAcceptAnything"}]}}
        (tmp_path / "policy.json").write_text(json.dumps(document | {"transports": accept}))
        peer = ["unshare", "--mount", "skopeo", "--policy", f"{tmp_path}/policy.json", "copy", "-q", name]
        done = subprocess.run([*peer, f"dir:{tmp_path}/out"], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (scope in yes), (scope, done.stderr)
        assert allowed(name, Policy.from_file(tmp_path / "policy.json")) == (scope in yes), scope


def allowed(name: str, policy: Policy) -> bool:
    """Say whether a policy allows an image."""
    with policy_context(policy) as context, parse_image_name(name).new_image_source() as source:
        try:
            context.is_running_image_allowed(UnparsedImage(source))
        except PolicyRequirementError:
            return False
        return True


def test_the_store_that_skopeo_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without brackets the store is that of storage.conf, variables in it filled in, and its further stores."""
    monkeypatch.setenv("HOME", str(tmp_path))
    source = Store()
    layout = source.layout(tmp_path / "layout", {"1": source.image()})
    fill(tmp_path / "more", "vfs", f"oci:{layout}:1", "localhost/shared:1")
    conf = tmp_path / "storage.conf"
    conf.write_text(
        '[storage]\ndriver = "vfs"\ngraphroot = "$HOME/store-$UID"\nrunroot = "$HOME/run"\n'
        f"[storage.options]\nadditionalimagestores = ['{tmp_path}/more/vfs']\n"
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
    run("skopeo", "copy", "--insecure-policy", "-q", f"oci:{layout}:1", "containers-storage:localhost/x:1")
    for name in ("localhost/x:1", "localhost/shared:1"):
        raw = run("skopeo", "inspect", "--raw", f"containers-storage:{name}")
        assert inspect(f"containers-storage:{name}").raw_manifest == raw
    assert {one.name for one in list_images("containers-storage:")} == {"localhost/x:1", "localhost/shared:1"}
    assert parse("x").store.graph_root == f"{tmp_path}/store-0"
    again = parse(parse("localhost/shared:1").string_within_transport)
    assert again == parse("localhost/shared:1")
    assert inspect(again).layers


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the administrator comes before that of the vendor, and a prefix before everything implied."""
    monkeypatch.delenv("CONTAINERS_STORAGE_CONF")
    sys = SystemContext(root_for_implicit_absolute_paths=str(tmp_path))
    default = default_location(sys)
    assert (default.driver, default.graph_root) == ("overlay", f"{tmp_path}/var/lib/containers/storage")
    for place, root in (("usr/share", "/vendor"), ("etc", "/admin")):
        file = tmp_path / place / "containers/storage.conf"
        file.parent.mkdir(parents=True)
        file.write_text(f'[storage]\ndriver = "overlay2"\ngraphroot = "{root}"\n')
        assert default_location(sys).graph_root == f"{tmp_path}{root}"
    assert default_location(sys).driver == "overlay"
    monkeypatch.setenv("STORAGE_DRIVER", "vfs")
    monkeypatch.setenv("STORAGE_OPTS", "vfs.imagestore=/one,.imagestore=/two,mountopt=x")
    assert default_location(sys).driver == "vfs"
    assert default_location(sys).additional_roots == ("/one", "/two")


def test_a_prefix_counts_when_an_image_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a store is looked for below the prefix; one with a store is not."""
    monkeypatch.delenv("CONTAINERS_STORAGE_CONF")
    source = Store()
    layout = source.layout(tmp_path / "layout", {"1": source.image()})
    place = tmp_path / "root/var/lib/containers"
    place.mkdir(parents=True)
    there = f"[vfs@{place}/storage+{tmp_path}/run]"
    run("skopeo", "copy", "--insecure-policy", "-q", f"oci:{layout}:1", f"containers-storage:{there}localhost/x:1")
    sys = SystemContext(root_for_implicit_absolute_paths=str(tmp_path / "root"))
    assert inspect("containers-storage:localhost/x:1", sys).layers
    assert inspect(f"containers-storage:{there}localhost/x:1", sys).layers
    assert [one.name for one in list_images("containers-storage:", sys)] == ["localhost/x:1"]


def test_where_the_store_of_a_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own file counts, then what the system says for users, then the directory in the home."""
    monkeypatch.delenv("CONTAINERS_STORAGE_CONF")
    monkeypatch.setenv("_CONTAINERS_ROOTLESS_UID", "1234")
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    sys = SystemContext(root_for_implicit_absolute_paths=str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_location(sys).graph_root == f"{tmp_path}/data/containers/storage"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_location(sys).graph_root.endswith("/home/.local/share/containers/storage")
    system = tmp_path / "etc/containers/storage.conf"
    system.parent.mkdir(parents=True)
    system.write_text(
        '[storage]\ndriver = "vfs"\ngraphroot = "/of/root"\nrootless_storage_path = "/users/$UID/store"\n'
    )
    assert default_location(sys) == StoreLocation(
        driver="vfs", graph_root=f"{tmp_path}/users/1234/store", run_root="/any"
    )
    own = tmp_path / "home/.config/containers/storage.conf"
    own.parent.mkdir(parents=True)
    own.write_text('[storage]\ngraphroot = "/mine"\n')
    assert default_location(sys).graph_root == f"{tmp_path}/mine"
    assert default_location(sys).driver == "vfs"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[storage", LayoutError, "TOML"),
        ("storage = 1", LayoutError, "expected a table"),
        ("[storage]\ndriver = 1", LayoutError, "expected a string"),
        ('[storage]\ngraphroot = "relative"', LayoutError, "absolute path"),
        ('[storage]\ngraphroot = "/a+b"', InvalidReferenceError, "cannot be written"),
        ("[storage]\noptions = 1", LayoutError, "expected a table"),
        ("[storage.options]\nadditionalimagestores = [1]", LayoutError, "list of paths"),
        ('[storage]\ndriver = "\xff"', LayoutError, "TOML"),
        ("a = " + "[" * 100_000, LayoutError, "TOML"),
        ("#" * (2 << 20), LimitExceededError, "storage.conf"),
    ],
)
def test_a_storage_conf_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: type[Exception], message: str
) -> None:
    """A malformed file is a typed error that names it, also when an image is named without a store."""
    conf = tmp_path / "storage.conf"
    conf.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
    with pytest.raises(error, match=message):
        default_location()
    with pytest.raises(error, match=message):
        parse("x")
    conf.unlink()
    with pytest.raises(FileNotFoundError, match=r"storage\.conf"):
        parse("x")


@pytest.mark.parametrize("text", ["x", "[/a]x", "[a]", "[/a"])
def test_what_is_no_store_to_list(text: str) -> None:
    """Only a store in brackets is listed."""
    with pytest.raises(InvalidReferenceError):
        list_images(f"containers-storage:{text}")
