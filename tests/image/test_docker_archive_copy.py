"""Files of ``docker save`` as one end of a copy: converted, decompressed, imported, unpacked, passed through pipes."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from builders import DOCKER_MANIFEST, Store
from podman_store import Podman
from saved import layer, simple
from test_referrers import attach, refer

from ocikit.errors import DigestChangeError, NotSupportedError
from ocikit.image import (
    Policy,
    SystemContext,
    copy,
    docker_archive,
    import_directory,
    inspect,
    list_images,
    unpack,
)
from ocikit.image.copy import CopyOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
COPY = """
import sys
from ocikit.image import Policy, copy
copy.image(Policy.insecure_accept_anything(), dest=sys.argv[2], src=sys.argv[1])
"""


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Return a layout with two images that share a layer, one of them listed in an index."""
    store = Store()
    shared = {"shared": b"s" * 200_000}
    one = store.image(shared, {"a": b"a" * 100_000})
    two = store.index(store.image(shared, {"b": b"b"}), store.image({"arm": b""}, architecture="arm64"))
    return store.layout(tmp_path / "layout", {"one": one, "two": two})


def config_digest(name: str) -> str:
    """Return the id of an image."""
    return str(inspect(name).manifest.config.digest)


def content(path: Path) -> dict[str, bytes]:
    """Return what the members of an archive hold, and links lead to."""
    with tarfile.open(path, "r:") as made:
        return {one.name: one.linkname.encode() or made.extractfile(one).read() for one in made}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_layout_becomes_what_skopeo_makes_of_it(tmp_path: Path, layout: Path, name: str) -> None:
    """The archive of an image holds the same, member by member, as one of skopeo; and the image comes back from it."""
    source = f"oci:{layout}:{name}"
    copy.image(ANY, dest=f"docker-archive:{tmp_path}/ours:app:1", src=source)
    command = ["skopeo", "--insecure-policy", "--override-arch", "amd64", "copy", "-q"]
    subprocess.run([*command, source, f"docker-archive:{tmp_path}/theirs:app:1"], check=True)
    assert content(tmp_path / "ours") == content(tmp_path / "theirs")
    for archive in ("ours", "theirs"):
        copy.image(ANY, dest=f"oci:{tmp_path}/back:{archive}", src=f"docker-archive:{tmp_path}/{archive}:app:1")
        assert config_digest(f"oci:{tmp_path}/back:{archive}") == config_digest(source)


def test_several_images_through_the_engine(tmp_path: Path, layout: Path) -> None:
    """Images that are copied into one archive share what they have in common, and come out as they went in."""
    with docker_archive.Writer(tmp_path / "all.tar") as writer:
        for name in ("one", "two"):
            copy.image(ANY, dest=writer.reference(f"app:{name}"), src=f"oci:{layout}:{name}")
    found = list_images(tmp_path / "all.tar")
    assert [one.name for one in found] == ["docker.io/library/app:one", "docker.io/library/app:two"]
    layers = json.loads(content(tmp_path / "all.tar")["manifest.json"])
    assert layers[0]["Layers"][0] == layers[1]["Layers"][0]
    for name in ("one", "two"):
        assert config_digest(f"docker-archive:{tmp_path}/all.tar:app:{name}") == config_digest(f"oci:{layout}:{name}")


def test_imported(tmp_path: Path) -> None:
    """In a directory that is imported such a file is an image like others, under the names in it."""
    (tmp_path / "in").mkdir()
    simple(tmp_path / "in" / "saved.tar", "app:1", "quay.io/app:2", layers=[layer("a"), layer("b")])
    report = import_directory(tmp_path / "in", policy=ANY, dest=tmp_path / "out", remove_source=True)
    assert [str(one.reference) for one in report.imported] == [
        f"oci:{tmp_path}/out/saved:app:1",
        f"oci:{tmp_path}/out/saved:quay.io/app:2",
    ]
    assert list((tmp_path / "in").iterdir()) == []


def test_unpacked(tmp_path: Path) -> None:
    """An image is unpacked right out of the file."""
    archive = simple(tmp_path / "a", "app:1", layers=[layer("a"), layer("b")])
    (tmp_path / "root").mkdir()
    unpack(f"docker-archive:{archive}:app:1", tmp_path / "root" / "fs", policy=ANY)
    assert sorted(path.name for path in (tmp_path / "root" / "fs").iterdir()) == ["a", "b"]


def test_from_pipe_to_pipe(tmp_path: Path, layout: Path) -> None:
    """One kind of archive goes in and the other comes out."""
    copy.image(ANY, dest=f"oci-archive:{tmp_path}/in", src=f"oci:{layout}:one")
    command = [sys.executable, "-c", COPY, "oci-archive:-", "docker-archive:-:app:1"]
    with (tmp_path / "in").open("rb") as file, (tmp_path / "out").open("wb") as out:
        subprocess.run(command, check=True, stdin=file, stdout=out)
    assert config_digest(f"docker-archive:{tmp_path}/out:app:1") == config_digest(f"oci:{layout}:one")


def test_through_a_service(tmp_path: Path, layout: Path, peer: Callable[[str], str]) -> None:
    """From a layout into podman's service, and back into a layout."""
    with Podman(peer("podman")) as podman, podman.service() as host:
        there = SystemContext(docker_daemon_host=host)
        name = "docker-daemon:app:1"
        copy.image(ANY, dest=name, src=f"oci:{layout}:one", options=CopyOptions(destination_ctx=there))
        copy.image(ANY, dest=f"oci:{tmp_path}/back:x", src=name, options=CopyOptions(source_ctx=there))
        assert podman.images() == [f"{config_digest(f'oci:{layout}:one')} docker.io/library/app:1"]
    assert config_digest(f"oci:{tmp_path}/back:x") == config_digest(f"oci:{layout}:one")


def test_referrers_stay_away(tmp_path: Path) -> None:
    """What refers to an image is not kept in such a file: an error when there is some, and none when there is none."""
    store = Store()
    image = store.image(docker=True, platform=False)
    directory = store.directory(tmp_path / "in", image)
    wanted = CopyOptions(referrers=True)
    copy.image(ANY, dest=f"docker-archive:{tmp_path}/none.tar:x:1", src=f"dir:{directory}", options=wanted)
    about = refer(store, {**image, "mediaType": DOCKER_MANIFEST})
    attach(store, f"dir:{directory}", about)
    with pytest.raises((NotSupportedError, DigestChangeError), match=r"referrers|refer to an image"):
        copy.image(ANY, dest=f"docker-archive:{tmp_path}/x.tar:x:1", src=f"dir:{directory}", options=wanted)
    assert not (tmp_path / "x.tar").exists()
