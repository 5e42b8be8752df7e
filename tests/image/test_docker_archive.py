"""Files of ``docker save``, read: whoever wrote them, whatever is linked, shared, compressed or missing in them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_CONFIG, DOCKER_MANIFEST, Store, digest_of
from hypothesis import given
from hypothesis import strategies as st
from moving import get
from saved import HARD_LINK, SYMLINK, config, layer, listed, manifest, pack, simple, write

from ocikit.errors import (
    AmbiguousImageError,
    BlobNotFoundError,
    CompressionError,
    DigestMismatchError,
    ImageNotFoundError,
    InvalidReferenceError,
    LayoutError,
    LimitExceededError,
    NotSupportedError,
    OCIKitError,
)
from ocikit.image import Policy, archive_reference, copy, image_name, inspect, list_images, parse_image_name, transports
from ocikit.image.recognition import images_in
from ocikit.image.transports.docker_archive import DockerArchiveReference
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
PLAIN = "application/vnd.docker.image.rootfs.diff.tar"
A, B = layer("a"), layer("b", 100_000)


def manifest_of(name: str) -> dict[str, Any]:
    """Return the manifest of an image, parsed, after a copy that verified everything in it."""
    with parse_image_name(name).new_image_source() as source:
        data, media_type = source.get_manifest()
        assert media_type == DOCKER_MANIFEST
        document: dict[str, Any] = json.loads(data)
        for part in [document["config"], *document["layers"]]:
            content = get(source, part["digest"])
            assert (digest_of(content), len(content)) == (part["digest"], part["size"])
    return document


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("quay.io/a/b:x", "quay.io/a/b:x"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
    ],
)
def test_names(tmp_path: Path, text: str, name: str) -> None:
    """A name is one of a registry, everything filled in; it comes back, and no policy sees more than the transport."""
    reference = parse_image_name(f"docker-archive:{tmp_path}/x:{text}")
    assert str(reference) == image_name(reference) == f"docker-archive:{tmp_path}/x:{name}"
    assert parse_image_name(image_name(reference)) == reference
    assert str(reference.docker_reference) == name
    assert (reference.policy_configuration_identity, reference.policy_configuration_namespaces) == ("", ())


def test_positions_and_no_names(tmp_path: Path) -> None:
    """Positions count from 0, a trailing colon is no name, and neither is a name of a registry."""
    for text in ("x", "x:@0", "x:@12"):
        reference = parse_image_name(f"docker-archive:{tmp_path}/{text}")
        assert str(reference) == f"docker-archive:{tmp_path}/{text}"
        assert reference.docker_reference is None
    assert parse_image_name(f"docker-archive:{tmp_path}/x:") == parse_image_name(f"docker-archive:{tmp_path}/x")
    with pytest.raises(InvalidReferenceError, match="a position names an image that is there"):
        parse_image_name(f"docker-archive:{tmp_path}/x:@0").new_image_destination()
    with pytest.raises(NotSupportedError, match="remove the file"):
        parse_image_name(f"docker-archive:{tmp_path}/x").delete_image()


@pytest.mark.parametrize(
    "text",
    [f"busybox@sha256:{'0' * 64}", f"b:1@sha256:{'0' * 64}", "@-1", "@x", "@", "@1234567890", "B", "0" * 64, "a b"],
)
def test_what_is_no_name(tmp_path: Path, text: str) -> None:
    """Digests, image ids and what is outside the grammar are refused, by skopeo as well."""
    with pytest.raises(InvalidReferenceError):
        parse_image_name(f"docker-archive:{tmp_path}/x:{text}")
    if text not in {"@", "@1234567890"}:
        done = subprocess.run(
            ["skopeo", "inspect", f"docker-archive:{tmp_path}/x:{text}"], check=False, capture_output=True
        )
        assert b"no such file" not in done.stderr


def test_no_scope_but_the_default() -> None:
    """A policy that has a scope for the transport is refused: it could never match."""
    with pytest.raises(ValueError, match="knows no scope but ''"):
        transports.get("docker-archive").validate_policy_configuration_scope("/x")


def test_the_manifest_that_is_made(tmp_path: Path) -> None:
    """It is the bytes that skopeo makes, but that layers which are plain are called so, and verified by the engine."""
    archive = simple(tmp_path / "a.tar", "app:1", layers=(A, B))
    name = f"docker-archive:{archive}"
    theirs = subprocess.run(["skopeo", "inspect", "--raw", name], check=True, capture_output=True).stdout
    result = copy.image(ANY, dest=f"dir:{tmp_path}/d", src=name)
    assert result.manifest == theirs.replace(PLAIN.encode() + b".gzip", PLAIN.encode())
    assert len(result.copied) == 3
    assert [entry["digest"] for entry in manifest_of(name)["layers"]] == [digest_of(A), digest_of(B)]
    assert subprocess.run(
        ["skopeo", "inspect", "--raw", f"dir:{tmp_path}/d"], check=True, capture_output=True
    ).stdout == (result.manifest)
    inspected = inspect(name)
    assert inspected.config is not None
    assert inspected.config.config.cmd == ("sh",)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: subprocess.run(["zstd", "-c"], input=data, check=True, capture_output=True).stdout,
}


@pytest.mark.parametrize("outside", PACKERS)
@pytest.mark.parametrize("inside", PACKERS)
def test_compressed_inside_and_outside(tmp_path: Path, outside: str, inside: str) -> None:
    """Whatever is compressed, layers called plain or all of the file, it is the same image."""
    plain = manifest_of(f"docker-archive:{simple(tmp_path / 'plain', layers=(A, B))}")
    packed = [PACKERS[inside](one) for one in (A, B)]
    about = config(A, B)
    members = [
        ("0.tar", packed[0]),
        ("c.json", about),
        ("1.tar", packed[1]),
        manifest(listed("c.json", ["0.tar", "1.tar"])),
    ]
    (tmp_path / "p").write_bytes(PACKERS[outside](write(tmp_path / "w", members).read_bytes()))
    assert manifest_of(f"docker-archive:{tmp_path}/p") == plain
    with (tmp_path / "p").open("rb") as file:
        source = archive_reference("docker-archive", io.BufferedReader(io.BytesIO(file.read())))
        assert copy.image(ANY, dest=f"dir:{tmp_path}/d", src=source).copied


def test_links_and_shared_layers(tmp_path: Path) -> None:
    """Layers are found through links and ./ and wherever manifest.json is; one that is there twice is listed twice."""
    about, other = config(A, B, A), config(B)
    names = ["./one/layer.tar", "two/layer.tar", "three/layer.tar"]
    archive = write(
        tmp_path / "a",
        [
            manifest(listed("./c.json", names, "app:1", "app:2"), listed("d.json", ["hard"], "quay.io/x/y:z")),
            ("one/layer.tar", (SYMLINK, "../blobs/./a.tar")),
            ("./blobs/a.tar", A),
            ("./two/layer.tar", B),
            ("three/layer.tar", (SYMLINK, "../one/layer.tar")),
            ("hard", (HARD_LINK, "two/layer.tar")),
            ("./c.json", about),
            ("d.json", (SYMLINK, "e/d.json")),
            ("e/d.json", other),
        ],
    )
    for name in ("app:1", "docker.io/library/app:2", "@0"):
        layers = [entry["digest"] for entry in manifest_of(f"docker-archive:{archive}:{name}")["layers"]]
        assert layers == [digest_of(A), digest_of(B), digest_of(A)]
    for name in ("quay.io/x/y:z", "@1"):
        found = manifest_of(f"docker-archive:{archive}:{name}")
        assert found["config"] == {"mediaType": DOCKER_CONFIG, "size": len(other), "digest": digest_of(other)}
    names_there = r"there are @0 \(app:1, app:2\), @1 \(quay.io/x/y:z\)"
    with pytest.raises(AmbiguousImageError, match=f"2 images in it, .* @0 to @1; {names_there}"):
        parse_image_name(f"docker-archive:{archive}").new_image_source()
    for name in ("app:3", "app", "x/y:z"):
        with pytest.raises(ImageNotFoundError, match=names_there):
            parse_image_name(f"docker-archive:{archive}:{name}").new_image_source()
    with pytest.raises(ImageNotFoundError, match="no image @2, there are 2"):
        parse_image_name(f"docker-archive:{archive}:@2").new_image_source()


def test_two_images_of_one_name(tmp_path: Path) -> None:
    """A name that two different images have is no answer; the same image twice is."""
    members = [("a", A), ("c", config(A)), ("d", config(A, author="x"))]
    first, second = listed("c", ["a"], "app:1"), listed("d", ["a"], "docker.io/library/app:1")
    archive = write(tmp_path / "a", [*members, manifest(first, second)])
    with pytest.raises(AmbiguousImageError, match=r"2 images are named docker\.io/library/app:1; choose @0 or @1"):
        parse_image_name(f"docker-archive:{archive}:app:1").new_image_source()
    assert [str(one.reference) for one in list_images(archive)] == [f"docker-archive:{archive}:@{n}" for n in (0, 1)]
    archive = write(tmp_path / "b", [*members, manifest(first, first)])
    assert manifest_of(f"docker-archive:{archive}:app:1")


HOSTILE: dict[str, tuple[list[Any], type[OCIKitError], str]] = {
    "not a tar": ([b"nothing"], LayoutError, "is this a tar file"),
    "something else": ([("file", b"x")], LayoutError, "not an archive of `docker save`"),
    "older than Docker 1.10": (
        [("repositories", b"{}"), ("x/json", b"{}")],
        LayoutError,
        "before Docker 1.10.*save it anew",
    ),
    "a layout": ([("oci-layout", b"{}")], LayoutError, "name it as oci-archive:"),
    "no JSON": ([("manifest.json", b"[")], LayoutError, "manifest.json: "),
    "an object": ([("manifest.json", b"{}")], LayoutError, "expected an array of images"),
    "no objects": ([("manifest.json", b"[1]")], LayoutError, r"\$\[0\]: expected an object"),
    "no config": ([("manifest.json", b'[{"Layers":[]}]')], LayoutError, r"\$\[0\].Config: expected the name"),
    "a list of numbers": (
        [("manifest.json", b'[{"Config":"c","Layers":[1]}]')],
        LayoutError,
        "Layers: expected an array",
    ),
    "a key twice": ([("manifest.json", b'[{"Config":"c","Config":"d"}]')], LayoutError, "Config"),
    "empty": ([("manifest.json", b"[]")], ImageNotFoundError, "no images in it"),
    "too large": ([("manifest.json", b" " * (1 << 20) + b"[]")], LimitExceededError, "limit 1,048,576"),
    "too many": ([manifest(*[listed("c", ["a"])] * 1001)], LimitExceededError, "limit 1,000, found 1,001"),
    "too many names": (
        [manifest(listed("c", [], *["a:1"] * 10_001))],
        LimitExceededError,
        "limit 10,000, found 10,001",
    ),
    "config missing": ([manifest(listed("c", []))], LayoutError, "names c, which is not in the archive"),
    "layer missing": ([("c", config(A)), manifest(listed("c", ["a"]))], LayoutError, "names a, which is not in"),
    "above": ([manifest(listed("../c", []))], LayoutError, "'../c' is not the name of a member"),
    "absolute": ([manifest(listed("/etc/passwd", []))], LayoutError, "names etc/passwd, which is not in the archive"),
    "link out": ([("c", (SYMLINK, "/etc/passwd")), manifest(listed("c", []))], LayoutError, "leads out of the archive"),
    "cycle": ([("c", (SYMLINK, "d")), ("d", (SYMLINK, "c")), manifest(listed("c", []))], LayoutError, "lead nowhere"),
    "config no JSON": ([("c", b"x"), manifest(listed("c", []))], LayoutError, "a: c: "),
    "config no object": ([("c", b"[]"), manifest(listed("c", []))], LayoutError, "expected an object"),
    "no rootfs": ([("c", b"{}"), manifest(listed("c", []))], LayoutError, "is this a configuration"),
    "no digest": (
        [("c", b'{"rootfs":{"diff_ids":["x"]}}'), manifest(listed("c", ["a"]))],
        LayoutError,
        "expected a digest",
    ),
    "fewer layers": (
        [("c", config(A, B)), manifest(listed("c", ["a"]))],
        LayoutError,
        "1 layers in manifest.json and 2 in c",
    ),
    "config too large": ([("c", b" " * (4 << 20) + b"{}"), manifest(listed("c", []))], LimitExceededError, "4,194,304"),
    "damaged layer": (
        [("c", config(A)), ("a", gzip.compress(A)[:-9]), manifest(listed("c", ["a"]))],
        CompressionError,
        "truncated",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_hostile_archives(tmp_path: Path, case: str, packed: bool) -> None:  # noqa: FBT001
    """Whatever is wrong with an archive is said, with the place, before anything is copied."""
    members, error, message = HOSTILE[case]
    data = members[0].ljust(2000) if isinstance(members[0], bytes) else write(tmp_path / "w", members).read_bytes()
    (tmp_path / "a").write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(error, match=f"(?s){message}"):
        parse_image_name(f"docker-archive:{tmp_path}/a").new_image_source()


def test_a_layer_that_is_another(tmp_path: Path) -> None:
    """What the configuration says of a layer is verified when it is copied."""
    archive = write(tmp_path / "a", [("a", B), ("c", config(A)), manifest(listed("c", ["a"], "x:1"))])
    with pytest.raises(DigestMismatchError):
        copy.image(ANY, dest=f"dir:{tmp_path}/d", src=f"docker-archive:{archive}")
    with parse_image_name(f"docker-archive:{archive}").new_image_source() as source:
        with pytest.raises(BlobNotFoundError, match="no layer with the digest"):
            get(source, digest_of(B))
        with pytest.raises(BlobNotFoundError, match="hold no indexes"):
            source.get_manifest(Digest(digest_of(B)))


def test_listing(tmp_path: Path) -> None:
    """Every name of every image is listed, with a reference that leads to it and the manifest that is made."""
    members = [("a", A), ("b", B), ("c", config(A)), ("d", config(B)), ("e", config(A, B))]
    entries = [
        listed("c", ["a"], "app:1", "quay.io/app:2"),
        listed("d", ["b"]),
        listed("e", ["a", "b"], "no tag at all"),
    ]
    archive = write(tmp_path / "a", [*members, manifest(*entries)])
    found = list_images(archive)
    assert [(one.name, one.position) for one in found] == [
        ("app:1", 0),
        ("quay.io/app:2", 0),
        (None, 1),
        ("no tag at all", 2),
    ]
    names = ["docker.io/library/app:1", "quay.io/app:2", "@1", "@2"]
    assert [str(one.reference) for one in found] == [f"docker-archive:{archive}:{name}" for name in names]
    for one in found:
        assert isinstance(one.reference, DockerArchiveReference)
        assert inspect(one.reference).digest == one.descriptor.digest
    assert list_images(f"docker-archive:{archive}") == found


def test_recognition(tmp_path: Path) -> None:
    """In a directory full of images such a file is one, under the names in it as far as a layout takes them."""
    members = [("a", A), ("b", B), ("c", config(A)), ("d", config(B)), ("e", config(A, B))]
    entries = [listed("c", ["a"], "app:1", "quay.io/app__x:2"), listed("d", ["b"]), listed("e", ["a", "b"], "x:1")]
    archive = write(tmp_path / "some images.tar", [*members, manifest(*entries)])
    assert [(found.name, str(found.reference).partition(":")[2]) for found in images_in(archive)] == [
        ("app:1", f"{archive}:docker.io/library/app:1"),
        ("some-images-0", f"{archive}:quay.io/app__x:2"),
        ("some-images-1", f"{archive}:@1"),
        ("x:1", f"{archive}:docker.io/library/x:1"),
    ]
    (tmp_path / "one").write_bytes(gzip.compress(simple(tmp_path / "a.tar").read_bytes()))
    (found,) = images_in(tmp_path / "one")
    assert (found.name, str(found.reference)) == (None, f"docker-archive:{tmp_path}/one:@0")


def hybrid(path: Path, store: Store, names: dict[str, Any]) -> Path:
    """Write what Docker writes from 25 on: a layout, and the list of images beside its index."""
    layout = store.layout(path.with_name("layout"), names)
    members = [
        (str(file.relative_to(layout)), file.read_bytes()) for file in sorted(layout.rglob("*")) if file.is_file()
    ]
    entries = []
    for number, descriptor in enumerate(names.values()):
        document = json.loads(store.blobs[descriptor["digest"]])
        blobs = ["blobs/" + part["digest"].replace(":", "/") for part in [document["config"], *document["layers"]]]
        entries.append(listed(blobs[0], blobs[1:], f"app{number}:1"))
    return write(path, [*members, manifest(*entries)])


def test_archives_of_newer_dockers(tmp_path: Path) -> None:
    """What is a layout too is read either way; listed as a layout where that tells the images apart."""
    store = Store()
    one, two = store.image({"a": b"a"}), store.image({"b": b"b"})
    archive = hybrid(tmp_path / "a", store, {"1": one, "2": two})
    assert [one.name for one in list_images(archive)] == ["1", "2"]
    assert [one.name for one in list_images(f"docker-archive:{archive}")] == ["app0:1", "app1:1"]
    found = manifest_of(f"docker-archive:{archive}:app1:1")
    assert found["config"]["digest"] == json.loads(store.blobs[two["digest"]])["config"]["digest"]
    assert [entry["mediaType"] for entry in found["layers"]] == [PLAIN]
    result = copy.image(ANY, dest=f"oci:{tmp_path}/l:x", src=f"oci-archive:{archive}:2")
    assert result.digest == two["digest"]
    (tmp_path / "b").mkdir()
    nameless = hybrid(tmp_path / "b" / "a", store, {"": one, " ": two})
    assert [one.name for one in list_images(nameless)] == ["app0:1", "app1:1"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["c", "a", digest_of(A), "../c"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Config", "Layers", "RepoTags", "rootfs", "diff_ids", "type"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_any_documents_are_read_or_refused(listing: Any, about: Any) -> None:
    """Whatever stands in the list of images and in a configuration, it is an image or a typed error."""
    members = [("a", A), ("c", json.dumps(about).encode()), ("manifest.json", json.dumps(listing).encode())]
    try:
        with archive_reference("docker-archive", io.BytesIO(pack(members))).new_image_source() as source:
            assert json.loads(source.get_manifest()[0])["schemaVersion"] == 2
    except OCIKitError:
        pass


@given(
    st.sampled_from(["docker-archive:x:", "docker-archive:x", "docker-daemon:"]), st.text("ab/:@.-_ A0", max_size=20)
)
def test_names_come_back(start: str, text: str) -> None:
    """What is a name has one form, which means the same; anything else is refused."""
    try:
        reference = parse_image_name(start + text)
    except InvalidReferenceError:
        return
    if image_name(reference).startswith(("docker-archive:x:", "docker-daemon:")):
        assert parse_image_name(image_name(reference)) == reference


SAMPLE = pack([("a", gzip.compress(A, mtime=0)), ("c", config(A, A)), manifest(listed("c", ["a", "a"], "x:1"))])


@given(st.data())
def test_any_damage_is_a_typed_error(data: st.DataObject) -> None:
    """However an archive is damaged, it is read or refused by a typed error."""
    damaged = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        with archive_reference("docker-archive", io.BytesIO(bytes(damaged))).new_image_source() as source:
            for part in json.loads(source.get_manifest()[0])["layers"]:
                get(source, part["digest"])
    except OCIKitError:
        pass
