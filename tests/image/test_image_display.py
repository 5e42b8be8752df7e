"""Images show themselves in a terminal and in a notebook, whatever they say of themselves."""

from __future__ import annotations

import json
import subprocess
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, Store

from ocikit.errors import ImageNotFoundError, LayoutError, LimitExceededError, VerificationError
from ocikit.image import ListedImages, SystemContext, inspect, list_images

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "\x1b[31m\x07\n<script>alert(1)</script>&\u202e\u2028" + "y" * 1000
AMD = SystemContext(os_choice="linux", architecture_choice="amd64")


class Balanced(HTMLParser):
    """Reads HTML and counts what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.said = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Remember an element."""
        del attrs
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.said += data


def page(thing: Any) -> Balanced:
    """Read the HTML of something."""
    parser = Balanced()
    parser.feed(thing._repr_html_())
    parser.close()
    assert parser.open == []
    return parser


def described(store: Store, **config: Any) -> dict[str, Any]:
    """Add an image of two layers with this configuration."""
    layers = [store.layer({"a": b"a" * 2000}), store.layer({"b": b"b"})]
    document = {
        "created": "2024-01-02T03:04:05Z",
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "config": {"Env": ["PATH=/bin", "A=b"], "Cmd": ["sh", "-c"], "Labels": {"one": "1", "two": "2"}, "User": "app"},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        "history": [
            {"created": "2024-01-01T00:00:00Z", "created_by": "ADD file"},
            {"created_by": "ENV A=b", "empty_layer": True},
            {"created_by": "RUN make", "comment": "c"},
        ],
    }
    return store.image(
        extra={"config": store.json(OCI_CONFIG, document | config), "layers": [one for one, _ in layers]}
    )


def test_what_users_of_skopeo_ask_for(tmp_path: Path) -> None:
    """The dictionary has what `skopeo inspect` says, with the same keys and values."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": described(store)})
    told = subprocess.run(["skopeo", "inspect", f"oci:{path}:x"], check=True, capture_output=True)
    theirs = json.loads(told.stdout)
    found = inspect(f"oci:{path}:x")
    ours = json.loads(json.dumps(found.to_dict()))
    same = set(theirs) & set(ours) - {"Name"}
    assert same >= {"Digest", "Created", "Labels", "Architecture", "Os", "Layers", "Env"}
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert [layer["Digest"] for layer in ours["LayersData"]] == ours["Layers"]
    manifest = json.loads(found.raw_manifest)
    parts = [manifest["config"], *manifest["layers"]]
    assert found.size == ours["Size"] == len(found.raw_manifest) + sum(part["size"] for part in parts)
    assert found.env == ("PATH=/bin", "A=b")
    assert [(line.created_by, line.size) for line in found.layers_with_history] == [
        ("ADD file", manifest["layers"][0]["size"]),
        ("ENV A=b", 0),
        ("RUN make", manifest["layers"][1]["size"]),
    ]


def test_an_image_in_a_terminal_and_a_notebook(tmp_path: Path) -> None:
    """What matters is there: name, platform, size, labels, each layer with its line of history."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": described(store)})
    found = inspect(f"oci:{path}:x")
    for shown in (str(found), page(found).said):
        for part in (f"oci:{path}:x", "linux/arm64/v8", found.digest, "one=1", "A=b", "RUN make", "ADD file", "app"):
            assert part in shown
        for layer in found.layers:
            assert layer.digest.removeprefix("sha256:")[:12] in shown
    assert "table" in page(found).seen


def test_an_index(tmp_path: Path) -> None:
    """The platforms that it is for, without attestations, and the image that was chosen."""
    store = Store()
    amd, arm = store.image({"amd": b""}), store.image({"arm": b""}, architecture="arm64", variant="v8")
    unknown = store.image({"x": b""}, architecture="unknown", os="unknown")
    path = store.layout(tmp_path / "l", {"x": store.index(amd, arm, unknown)})
    found = inspect(f"oci:{path}:x", AMD)
    assert [(one.architecture, one.variant) for one in found.platforms] == [("amd64", ""), ("arm64", "v8")]
    assert found.platform is not None
    assert found.platform.architecture == "amd64"
    assert found.manifest_size == amd["size"]
    for shown in (str(found), page(found).said):
        assert "linux/amd64, linux/arm64/v8" in shown
        assert amd["digest"] in shown
    assert [one["architecture"] for one in found.to_dict()["Platforms"]] == ["amd64", "arm64"]


