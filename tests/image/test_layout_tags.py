"""Names are given and taken away under the lock; every other entry stays byte for byte."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_INDEX, OCI_MANIFEST, Store, names_in
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import AmbiguousImageError, ImageNotFoundError, InvalidReferenceError, LayoutError
from ocikit.image import SystemContext, inspect, layout
from ocikit.image.layout.index import LayoutIndex
from ocikit.image.layout.verbatim import element_texts

if TYPE_CHECKING:
    from pathlib import Path

NAME = "org.opencontainers.image.ref.name"


def entries(path: Path) -> list[dict[str, Any]]:
    """Return what index.json lists."""
    listed: list[dict[str, Any]] = json.loads((path / "index.json").read_bytes())["manifests"]
    return listed


def test_a_name_is_given_and_taken(tmp_path: Path) -> None:
    """Skopeo finds the image by both names, then by one; the image itself stays."""
    store = Store()
    image = store.image()
    path = store.layout(tmp_path / "l", {"one": image})
    assert layout.tag(path, "one", "two") == image["digest"]
    assert names_in(path) == ["one", "two"]
    for name in ("one", "two"):
        subprocess.run(["skopeo", "inspect", f"oci:{path}:{name}"], check=True, capture_output=True)
    assert layout.untag(f"oci:{path}", "one") == image["digest"]
    assert names_in(path) == ["two"]
    assert layout.untag(path, "two") == image["digest"]
    assert names_in(path) == [""]
    assert inspect(f"oci:{path}:@0").digest == image["digest"]
    assert layout.gc(path).removed == ()


def test_by_position_and_digest(tmp_path: Path) -> None:
    """An image without a name gets one by where it stands or by its digest; its entry becomes the one with the name."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    path = store.layout(tmp_path / "l", {"": one, "two": two})
    layout.tag(path, "@0", "first")
    layout.tag(path, two["digest"], "second")
    assert names_in(path) == ["first", "two", "second"]
    assert [entry["digest"] for entry in entries(path)] == [one["digest"], two["digest"], two["digest"]]
    layout.tag(path, "two", "second")
    assert len(entries(path)) == 3


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    """The older image of that name stays and loses it."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    path = store.layout(tmp_path / "l", {"one": one, "two": two})
    layout.tag(path, "one", "two")
    assert [(entry["digest"], entry.get("annotations", {}).get(NAME)) for entry in entries(path)] == [
        (one["digest"], "one"),
        (two["digest"], None),
        (one["digest"], "two"),
    ]


def test_the_new_entry_is_a_copy(tmp_path: Path) -> None:
    """Platform, annotations and fields that nobody knows go with the name; what is said of the old one stays."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": store.image() | {"vendor": [1]}})
    entry = entries(path)[0]
    entry["annotations"]["other"] = "kept"
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    layout.tag(path, "x", "y")
    first, second = entries(path)
    assert first == entry
    assert second == entry | {"annotations": {NAME: "y", "other": "kept"}}
    layout.untag(path, "y")
    assert entries(path) == [entry]
    second["annotations"]["list"] = "1"
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry, second]}))
    layout.untag(path, "y")
    assert entries(path) == [entry, second | {"annotations": {"other": "kept", "list": "1"}}]


