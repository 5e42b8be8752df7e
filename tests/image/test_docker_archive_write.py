"""Files of ``docker save``, written: what skopeo, podman and old Dockers find in them, and that they appear whole."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_MANIFEST, digest_of
from moving import move, put
from podman_store import Podman
from saved import config, layer, simple
from test_layout_crash import MOVE, at_every_step

from ocikit.errors import (
    InvalidReferenceError,
    LayoutError,
    ManifestError,
    ManifestTypeRejectedError,
    NotSupportedError,
)
from ocikit.image import (
    BlobInfo,
    LayerCompression,
    Policy,
    SystemContext,
    archive_reference,
    copy,
    docker_archive,
    list_images,
    parse_image_name,
)
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocikit.image import ImageDestination, ImageReference

ANY = Policy.insecure_accept_anything()
PLAIN = "application/vnd.docker.image.rootfs.diff.tar"
LAYERS = [layer("a"), layer("b", 300_000), layer("c", 5_000_000)]


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    """Return the descriptor of some bytes."""
    return {"mediaType": media_type, "size": len(data), "digest": digest_of(data)}


def manifest(about: bytes, *layers: bytes) -> bytes:
    """Return Docker's manifest of plain layers, as it is made of an archive."""
    parts = {"config": descriptor(DOCKER_CONFIG, about), "layers": [descriptor(PLAIN, one) for one in layers]}
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, **parts}
    return json.dumps(document, separators=(",", ":")).encode()


def save(reference: ImageReference, *layers: bytes, sys: SystemContext | None = None, **more: Any) -> bytes:
    """Write an image and commit it; return its manifest."""
    about = config(*layers, **more)
    with reference.new_image_destination(sys) as destination:
        fill(destination, about, *layers)
        destination.put_manifest(manifest(about, *layers))
        destination.commit()
    return manifest(about, *layers)


def fill(destination: ImageDestination, about: bytes, *layers: bytes) -> None:
    """Put the blobs of an image."""
    for one in layers:
        info = BlobInfo(digest=Digest(digest_of(one)), size=len(one), media_type=PLAIN)
        if destination.try_reusing_blob(info) is None:
            destination.put_blob(io.BytesIO(one), info)
    destination.put_blob(io.BytesIO(about), BlobInfo(digest=Digest(digest_of(about)), size=len(about)), is_config=True)


def members(path: Path) -> dict[str, tuple[int, bytes]]:
    """Return the mode of each member and its content, of a link what it leads to."""
    with tarfile.open(path, "r:") as made:
        return {
            one.name: (one.mode, one.linkname.encode() if one.issym() else made.extractfile(one).read())  # type: ignore[union-attr]
            for one in made
        }


