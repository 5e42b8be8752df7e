"""The public face: what others may rely on is written down, and there is nothing else in it."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from face import public_names, public_rooms, table
from house_source import PACKAGE, expect_none

import ocikit

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOMS = public_rooms()


def place(name: str) -> tuple[int, str]:
    """Return where a name stands in a sorted ``__all__``: constants, then classes, then the rest."""
    first = name.lstrip("_")
    return (0 if first.isupper() and len(first) > 1 else 1 if first[:1].isupper() else 2), name


def test_the_face_is_as_written() -> None:
    """A public name comes and goes on purpose: with a line in face.txt (``make face``) and in the changelog."""
    now, written = set(public_names()), set(table())
    expect_none([*(f"new: {name}" for name in now - written), *(f"gone: {name}" for name in written - now)])


def test_the_table_is_sorted() -> None:
    """Each name has its place, so that two people adding names do not collide."""
    assert table() == sorted(set(table()))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_what_it_has(room: str) -> None:
    """Every name of ``__all__`` is there, is listed by ``dir``, is there once, and in order."""
    module = import_module(room)
    names = ROOMS[room]
    expect_none(f"{room}.{name} is missing from dir()" for name in set(names) - set(dir(module)))
    expect_none(f"{room}.{name} is None" for name in names if getattr(module, name) is None)
    assert names == sorted(set(names), key=place)
    everything: dict[str, object] = {}
    exec(f"from {room} import *", everything)  # noqa: S102 - what a notebook does
    assert set(names) <= everything.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_not_there_is_an_attribute_error(room: str) -> None:
    """A name that a room does not have is an error that names both."""
    with pytest.raises(AttributeError, match=rf"{room}.*no_such_name"):
        import_module(room).no_such_name  # noqa: B018


def signatures(room: str) -> Iterator[tuple[str, inspect.Signature]]:
    """Yield the signature of every public function and method of a room."""
    module = import_module(room)
    for name in ROOMS[room]:
        value = getattr(module, name)
        members = inspect.getmembers(value, inspect.isfunction) if inspect.isclass(value) else [("", value)]
        for member, function in members:
            if inspect.isfunction(function) and not member.startswith("_"):
                yield f"{room}.{name}.{member}".rstrip("."), inspect.signature(function)


@pytest.mark.parametrize("room", ROOMS)
def test_booleans_have_a_name(room: str) -> None:
    """No public function takes a boolean by its position: nobody can read such a call."""
    expect_none(
        f"{name}: {one.name}"
        for name, signature in signatures(room)
        for one in signature.parameters.values()
        if one.annotation in {"bool", bool} and one.kind is not one.KEYWORD_ONLY
    )


def test_types_are_shipped() -> None:
    """Type checkers are told to look at our annotations."""
    assert (PACKAGE / "py.typed").read_bytes() == b""


def test_there_is_one_version() -> None:
    """The version of the package and that of its metadata are the same."""
    assert ocikit.__version__ == version("ocikit")