def test_an_artifact(tmp_path: Path) -> None:
    """What is no image has no platform and shows its layers."""
    store = Store()
    empty = store.blob("application/vnd.oci.empty.v1+json", b"{}")
    top = store.image(extra={"config": empty, "artifactType": "application/x", "annotations": {"k": "v"}})
    found = inspect(f"oci:{store.layout(tmp_path / 'l', {'x': top})}:x")
    assert (found.platform, found.platforms, found.env) == (None, (), ())
    for shown in (str(found), page(found).said):
        assert "k=v" in shown
        assert "no platform" in shown
    json.dumps(found.to_dict())


def test_hostile_text_is_harmless(tmp_path: Path) -> None:
    """Control characters, markup, endless and countless labels are escaped and cut, and never run."""
    store = Store()
    labels = {f"{number}{EVIL}": EVIL for number in range(100)}
    config = {"Env": [EVIL] * 50, "Labels": labels, "Cmd": [EVIL], "Entrypoint": [EVIL], "User": EVIL}
    history = [{"created_by": EVIL, "author": EVIL}] * 2 + [{"created_by": EVIL, "empty_layer": True}] * 1000
    top = described(store, config=config, history=history, os=EVIL, architecture="\u202e", variant=EVIL)
    path = store.layout(
        tmp_path / "l", {"x": top, "i": store.index(*[top | {"platform": {"os": EVIL, "architecture": EVIL}}] * 200)}
    )
    found = inspect(f"oci:{path}:x")
    listed = list_images(path, nested=True)
    for thing in (found, listed):
        shown, html = str(thing), thing._repr_html_()
        assert not set(shown.replace("\n", "") + html) & {"\x1b", "\x07", "\u202e", "\u2028", "\n"}
        assert "script" not in page(thing).seen
        assert len(shown) < 200_000
        assert len(html) < 1_000_000
    assert found.env == (EVIL,) * 50


def test_lists_show_themselves(tmp_path: Path) -> None:
    """A list of images is a tuple, a table, and HTML."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    path = store.layout(tmp_path / "l", {"one": one, "": two})
    found = list_images(path)
    assert isinstance(found, tuple)
    assert isinstance(found, ListedImages)
    for shown in (str(found), page(found).said):
        for part in ("one", "@1", one["digest"].removeprefix("sha256:")[:12], one["mediaType"]):
            assert part in shown
    assert str(list_images(store.layout(tmp_path / "m", {})))


@pytest.mark.parametrize("media_type", [{}, [], 1, None])
def test_entries_of_no_type(tmp_path: Path, media_type: Any) -> None:
    """An entry whose type is no text is an error that names it, or no image; whoever asks for another gets that."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": store.image(), "y": store.image({"y": b""}) | {"mediaType": media_type}})
    with pytest.raises(LayoutError, match=r"manifests\[1\]"):
        list_images(path)
    assert inspect(f"oci:{path}:x", AMD).digest
    with pytest.raises(ImageNotFoundError):
        inspect(f"oci:{path}:y")


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_nested_indexes_are_listed(tmp_path: Path, kind: str) -> None:
    """What is in indexes, and in indexes within them, when asked for; in directories and archives."""
    store = Store()
    amd, arm = store.image({"amd": b""}), store.image({"arm": b""}, architecture="arm64")
    inner = store.index(amd, arm)
    names = {"plain": amd, "nested": store.index(inner, amd)}
    path = store.layout(tmp_path / "l", names) if kind == "oci" else store.archive(tmp_path / "a", names)
    assert all(one.children == () for one in list_images(path))
    plain, nested = list_images(f"{kind}:{path}", nested=True)
    assert plain.children == ()
    first, second = nested.children
    assert (first.descriptor.digest, second.descriptor.digest) == (inner["digest"], amd["digest"])
    assert [(one.position, one.descriptor.digest) for one in first.children] == [(0, amd["digest"]), (1, arm["digest"])]
    assert (first.reference, first.name) == (None, None)
    assert "  linux/arm64" in str(list_images(path, nested=True))


def test_nested_indexes_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    """A missing one has no children, a damaged one is an error, and neither depth nor number is without bound."""
    store = Store()
    index = store.index(store.image())
    path = store.layout(tmp_path / "l", {"x": index})
    file = path / "blobs" / "sha256" / index["digest"].removeprefix("sha256:")
    data = file.read_bytes()
    file.write_bytes(data.replace(b"2", b"3", 1))
    with pytest.raises(VerificationError):
        list_images(path, nested=True)
    file.unlink()
    assert list_images(path, nested=True)[0].children == ()
    deep = index
    for _ in range(10):
        deep = store.index(deep)
    with pytest.raises(LimitExceededError, match="nested"):
        list_images(store.layout(tmp_path / "deep", {"x": deep}), nested=True)
    wide = store.image()
    for _ in range(6):
        wide = store.index(*[wide] * 12)
    with pytest.raises(LimitExceededError, match="list"):
        list_images(store.layout(tmp_path / "wide", {"x": wide}), nested=True)