def skopeo(*arguments: str) -> bytes:
    """Run skopeo; return what it prints."""
    return subprocess.run(["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True).stdout


def test_members_are_those_of_skopeo(tmp_path: Path) -> None:
    """The same members with the same content and modes as skopeo writes, but for the modes of links; times are 0."""
    source = simple(tmp_path / "source", layers=LAYERS, created="2020-01-01T00:00:00Z", author="x")
    more = ["--additional-tag", "quay.io/a/b:2", "--additional-tag", "app:3"]
    skopeo("copy", *more, f"docker-archive:{source}", f"docker-archive:{tmp_path}/theirs:app:1")
    sys = SystemContext(docker_archive_additional_tags=("quay.io/a/b:2", "app:3"))
    move(f"docker-archive:{source}", f"docker-archive:{tmp_path}/ours:app:1", sys)
    ours, theirs = members(tmp_path / "ours"), members(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    for name, (mode, content) in theirs.items():
        assert ours[name] == (mode if not name.endswith("/layer.tar") else 0o777, content), name
    with tarfile.open(tmp_path / "ours", "r:") as made:
        assert {(one.mtime, one.uid, one.gid) for one in made} == {(0, 0, 0)}
        large = [one.name for one in made if one.size > 1 << 16]
    assert large == [f"{digest_of(one).partition(':')[2]}.tar" for one in LAYERS[1:]]


def test_what_was_written_is_read_by_everybody(tmp_path: Path, peer: Callable[[str], str]) -> None:
    """Skopeo and podman read it, by every name; the image is the one that was put."""
    reference = parse_image_name(f"docker-archive:{tmp_path}/a:quay.io/x/app:1")
    sys = SystemContext(docker_archive_additional_tags=("other",), destination_timestamp=1_700_000_000)
    written = save(reference, *LAYERS, sys=sys)
    wrong_label = written.replace(PLAIN.encode(), PLAIN.encode() + b".gzip")
    for name in ("", ":quay.io/x/app:1", ":other:latest"):
        assert skopeo("inspect", "--raw", f"docker-archive:{tmp_path}/a{name}") == wrong_label
        assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{tmp_path}/a{name}").manifest == written
    skopeo("copy", f"docker-archive:{tmp_path}/a", f"oci:{tmp_path}/l:x")
    with tarfile.open(tmp_path / "a", "r:") as made:
        assert {one.mtime for one in made} == {1_700_000_000}
    identifier = json.loads(written)["config"]["digest"]
    with Podman(peer("podman")) as podman:
        assert "quay.io/x/app:1" in podman("load", "-i", f"{tmp_path}/a")
        names = ["docker.io/library/other:latest", "quay.io/x/app:1"]
        assert podman.images() == [f"{identifier} {name}" for name in names]
        podman("save", "-o", f"{tmp_path}/saved", "quay.io/x/app:1")
    assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{tmp_path}/saved").manifest == written


def test_there_and_back(tmp_path: Path) -> None:
    """From a directory to an archive and back the manifest and every blob stay; equal images make equal archives."""
    source = simple(tmp_path / "source", layers=[*LAYERS, LAYERS[0]])
    stops = [
        f"docker-archive:{source}",
        f"dir:{tmp_path}/1",
        f"docker-archive:{tmp_path}/2:x:1",
        f"dir:{tmp_path}/3",
        f"docker-archive:{tmp_path}/4:x:1",
    ]
    assert len({move(one, other) for one, other in itertools.pairwise(stops)}) == 1
    assert (tmp_path / "2").read_bytes() == (tmp_path / "4").read_bytes()


def test_several_images_in_one(tmp_path: Path) -> None:
    """Images that share layers are written together, each layer once; the file appears when all are there."""
    with docker_archive.Writer(tmp_path / "a") as writer:
        first = save(writer.reference("app:1"), *LAYERS)
        second = save(writer.reference("app:2"), LAYERS[0], LAYERS[2], author="x")
        save(writer.reference("app:latest"), *LAYERS)
        third = save(writer.reference(), LAYERS[1])
        with writer.reference("never").new_image_destination() as destination:
            fill(destination, config(LAYERS[1]), LAYERS[1])
        with pytest.raises(LayoutError, match="is being written"):
            writer.reference("app:1").new_image_source()
        assert not (tmp_path / "a").exists()
    assert sorted(name for name in os.listdir(tmp_path)) == ["a"]
    assert sum(name.endswith(".tar") and "/" not in name for name in members(tmp_path / "a")) == 3
    found = [(one.name, one.position) for one in list_images(tmp_path / "a")]
    names = [f"docker.io/library/app:{tag}" for tag in ("1", "latest", "2")]
    assert found == [(names[0], 0), (names[1], 0), (names[2], 1), (None, 2)]
    for name, expected in (("app:1", first), ("app:2", second), ("app", first), ("@2", third)):
        archive = f"docker-archive:{tmp_path}/a:{name}"
        assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=archive).manifest == expected
        assert skopeo("inspect", "--raw", archive) == expected.replace(PLAIN.encode(), PLAIN.encode() + b".gzip")
    repositories = json.loads(members(tmp_path / "a")["repositories"][1])
    assert repositories.keys() == {"docker.io/library/app"}
    assert repositories["docker.io/library/app"].keys() == {"1", "2", "latest"}
    for top in repositories["docker.io/library/app"].values():
        about = json.loads(members(tmp_path / "a")[f"{top}/json"][1])
        assert about["id"] == top
        while "parent" in about:
            about = json.loads(members(tmp_path / "a")[f"{about['parent']}/json"][1])


def test_a_writer_that_is_given_up(tmp_path: Path) -> None:
    """A block that is left by an exception, and one without an image, leave nothing; a name is given once."""

    def leave(writer: docker_archive.Writer) -> None:
        with writer:
            save(writer.reference("x"), LAYERS[0])
            raise ZeroDivisionError

    def twice(writer: docker_archive.Writer) -> None:
        with writer:
            save(writer.reference("x:1"), LAYERS[0])
            save(writer.reference("x:1"), LAYERS[1])

    with pytest.raises(ZeroDivisionError):
        leave(docker_archive.Writer(tmp_path / "a"))
    with pytest.raises(LayoutError, match="no image was added"), docker_archive.Writer(tmp_path / "a"):
        pass
    with pytest.raises(LayoutError, match=r"another image in the archive is named docker\.io/library/x:1"):
        twice(docker_archive.Writer(tmp_path / "a"))
    with pytest.raises(InvalidReferenceError), docker_archive.Writer(tmp_path / "a") as writer:
        writer.reference(f"x@sha256:{'0' * 64}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there(tmp_path: Path) -> None:
    """A file that is not empty is not added to and not replaced, also when it comes meanwhile; an empty one is."""
    (tmp_path / "a").write_bytes(b"mine")
    reference = parse_image_name(f"docker-archive:{tmp_path}/a:x")
    with pytest.raises(LayoutError, match="images are not added to an archive"):
        reference.new_image_destination()
    with pytest.raises(LayoutError, match="images are not added to an archive"):
        docker_archive.Writer(tmp_path / "a")
    with pytest.raises(LayoutError, match="no file"):
        parse_image_name(f"docker-archive:{tmp_path}:x").new_image_destination()
    (tmp_path / "a").write_bytes(b"")
    about = config(LAYERS[0])
    with reference.new_image_destination() as destination:
        fill(destination, about, LAYERS[0])
        destination.put_manifest(manifest(about, LAYERS[0]))
        (tmp_path / "a").write_bytes(b"mine")
        with pytest.raises(LayoutError, match="images are not added to an archive"):
            destination.commit()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    (tmp_path / "a").write_bytes(b"")
    save(reference, LAYERS[0])
    assert list_images(tmp_path / "a")


def test_what_is_refused(tmp_path: Path) -> None:
    """Manifests of other types, indexes, compressed layers, and parts that do not belong together."""
    about = config(LAYERS[0])
    with parse_image_name(f"docker-archive:{tmp_path}/a:x").new_image_destination() as destination:
        assert destination.supported_manifest_mime_types == (DOCKER_MANIFEST,)
        assert destination.desired_layer_compression is LayerCompression.DECOMPRESS
        packed = gzip.compress(LAYERS[0])
        for known in ({}, {"digest": Digest(digest_of(packed)), "size": len(packed)}):
            with pytest.raises(NotSupportedError, match="this one is compressed by gzip"):
                put(destination, packed, **known)
        for data in (
            json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []}).encode(),
            json.dumps({"schemaVersion": 2, "manifests": []}).encode(),
        ):
            with pytest.raises(ManifestTypeRejectedError, match="is not stored there"):
                destination.put_manifest(data)
        with pytest.raises(ManifestTypeRejectedError, match="of one platform"):
            destination.put_manifest(manifest(about), Digest(digest_of(manifest(about))))
        with pytest.raises(LayoutError, match="no manifest was put"):
            destination.commit()
        destination.put_manifest(manifest(about, LAYERS[0]))
        with pytest.raises(LayoutError, match=r"configuration .* was not put"):
            destination.commit()
        fill(destination, about)
        with pytest.raises(LayoutError, match=r"layer .* was not put"):
            destination.commit()
        destination.put_manifest(manifest(about, LAYERS[1]))
        with pytest.raises(ManifestError, match="not the plain ones that the configuration states"):
            destination.commit()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidReferenceError):
        parse_image_name(f"docker-archive:{tmp_path}/a:x").new_image_destination(
            SystemContext(docker_archive_additional_tags=("X",))
        )


