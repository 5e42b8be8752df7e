"""What the names and attributes of entries mean, before anything is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import LayerError
from ocikit.image.layer import Action, Place, clean, place, printable, settable_xattrs

PLACES = {
    b"": Place(Action.CREATE, b"", b""),
    b".": Place(Action.CREATE, b"", b""),
    b"./": Place(Action.CREATE, b"", b""),
    b"/": Place(Action.CREATE, b"", b""),
    b"..": Place(Action.CREATE, b"", b""),
    b"a/..": Place(Action.CREATE, b"", b""),
    b"a": Place(Action.CREATE, b"", b"a"),
    b"a/": Place(Action.CREATE, b"", b"a"),
    b"./a/b": Place(Action.CREATE, b"a", b"b"),
    b"//a///b//c/": Place(Action.CREATE, b"a/b", b"c"),
    b"../../a/./../b/c": Place(Action.CREATE, b"b", b"c"),
    b"...": Place(Action.CREATE, b"", b"..."),
    b"a/.wh": Place(Action.CREATE, b"a", b".wh"),
    b"a.wh.b": Place(Action.CREATE, b"", b"a.wh.b"),
    b".wh.a": Place(Action.WHITEOUT, b"", b"a"),
    b"a/b/.wh.c": Place(Action.WHITEOUT, b"a/b", b"c"),
    b"a/.wh.b/": Place(Action.WHITEOUT, b"a", b"b"),
    b".wh....": Place(Action.WHITEOUT, b"", b"..."),
    b".wh.\xff": Place(Action.WHITEOUT, b"", b"\xff"),
    b".wh.a/../b": Place(Action.CREATE, b"", b"b"),
    b".wh..wh..opq": Place(Action.OPAQUE, b"", b""),
    b"a/.wh..wh..opq": Place(Action.OPAQUE, b"a", b""),
    b"a/x.wh..wh..opq": Place(Action.CREATE, b"a", b"x.wh..wh..opq"),
    b".wh..wh.aufs": Place(Action.SKIP, b"", b".wh..wh.aufs"),
    b".wh..wh.plnk/1.2": Place(Action.SKIP, b".wh..wh.plnk", b"1.2"),
    b".wh..wh..opq/x": Place(Action.SKIP, b".wh..wh..opq", b"x"),
}

INVALID = [b".wh.", b"a/.wh.", b".wh..", b"a/.wh..", b".wh...", b"a/.wh...", b".wh.a/b", b"a/.wh.b/c/d"]


@pytest.mark.parametrize("name", PLACES)
def test_the_meaning_of_a_name(name: bytes) -> None:
    """A name is cleaned as text and says what its entry asks for."""
    assert place(name) == PLACES[name]


@pytest.mark.parametrize("name", INVALID)
def test_a_name_without_a_meaning(name: bytes) -> None:
    """A whiteout of nothing, or of a directory by its dots, is refused, and so is a file below a whiteout."""
    with pytest.raises(LayerError, match=r"\.wh\."):
        place(name)


@given(st.binary())
def test_no_name_leaves_the_root(name: bytes) -> None:
    """Whatever the name, its components are names of files."""
    assert all(part not in {b"", b".", b".."} and b"/" not in part for part in clean(name))


def test_attributes_that_are_set() -> None:
    """Attributes of the host and of overlay mounts are left out, and so are those without a value."""
    given = {
        "user.a": b"1",
        "user.none": b"",
        "user.overlay.opaque": b"y",
        "trusted.overlay.redirect": b"/etc",
        "trusted.overlay.overlay.opaque": b"y",
        "trusted.overlaid": b"2",
        "security.selinux": b"label",
        "security.capability": b"3",
        "system.nfs4_acl": b"acl",
        "system.posix_acl_access": b"4",
    }
    assert dict(settable_xattrs(given)) == {
        "user.a": b"1",
        "trusted.overlaid": b"2",
        "security.capability": b"3",
        "system.posix_acl_access": b"4",
    }


def test_names_in_messages() -> None:
    """A name of any bytes can be shown."""
    assert printable(b"a\xff\xc3\xbc") == "a\\xffü"
    assert printable(b"\x1b[31mred\n") == "\\x1b[31mred\\n"
    assert printable("a\u202eb".encode()) == "a\\u202eb"
