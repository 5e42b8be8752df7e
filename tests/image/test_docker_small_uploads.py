"""Small blobs go to a registry in two requests each, whatever happens to the second."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from docker_images import an_image, context, pull, push

from ocikit.errors import RegistryAccessError
from ocikit.image import docker
from ocikit.image.docker.destination import DockerDestination
from ocikit.testing import Answer, Fault, Registry, Reset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYERS = 3
#: Layers and a configuration.
BLOBS = LAYERS + 1


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry, on loopback."""
    with Registry() as made:
        yield made
    docker.close_connections()


def pushed(registry: Registry, directory: Path) -> str:
    """Push an image; return its digest."""
    source = an_image(directory / "images", layers=LAYERS)
    done = push(source, f"docker://{registry.address}/team/app:1", context(directory / "conf", registry))
    return str(done.digest)


def test_two_requests_for_each(registry: Registry, tmp_path: Path) -> None:
    """One says that a blob comes, the other has it, and its digest."""
    digest = pushed(registry, tmp_path)
    kinds = [one.kind for one in registry.requests]
    assert (kinds.count("upload_start"), kinds.count("upload_put"), kinds.count("upload_patch")) == (BLOBS, BLOBS, 0)
    back = pull(
        f"docker://{registry.address}/team/app:1", f"oci:{tmp_path}/back:x", context(tmp_path / "conf", registry)
    )
    assert str(back.digest) == digest


@pytest.mark.parametrize(
    "action",
    [
        Answer(status=400),
        Answer(status=405),
        Answer(status=413),
        Answer(status=503),
        Reset(),
        Reset(received=1000),
        Answer(status=500, done=True),
    ],
    ids=str,
)
def test_where_that_fails_it_goes_in_pieces(registry: Registry, tmp_path: Path, action: Any) -> None:
    """A registry that does not take it, or is lost meanwhile: the blob is there in the end."""
    registry.inject(
        Fault(kind="upload_put", do=action, times=None, where=lambda one: one.headers.get("content-length") != "0")
    )
    digest = pushed(registry, tmp_path)
    assert registry.tags("team/app") == {"1": digest}
    pull(f"docker://{registry.address}/team/app:1", f"oci:{tmp_path}/back:x", context(tmp_path / "conf", registry))


def test_only_the_answer_was_lost(registry: Registry, tmp_path: Path) -> None:
    """A blob that is there is not sent a second time."""
    registry.inject(Fault(kind="upload_put", do=Reset(done=True), times=BLOBS))
    pushed(registry, tmp_path)
    assert [one for one in registry.requests if one.kind == "upload_patch"] == []
    assert len([one for one in registry.requests if one.kind == "upload_start"]) == BLOBS


def test_who_may_not_is_told_at_once(registry: Registry, tmp_path: Path) -> None:
    """A refusal of access is no reason to try another way."""
    registry.inject(Fault(kind="upload_put", do=Answer(status=403), times=None))
    with pytest.raises(RegistryAccessError, match="403"):
        pushed(registry, tmp_path)
    assert [one for one in registry.requests if one.kind == "upload_patch"] == []


def test_presence_is_asked_for_at_the_same_time(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the answer about one blob before asking about the next: each question waits for another."""
    gate = threading.Barrier(2)
    ask = DockerDestination.try_reusing_blob

    def together(*args: Any, **options: Any) -> Any:
        gate.wait(10)
        return ask(*args, **options)

    monkeypatch.setattr(DockerDestination, "try_reusing_blob", together)
    pushed(registry, tmp_path)
    assert len([one for one in registry.requests if one.method == "HEAD" and one.kind == "blob"]) == BLOBS