def test_other_entries_stay_byte_for_byte(tmp_path: Path) -> None:
    """Spaces, escapes, numbers and the order of keys of what is not touched are as somebody wrote them."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    digest = two["digest"].replace("sha256", "sha\\u003256")
    odd = (
        f'{{ "size" : {two["size"]},\n\t"digest":"{digest}", "mediaType":"{OCI_MANIFEST}",'
        '"x":[1.0, 1E5,-0, 12345678901234567890123],'
        f' "annotations":{{"{NAME}":"odd","\\u0061\\/":"\\u00e9\\n" }} }}'
    )
    text = '{"x":  1.50, "manif\\u0065sts" : [ %s,\n %s ] ,"schemaVersion":2}'
    path = store.layout(tmp_path / "l", {})
    (path / "index.json").write_text(text % (odd, json.dumps(one | {"annotations": {NAME: "one"}})))
    layout.tag(path, "one", "two")
    layout.tag(path, "odd", "three")
    layout.untag(path, "one")
    written = (path / "index.json").read_text()
    assert odd in written
    assert names_in(path) == ["odd", "two", "three"]
    assert json.loads(written)["x"] == 1.5
    layout.untag(path, "odd")
    assert odd not in (path / "index.json").read_text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=4),
    st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    st.sampled_from([None, 1, "\t", " \r\n"]),
    st.booleans(),
)
def test_any_document(elements: list[Any], others: dict[str, Any], indent: Any, ascii_only: bool) -> None:  # noqa: FBT001
    """Whatever is in an index.json and however it is written, its entries are found as they are written."""
    document = {**others, "schemaVersion": 2, "manifests": elements}
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    found = element_texts(text, "manifests")
    assert [value for value, _ in found] == elements
    assert [json.loads(one) for _, one in found] == elements
    index = LayoutIndex.from_bytes(text.encode(), "index.json")
    written = index.to_bytes().decode()
    assert json.loads(written) == document
    assert [one for _, one in element_texts(written, "manifests")] == [one for _, one in found]


@pytest.mark.parametrize("name", ["", "@1", "a b", "a//b", "-x", "x" * 10 + "\n", "ä"])
def test_names_outside_the_grammar(tmp_path: Path, name: str) -> None:
    """A name that nobody could ask for is not given."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": store.image()})
    before = (path / "index.json").read_bytes()
    with pytest.raises(InvalidReferenceError, match="expected letters and digits"):
        layout.tag(path, "x", name)
    assert (path / "index.json").read_bytes() == before


def test_a_foreign_name_can_be_replaced(tmp_path: Path) -> None:
    """An image that another tool gave an odd name is found by it, and gets a better one."""
    store = Store()
    path = store.layout(tmp_path / "l", {"not a//name": store.image(), "@0": store.image({"0": b""})})
    layout.tag(path, "not a//name", "name")
    layout.untag(path, "not a//name")
    assert names_in(path) == ["@0", "name"]
    layout.tag(path, "@0", "zero")
    assert entries(path)[-1]["digest"] == entries(path)[0]["digest"]


def test_what_is_not_there(tmp_path: Path) -> None:
    """Nothing is written when there is no such image, or several, or no layout."""
    store = Store()
    one, two = store.image({"1": b""}), store.image({"2": b""})
    path = store.layout(tmp_path / "l", {"same": one, "": two})
    before = json.loads((path / "index.json").read_bytes())
    before["manifests"].append(two | {"annotations": {NAME: "same"}})
    (path / "index.json").write_text(json.dumps(before))
    for name, error in (
        ("none", ImageNotFoundError),
        ("@7", ImageNotFoundError),
        ("sha256:" + "0" * 64, ImageNotFoundError),
        ("@99999999999999999999", ImageNotFoundError),
        ("same", AmbiguousImageError),
    ):
        with pytest.raises(error):
            layout.tag(path, name, "new")
    with pytest.raises(AmbiguousImageError):
        layout.untag(path, "same")
    with pytest.raises(ImageNotFoundError):
        layout.untag(path, "@0")
    assert json.loads((path / "index.json").read_bytes()) == before
    with pytest.raises(FileNotFoundError):
        layout.tag(tmp_path / "none", "x", "y")
    with pytest.raises(LayoutError):
        layout.tag(tmp_path, "x", "y")


def test_many_at_once(tmp_path: Path) -> None:
    """No name is lost when many are given at the same time."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": store.image()})
    wanted = [f"n{number}" for number in range(12)]
    threads = [threading.Thread(target=layout.tag, args=(path, "x", name)) for name in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names_in(path)) == sorted(["x", *wanted])


def test_with_blobs_elsewhere(tmp_path: Path) -> None:
    """A layout whose blobs are in a shared directory, and that has none of its own, has names all the same."""
    store = Store()
    path = store.layout(tmp_path / "l", {"x": store.index(store.image())})
    (path / "blobs").rename(tmp_path / "shared")
    sys = SystemContext(oci_shared_blob_dir_path=str(tmp_path / "shared"))
    layout.tag(path, "x", "y", sys)
    layout.untag(path, "x", sys)
    assert names_in(path) == ["y"]
    assert entries(path)[0]["mediaType"] == OCI_INDEX
