"""What was found out about a part of a configuration is not found out again, and never taken for that of another."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import attrs
import pytest

from ocikit import runtime
from ocikit.errors import ValidationError
from ocikit.runtime.once import Once
from ocikit.spec import Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_once() -> None:
    """A function is called once for each object, and for equal ones each time; errors are raised again."""
    calls: list[Root] = []

    def compute(root: Root) -> str:
        calls.append(root)
        if root.path == "bad":
            raise ValueError(root.path)
        return root.path

    once = Once(compute)
    one, other, bad = Root(path="a"), Root(path="a"), Root(path="bad")
    assert [once(one), once(one), once(other)] == ["a", "a", "a"]
    assert len(calls) == 2
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            once(bad)
    assert len(calls) == 4


def test_what_is_gone_is_forgotten() -> None:
    """Nothing is kept of objects that are gone, and a new one in the place of an old one is another one."""
    once: Once[Root, str] = Once(lambda root: root.path)
    for number in range(1000):
        assert once(Root(path=str(number))) == str(number)
    gc.collect()
    assert once._found == {}


def test_a_bundle_that_changes(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """A configuration that was changed, also to one of the same length, is read anew each time."""
    for text in (b"one", b"two", b"one"):
        bundle = make_bundle("echo", text.decode())
        assert runtime.run(root, container_id, bundle).stdout == text + b"\n"
        os.utime(bundle / "config.json", (0, 0))


def test_another_configuration(root: Path, make_spec: Callable[..., Spec], tmp_path: Path, container_id: str) -> None:
    """What holds of one configuration is not said of one that was made from it."""
    spec = make_spec("true")
    assert runtime.run(root, container_id, tmp_path, spec=spec).exit_code == 0
    with pytest.raises(ValidationError, match="hostname"):
        runtime.run(root, container_id, tmp_path, spec=attrs.evolve(spec, hostname="x" * 65))
    with pytest.raises(ValidationError):
        runtime.run(root, container_id, tmp_path, spec=spec.with_process(cwd="relative"))
    assert runtime.run(root, container_id, tmp_path, spec=spec).exit_code == 0
