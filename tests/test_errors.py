"""The error tree: drawn as it is declared, and every error survives the way from one process to another."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
import re

import pytest

from ocikit import errors

#: An argument for each parameter that an error takes.
ARGUMENTS = {
    "action": "mount proc",
    "status": 404,
    "code": "MANIFEST_UNKNOWN",
    "detail": "tag x",
    "actual": 3,
    "changes": ("its type becomes another",),
    "errno_": errno.EPERM,
    "exit_code": 3,
    "expected": 4,
    "failures": ("has not ended",),  # of which the message is made
    "found": 1 << 40,
    "limit": 1 << 22,
    "manifest": "oci:/srv/layout:x",
    "message": "container x has not ended",
    "output": b"what a program said",
    "path": "$.mounts[3]",
    "program": "/bin/false",
    "reasons": ("it is signed",),
    "reason": "expected a string, found 1",
    "remedy": "run as root",
    "retry_after": 60,
    "signal": 9,
    "stderr": b"what it said on the side",
    "stdout": b"what it said",
    "source": "/etc/containers/policy.json",
    "violations": ("$.root: missing", "$.ociVersion: missing"),
    "what": "layer 2",
}

CLASSES = [getattr(errors, name) for name in errors.__all__]


def make(kind: type[errors.OCIKitError], *, every: bool) -> errors.OCIKitError:
    """Make an error with every argument, or with those that it needs."""
    if not inspect.isfunction(kind.__init__):
        return kind("something is wrong")
    parameters = [*inspect.signature(kind.__init__).parameters.values()][1:]
    return kind(*(ARGUMENTS[one.name] for one in parameters if every or one.default is one.empty))


@pytest.mark.parametrize("every", [True, False], ids=["every argument", "needed arguments"])
@pytest.mark.parametrize("kind", CLASSES)
def test_errors_travel(kind: type[errors.OCIKitError], every: bool) -> None:  # noqa: FBT001
    """An error that is pickled, or copied, is the same error: class, message, attributes, errno."""
    error = make(kind, every=every)
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    for again in [copy.copy(error), *(pickle.loads(pickle.dumps(error, one)) for one in protocols)]:  # noqa: S301
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        for name in ("errno", "strerror", "filename"):
            assert getattr(again, name, None) == getattr(error, name, None)


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_say_something(kind: type[errors.OCIKitError]) -> None:
    """The message holds every argument that the error was given, or what it stands for."""
    error = make(kind, every=True)
    for value in vars(error).values():
        if isinstance(value, tuple):
            assert all(str(one) in str(error) for one in value)
        elif not isinstance(value, bytes):  # what a container wrote is not for the message
            texts = [str(value), f"{value:,}"] if isinstance(value, int) else [str(value)]
            assert any(text in str(error) for text in texts)
    if isinstance(error, OSError) and error.errno is not None:
        assert "Operation not permitted" in str(error)
        assert error.errno == errno.EPERM


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Return the tree of the docstring: each error with its parent, and the builtin class it also is."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r" {4}([│├└─ ]*)(\w+Error)\b(?:.*?\((\w+)\))?.*", line)
        if found:
            depth = len(found[1]) // 4
            ancestors[depth:] = [found[2]]
            tree[found[2]] = (ancestors[depth - 1] if depth else None, found[3])
    return tree


def declared() -> dict[str, tuple[str | None, str | None]]:
    """Return the tree of the classes, in the same form; private classes are steps on the way."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    for kind in CLASSES:
        above = [base.__name__ for base in kind.__mro__[1:] if base.__name__ in errors.__all__]
        parent = above[0] if above else None
        inherited = getattr(errors, parent).__mro__ if parent else Exception.__mro__
        builtin = [base.__name__ for base in kind.__mro__ if base.__module__ == "builtins" and base not in inherited]
        tree[kind.__name__] = (parent, builtin[0] if builtin else None)
    return tree


def test_the_drawing_is_true() -> None:
    """The tree in the docstring is the tree of the classes: parents, and the builtin classes they also are."""
    assert drawn() == declared()


def test_every_error_is_public() -> None:
    """``__all__`` has every class that does not begin with an underscore, sorted."""
    kinds = [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)]
    assert [*errors.__all__] == sorted(name for name in kinds if not name.startswith("_"))


def test_everything_can_be_caught_at_once() -> None:
    """Every error is an OCIKitError."""
    assert all(issubclass(kind, errors.OCIKitError) for kind in CLASSES)


def test_notes_survive_the_boundary_of_a_process() -> None:
    """What was noted on an error is still there when it was pickled and unpickled."""
    for error in (
        errors.ParseError("$.x", "wrong"),
        errors.SetupError("mount", 1, "/x", "be root"),
        errors.ExistError("x"),
    ):
        error.add_note("while importing")
        unpickled = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert unpickled.__notes__ == ["while importing"]
        assert str(unpickled) == str(error)