def test_through_pipes_and_file_objects(tmp_path: Path) -> None:
    """Written to standard output and read from standard input, to a file object and compressed."""
    file = io.BytesIO()
    written = save(archive_reference("docker-archive", file, "x:1"), *LAYERS)
    script = """
import sys; sys.path.insert(0, sys.argv[1])
from moving import move
move("docker-archive:-", "docker-archive:-:x:1")
"""
    command = [sys.executable, "-c", script, os.path.dirname(__file__)]
    passed = subprocess.run(command, check=True, capture_output=True, input=file.getvalue()).stdout
    assert passed == file.getvalue()
    source = archive_reference("docker-archive", io.BytesIO(passed), "x:1")
    assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=source).manifest == written
    save(parse_image_name(f"docker-archive:{tmp_path}/z:x"), *LAYERS, sys=SystemContext(archive_compression="zstd"))
    packed = (tmp_path / "z").read_bytes()
    assert subprocess.run(["zstd", "-dc"], input=packed, check=True, capture_output=True).stdout[:5000]
    assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{tmp_path}/z").manifest == written
    with docker_archive.Writer(file2 := io.BytesIO()) as writer:
        save(writer.reference("x:1"), *LAYERS)
    assert file2.getvalue() == file.getvalue()


def test_killed_at_every_step(tmp_path: Path) -> None:
    """At every moment there is no file, or a whole one; what is left over goes with the next attempt."""
    source = simple(tmp_path / "source", "x:1", layers=LAYERS)

    def check(place: Path) -> None:
        if (place / "a").exists():
            assert [one.name for one in list_images(place / "a")] == ["docker.io/library/x:1"]
            (place / "a").unlink()
        move(f"docker-archive:{source}", f"docker-archive:{place}/a:x:1")
        assert [path.name for path in place.iterdir()] == ["a"]

    command = [MOVE, f"docker-archive:{source}"]
    assert (
        at_every_step(tmp_path, lambda _: None, lambda place: [*command, f"docker-archive:{place}/a:x:1"], check) >= 1
    )


def test_an_image_without_layers(tmp_path: Path) -> None:
    """An image of a configuration alone is written and read."""
    written = save(parse_image_name(f"docker-archive:{tmp_path}/a:x"))
    assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{tmp_path}/a").manifest == written


def test_unknown_sizes(tmp_path: Path) -> None:
    """Layers of which neither digest nor size is known, as they are when decompressed on the way, are put aside."""
    about = config(*LAYERS)
    with parse_image_name(f"docker-archive:{tmp_path}/a:x").new_image_destination() as destination:
        for one in LAYERS:
            assert put(destination, one) == BlobInfo(digest=Digest(digest_of(one)), size=len(one))
        fill(destination, about)
        destination.put_manifest(manifest(about, *LAYERS))
        destination.commit()
    result = copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{tmp_path}/a:x")
    assert result.manifest == manifest(about, *LAYERS)
