"""Named tuples that cost little to define are those of the standard library in everything but the cost."""

from __future__ import annotations

import copy
import pickle
import typing
from inspect import signature
from typing import TYPE_CHECKING, Any

import pytest

from ocikit._tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Theirs(typing.NamedTuple):
    """A place."""

    name: str
    position: tuple[int, ...] = ()
    parent: Theirs | None = None

    @property
    def depth(self) -> int:
        """How many are above it."""
        return 0 if self.parent is None else self.parent.depth + 1

    def moved(self, *by: int) -> Theirs:
        """Return one elsewhere."""
        return self._replace(position=self.position + by)

    @classmethod
    def here(cls) -> Theirs:
        """Return the first one."""
        return cls("here")


class Ours(NamedTuple):
    """A place."""

    name: str
    position: tuple[int, ...] = ()
    parent: Ours | None = None

    @property
    def depth(self) -> int:
        """How many are above it."""
        return 0 if self.parent is None else self.parent.depth + 1

    def moved(self, *by: int) -> Ours:
        """Return one elsewhere."""
        return self._replace(position=self.position + by)

    @classmethod
    def here(cls) -> Ours:
        """Return the first one."""
        return cls("here")


def test_a_class_has_what_one_of_the_standard_library_has() -> None:
    """Fields, defaults and text are the same; the methods of the class body are there."""
    for name in ("_fields", "_field_defaults", "__doc__", "__match_args__", "__slots__", "__module__"):
        assert getattr(Ours, name) == getattr(Theirs, name), name
    assert Ours.__qualname__ == "Ours"
    assert {*dir(Ours)} >= {*dir(Theirs)} - {"__orig_bases__"}
    assert typing.get_type_hints(Ours)["position"] == typing.get_type_hints(Theirs)["position"]
    ours, theirs = (signature(cls).parameters.values() for cls in (Ours, Theirs))
    assert [(one.name, one.kind, one.default) for one in ours] == [(one.name, one.kind, one.default) for one in theirs]


def test_an_object_is_what_one_of_the_standard_library_is() -> None:
    """Objects are tuples: compared, hashed, taken apart, copied and pickled as such."""
    ours, theirs = Ours.here().moved(1, 2), Theirs.here().moved(1, 2)
    assert tuple(ours) == tuple(theirs) == ("here", (1, 2), None)
    assert ours == tuple(theirs)
    assert hash(ours) == hash(theirs)
    assert repr(ours).replace("Ours", "Theirs") == repr(theirs)
    assert ours._asdict() == theirs._asdict()
    assert Ours("below", parent=ours).depth == 1
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):  # noqa: S301 - our own bytes
        assert type(copied) is Ours
        assert copied == ours


def test_what_does_not_fit_is_refused() -> None:
    """Arguments, names and lengths are checked as in the standard library, where they are checked at all."""
    classes: tuple[Any, ...] = Theirs, Ours
    for cls in classes:
        place = cls("a")
        wrong: list[tuple[Callable[..., object], tuple[object, ...], dict[str, object], type[Exception]]] = [
            (cls, (), {}, TypeError),
            (cls, ("a",), {"wrong": 1}, TypeError),
            (cls, ("a", (), None, 1), {}, TypeError),
            (cls._make, (["a"],), {}, TypeError),
            (place._replace, (), {"wrong": 1}, ValueError),
            (setattr, (place, "name", "b"), {}, AttributeError),
            (setattr, (place, "other", "b"), {}, AttributeError),
        ]
        for call, arguments, named, error in wrong:
            with pytest.raises(error):
                call(*arguments, **named)


def test_what_cannot_be_a_named_tuple_is_refused() -> None:
    """Fields with defaults come last, and there is no other base; the standard library refuses both, too."""
    for made in (typing.NamedTuple, NamedTuple):
        namespace = {"base": made, "Other": type("Other", (), {}), "__name__": __name__}
        with pytest.raises(TypeError, match="default"):
            exec("from __future__ import annotations\nclass X(base):\n  a: int = 0\n  b: int", namespace)  # noqa: S102
        with pytest.raises(TypeError, match=r"base|inherit"):
            exec("from __future__ import annotations\nclass X(base, Other):\n  a: int", namespace)  # noqa: S102
