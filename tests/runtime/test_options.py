"""How a container is made, beside what its configuration says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ocikit import runtime
from ocikit.runtime import CreateOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_descriptors_are_inherited(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """The program gets the descriptors that are given to it, from 3 on, and no other."""
    bundle = make_bundle("sh", "-c", "cat <&3; echo out >&4; ls /proc/self/fd")
    reader, writer = os.pipe()
    outer, inner = os.pipe()
    try:
        os.write(writer, b"in\n")
        os.close(writer)
        options = CreateOptions(preserve_fds=(reader, inner))
        with runtime.create(root, container_id, bundle, stdin="null", stdout="pipe", options=options) as container:
            container.start()
            assert container.stdout is not None
            assert container.stdout.read().split() == [b"in", b"0", b"1", b"2", b"3", b"4", b"5"]  # 5 is that of ls
        assert os.read(outer, 10) == b"out\n"
    finally:
        for fd in (reader, outer, inner):
            os.close(fd)


def test_too_many_descriptors(root: Path, bundle: Path, container_id: str) -> None:
    """More descriptors than can be handed over are refused before anything is made."""
    with pytest.raises(ValueError, match="at most 128"):
        runtime.create(root, container_id, bundle, options=CreateOptions(preserve_fds=(0,) * 129))
    assert not root.exists()


@pytest.mark.parametrize("shared", [False, True])
def test_session_keyring(root: Path, make_bundle: Callable[..., Path], container_id: str, *, shared: bool) -> None:
    """A container has a session keyring of its own, unless it shall share the caller's."""
    bundle = make_bundle("cat", "/proc/keys", linux={"masked_paths": ()})
    options = CreateOptions(no_new_keyring=shared)
    with runtime.create(root, container_id, bundle, stdout="pipe", options=options) as container:
        container.start()
        assert container.stdout is not None
        keys = container.stdout.read().decode()
    assert (f"_ses.{container_id}" in keys) is not shared
