"""index.json as data: what is looked up, what is replaced, and what stays exactly as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, digest_of

from ocikit.errors import AmbiguousImageError, ImageNotFoundError, LayoutError, LimitExceededError
from ocikit.image.layout.index import LayoutIndex
from ocikit.spec import Descriptor, Digest

REF_NAME = "org.opencontainers.image.ref.name"


def entry(content: bytes, name: str | None = None, **members: Any) -> dict[str, Any]:
    """Make an entry for some content."""
    named = {"annotations": {REF_NAME: name}} if name is not None else {}
    return {"mediaType": OCI_MANIFEST, "digest": digest_of(content), "size": len(content), **named, **members}


def index(*entries: dict[str, Any], **members: Any) -> LayoutIndex:
    """Make an index of entries."""
    return LayoutIndex.from_bytes(json.dumps({"schemaVersion": 2, "manifests": list(entries), **members}).encode(), "I")


def descriptor(content: bytes) -> Descriptor:
    """Describe a manifest."""
    return Descriptor(media_type=OCI_MANIFEST, digest=Digest(digest_of(content)), size=len(content))


def entries(of: LayoutIndex) -> list[dict[str, Any]]:
    """Return the entries as they would be written."""
    found: list[dict[str, Any]] = json.loads(of.to_bytes())["manifests"]
    return found


def test_find() -> None:
    """An image is found by its name, by its position, or alone."""
    several = index(entry(b"a", "one"), entry(b"b", "two"), entry(b"c"))
    assert [several.find("two", None), several.find(None, 2), index(entry(b"a", "x")).find(None, None)] == [1, 2, 0]
    with pytest.raises(ImageNotFoundError, match="no image is named 'three'; names are 'one', 'two'"):
        several.find("three", None)
    with pytest.raises(ImageNotFoundError, match="no image @3, there are 3"):
        several.find(None, 3)
    with pytest.raises(AmbiguousImageError, match=r"there are 3 images.*@0 to @2"):
        several.find(None, None)
    with pytest.raises(ImageNotFoundError, match="no images"):
        index().find(None, None)


def test_only_manifests_have_names() -> None:
    """A name on an entry of another type is not the name of an image."""
    found = index(entry(b"c", "x", mediaType=OCI_CONFIG), entry(b"i", "x", mediaType=OCI_INDEX))
    assert found.find("x", None) == 1
    assert found.names() == ["x"]


def test_a_name_that_stands_twice() -> None:
    """The same image twice is one image; two different ones are ambiguous, and the error says how to choose."""
    assert index(entry(b"a", "x"), entry(b"a", "x")).find("x", None) == 0
    with pytest.raises(AmbiguousImageError, match="2 different images are named 'x'; choose @0 or @1"):
        index(entry(b"a", "x"), entry(b"b", "x")).find("x", None)


def test_put_takes_the_name() -> None:
    """The new image gets the name; the old one stays, without it, with everything else it had."""
    keeping = entry(b"old", "x", platform={"os": "linux", "architecture": "arm"}, vendor=[1, 2.5, None])
    keeping["annotations"]["io.example"] = "kept"
    found = index(keeping, entry(b"other", "y"))
    found.put(descriptor(b"new"), "x")
    del keeping["annotations"][REF_NAME]
    assert entries(found) == [keeping, entry(b"other", "y"), entry(b"new", "x")]


def test_put_the_same_again() -> None:
    """Storing an image again under its name changes nothing, even when others put something into its entry."""
    same = entry(b"a", "x", vendor={"b": 1, "a": 2})
    found = index(same, entry(b"b", "y"))
    before = found.to_bytes()
    found.put(descriptor(b"a"), "x")
    assert found.to_bytes() == before


def test_put_collapses_entries_without_a_name() -> None:
    """An entry for the same manifest without a name becomes the new one; a named one stays beside it."""
    found = index(entry(b"a"), entry(b"b", "y"))
    found.put(descriptor(b"a"), "x")
    assert entries(found) == [entry(b"a", "x"), entry(b"b", "y")]
    found.put(descriptor(b"b"), None)
    found.put(descriptor(b"b"), None)
    assert entries(found) == [entry(b"a", "x"), entry(b"b", "y"), entry(b"b")]


def test_what_is_not_ours_stays() -> None:
    """Fields of the document and of entries that nobody here knows survive, in their order."""
    text = (
        '{"zz":[1,{"b":null,"a":"\\u00e9"}],"schemaVersion":2,"annotations":{"k":"v"},'
        '"manifests":[{"x":1,"digest":"not-a-digest"}],"aa":0.5}'
    )
    found = LayoutIndex.from_bytes(text.encode(), "I")
    found.put(descriptor(b"a"), None)
    written = json.loads(found.to_bytes())
    added = written["manifests"].pop()
    assert added == entry(b"a")
    assert list(written) == ["zz", "schemaVersion", "annotations", "manifests", "aa"]
    assert written == json.loads(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "expected an object"),
        (b"{}", "manifests: expected an array"),
        (b'{"schemaVersion":2,"manifests":{}}', "manifests: expected an array"),
        (b'{"schemaVersion":2,"manifests":[1]}', "expected an array of descriptors"),
        (b'{"schemaVersion":1,"manifests":[]}', "expected 2, found 1"),
        (b'{"manifests":[]}', "expected 2, found None"),
        (b'{"schemaVersion":2,"manifests":[],"manifests":[]}', "more than once"),
    ],
)
def test_what_is_no_index(data: bytes, message: str) -> None:
    """What is not an index is refused, saying where and why."""
    with pytest.raises(LayoutError, match=message):
        LayoutIndex.from_bytes(data, "I")


def test_an_empty_list_of_go() -> None:
    """Go writes an empty list as null."""
    assert len(LayoutIndex.from_bytes(b'{"schemaVersion":2,"manifests":null}', "I")) == 0


def test_limits() -> None:
    """An index larger than 4 MiB is not read."""
    with pytest.raises(LimitExceededError):
        LayoutIndex.from_bytes(b'{"schemaVersion":2,"manifests":[]}'.ljust((4 << 20) + 1), "I")


@pytest.mark.parametrize(
    "broken",
    [{"digest": "sha256:../../x"}, {"digest": "sha256:" + "A" * 64}, {"size": -1}, {"size": "1"}, {"mediaType": 1}],
)
def test_entries_are_checked_when_they_are_used(broken: dict[str, Any]) -> None:
    """A malformed entry is an error with its path for whoever asks for it, and nobody else."""
    found = index(entry(b"good", "x"), entry(b"bad", **broken))
    assert found.descriptor(found.find("x", None)).size == 4
    with pytest.raises(LayoutError, match=r"^I: \$\.manifests\[1\]\."):
        found.descriptor(1)
