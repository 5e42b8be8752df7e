"""Indexes between Docker's list and OCI; manifests and indexes with other descriptors in them; variants."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from builders import (
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Store,
    digest_of,
)

from ocikit.errors import (
    DigestMismatchError,
    LimitExceededError,
    ManifestError,
    ManifestTypeRejectedError,
    NotSupportedError,
)
from ocikit.image.compression import Compression
from ocikit.image.conversion.edits import with_replaced_entries, with_replaced_layers
from ocikit.image.conversion.indexes import convert_index
from ocikit.image.conversion.manifests import convert_manifest
from ocikit.image.conversion.variants import ZSTD, compression_of_entry, marks, missing_variants, platform_key
from ocikit.image.manifest import parse_manifest
from ocikit.spec import Descriptor, Digest, DockerManifestList, Index, Manifest, Platform

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.manifest import AnyIndex

AMD64, ARM = {"architecture": "amd64", "os": "linux"}, {"architecture": "arm", "os": "linux", "variant": "v7"}
WINDOWS = {"architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k", "a"]}


def entry(number: int, platform: dict[str, Any] | None = None, media_type: str = OCI_MANIFEST, **more: Any) -> Any:
    """Return the entry of a manifest that has a number."""
    members = {"mediaType": media_type, "digest": f"sha256:{number:064x}", "size": number}
    return members | ({"platform": platform} if platform else {}) | more


def index(*entries: Any, docker: bool = False, **members: Any) -> bytes:
    """Return an index."""
    document = {"schemaVersion": 2, "mediaType": DOCKER_LIST if docker else OCI_INDEX, "manifests": list(entries)}
    return json.dumps(document | members).encode()


def parsed(data: bytes, media_type: str = OCI_INDEX) -> AnyIndex:
    """Return an index in its class."""
    found = parse_manifest(data, media_type)
    assert isinstance(found, Index | DockerManifestList)
    return found


def digest(number: int) -> Digest:
    """Return the digest of a numbered manifest."""
    return Digest(f"sha256:{number:064x}")


def manifest(number: int, media_type: str = DOCKER_MANIFEST, **more: Any) -> Descriptor:
    """Return the descriptor of a numbered manifest."""
    return Descriptor(media_type=media_type, digest=digest(number), size=number, **more)


def test_oci_to_docker() -> None:
    """Platforms are kept in full, converted manifests take their places, annotations are counted as lost."""
    data = index(
        entry(1, AMD64, annotations={"a": "b"}, data="e30="),
        entry(2, WINDOWS | {"features": ["sse4"], "odd": 1}),
        entry(3, ARM, media_type=DOCKER_MANIFEST, urls=["https://x"]),
        annotations={"c": "d", "e": "f"},
        strange=1,
    )
    done = convert_index(data, OCI_INDEX, DOCKER_LIST, replaced={digest(1): manifest(11), digest(2): manifest(12)})
    assert done.media_type == DOCKER_LIST
    assert done.lost == (
        "annotations of the index: 2",
        "other fields of the index (strange): 1",
        "annotations of its entries: 1",
        "other fields of its platforms (odd): 1",
    )
    assert json.loads(done.data) == {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST,
        "manifests": [
            entry(11, AMD64, media_type=DOCKER_MANIFEST),
            entry(12, WINDOWS | {"features": ["sse4"]}, media_type=DOCKER_MANIFEST),
            entry(3, ARM, media_type=DOCKER_MANIFEST, urls=["https://x"]),
        ],
    }


def test_docker_to_oci_loses_nothing() -> None:
    """Everything that a Docker list says is in the index too, its own features of platforms included."""
    data = index(entry(1, AMD64 | {"features": ["sse4"]}, media_type=DOCKER_MANIFEST, odd=2), docker=True, strange=1)
    done = convert_index(data, DOCKER_LIST, OCI_INDEX, replaced={digest(1): manifest(11, OCI_MANIFEST)})
    assert done.lost == ()
    assert json.loads(done.data) == json.loads(index(entry(11, AMD64 | {"features": ["sse4"]}, odd=2), strange=1))
    back = convert_index(done.data, OCI_INDEX, DOCKER_LIST, replaced={digest(11): manifest(1)})
    assert parsed(back.data, DOCKER_LIST).manifests[0].platform == parsed(data, DOCKER_LIST).manifests[0].platform


def test_a_platform_comes_with_the_manifest() -> None:
    """An entry without a platform gets the one of its configuration when the caller says so, and none otherwise."""
    platform = Platform(os="linux", architecture="riscv64")
    replaced = {digest(1): manifest(11, platform=platform), digest(2): manifest(12, platform=platform)}
    done = convert_index(index(entry(1), entry(2, ARM)), OCI_INDEX, DOCKER_LIST, replaced=replaced)
    names = [one.platform.architecture for one in parsed(done.data, DOCKER_LIST).manifests if one.platform]
    assert names == ["riscv64", "arm"]


REJECTED = [
    (index(entry(1)), "names no platform"),
    (index(entry(1, {"os": "", "architecture": "x"}, media_type=DOCKER_MANIFEST)), "names no platform"),
    (index(entry(2, AMD64)), "is of type .*; convert it too"),
    (index(entry(2, AMD64, media_type=OCI_INDEX)), "is an index itself"),
    (index(entry(2, AMD64, media_type=DOCKER_LIST)), "is an index itself"),
    (index(entry(2, AMD64, media_type=DOCKER_MANIFEST, artifactType="a/b")), "artifact of type 'a/b'"),
    (index(entry(2, {"os": "unknown", "architecture": "unknown"})), "an attestation, say"),
    (index(entry(1, AMD64), artifactType="a/b"), r"artifact \(\$\.artifactType\)"),
    (index(entry(1, AMD64), subject=entry(5)), r"artifact \(\$\.subject\)"),
]


@pytest.mark.parametrize(("data", "message"), REJECTED)
def test_what_no_list_can_hold(data: bytes, message: str) -> None:
    """An entry that a reader of Docker's list would not understand is refused, and named, with a remedy."""
    replaced = {digest(1): manifest(11)} if b"0001" in data else {}
    with pytest.raises(ManifestTypeRejectedError, match=message):
        convert_index(data, OCI_INDEX, DOCKER_LIST, replaced=replaced)


def test_only_indexes_are_converted() -> None:
    """The manifest of an image is no index, and a digest that is not listed is a mistake."""
    with pytest.raises(ManifestTypeRejectedError, match="an index"):
        convert_index(b"{}", OCI_MANIFEST, OCI_INDEX)
    with pytest.raises(ManifestTypeRejectedError, match="an index"):
        convert_index(index(), OCI_INDEX, OCI_MANIFEST)
    with pytest.raises(ManifestError, match="does not list"):
        convert_index(index(), OCI_INDEX, DOCKER_LIST, replaced={digest(1): manifest(2)})
    with pytest.raises(ManifestError, match="ambiguous"):
        convert_index(index(layers=[]), OCI_INDEX, DOCKER_LIST)
    assert convert_index(index(strange=1), OCI_INDEX, OCI_INDEX).data == index(strange=1)


def test_as_skopeo_converts(tmp_path: Path) -> None:
    """Skopeo converts the index and everything in it to the same bytes, to Docker's list and back."""
    store = Store()
    images = [store.image({"a": b"a"}), store.image({"b": b"b"}, architecture="arm", variant="v7")]
    top = store.index(images[0] | {"annotations": {"k": "v"}}, images[1])
    source = store.layout(tmp_path / "oci", {"x": top})
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--all"]
    subprocess.run([*copy, "--format", "v2s2", f"oci:{source}:x", f"dir:{tmp_path}/docker"], check=True)
    replaced = {}
    for image in images:
        done = convert_manifest(store.blobs[image["digest"]], OCI_MANIFEST, DOCKER_MANIFEST)
        replaced[Digest(image["digest"])] = Descriptor.from_content(DOCKER_MANIFEST, done.data)
    ours = convert_index(store.blobs[top["digest"]], OCI_INDEX, DOCKER_LIST, replaced=replaced)
    assert (tmp_path / "docker/manifest.json").read_bytes() == ours.data
    assert ours.lost == ("annotations of its entries: 1",)

    subprocess.run([*copy, "--format", "oci", f"dir:{tmp_path}/docker", f"dir:{tmp_path}/back"], check=True)
    theirs = (tmp_path / "back/manifest.json").read_bytes()
    # Their manifests have other digests than ours: skopeo writes configurations anew on the way to OCI.
    listed = zip(replaced.values(), json.loads(theirs)["manifests"], strict=True)
    back = {old.digest: Descriptor.from_dict(new | {"platform": None}) for old, new in listed}
    assert convert_index(ours.data, DOCKER_LIST, OCI_INDEX, replaced=back).data == theirs


# -- edits


def image(*layers: Any, media_type: str = OCI_MANIFEST, **more: Any) -> bytes:
    """Return the manifest of an image, in an order of keys that nobody would choose."""
    config = {"size": 2, "digest": f"sha256:{9:064x}", "mediaType": OCI_CONFIG, "odd": [1]}
    return json.dumps(
        more | {"layers": list(layers), "config": config, "mediaType": media_type, "schemaVersion": 2}
    ).encode()


def test_nothing_replaced_is_the_same_bytes() -> None:
    """A document is not written anew for nothing."""
    data = json.dumps(json.loads(image(entry(1, media_type=OCI_LAYER))), indent=7).encode()
    assert with_replaced_layers(data, OCI_MANIFEST, [None]) == data
    listing = json.dumps(json.loads(index(entry(1))), indent=7).encode()
    assert with_replaced_entries(listing, OCI_INDEX, {}) == listing


def test_a_layer_and_the_config_are_replaced() -> None:
    """What takes a place is there whole; unknown fields, annotations and the order of all keys stay."""
    first, second = entry(1, media_type=OCI_LAYER, strange={"b": 1, "a": 2}), entry(2, media_type=OCI_LAYER)
    data = image(first, second, annotations={"z": "1", "a": "2"}, unknown=[{"x": None}])
    before = parse_manifest(data, OCI_MANIFEST)
    assert isinstance(before, Manifest)
    zstd = evolve(before.layers[0], media_type=OCI_LAYER.replace("gzip", "zstd"), digest=digest(5), size=50)
    config = evolve(before.config, digest=digest(6), size=60)
    after = with_replaced_layers(data, OCI_MANIFEST, [zstd, None], config)
    expected = json.loads(data)
    expected["layers"][0] |= {"mediaType": zstd.media_type, "digest": digest(5), "size": 50}
    expected["config"] |= {"digest": digest(6), "size": 60}
    assert after == json.dumps(expected, separators=(",", ":")).encode()


def test_replacing_layers_refuses() -> None:
    """Numbers that do not fit, types that do not belong and content that is not the descriptor's own."""
    data = image(entry(1, media_type=OCI_LAYER))
    with pytest.raises(ManifestError, match="1 layers, given were 0"):
        with_replaced_layers(data, OCI_MANIFEST, [])
    with pytest.raises(ManifestError, match="found an index"):
        with_replaced_layers(index(), OCI_INDEX, [])
    with pytest.raises(ManifestError, match="size"):
        with_replaced_layers(data, OCI_MANIFEST, [evolve(manifest(1, OCI_LAYER), size=-1)])
    with pytest.raises(DigestMismatchError):
        with_replaced_layers(data, OCI_MANIFEST, [evolve(manifest(2, OCI_LAYER), data=b"{}")])
    docker = image(entry(1, media_type=DOCKER_LAYER), media_type=DOCKER_MANIFEST)
    for media_type in (OCI_LAYER, "a/b"):
        with pytest.raises(ManifestTypeRejectedError, match="does not belong"):
            with_replaced_layers(docker, DOCKER_MANIFEST, [manifest(2, media_type)])
    with pytest.raises(ManifestTypeRejectedError, match="has annotations"):
        with_replaced_layers(docker, DOCKER_MANIFEST, [manifest(2, DOCKER_LAYER, annotations={"a": "b"})])
    with pytest.raises(LimitExceededError):
        with_replaced_layers(data, OCI_MANIFEST, [manifest(2, OCI_LAYER, urls=("https://x/" + "y" * (1 << 22),))])


def test_entries_are_replaced_dropped_and_added() -> None:
    """A new manifest is listed wherever the old one was; the rest of each entry, and of the index, stays."""
    same = [
        entry(1, AMD64, annotations={"a": "1"}, odd=1, data="e30=", urls=["https://x"]),
        entry(1, ARM),
        entry(2, ARM),
    ]
    data = index(*same, annotations={"k": "v"}, strange=1)
    replaced = {
        digest(1): manifest(11, OCI_MANIFEST, annotations={"b": "2"}, platform=Platform(os="x", architecture="y"))
    }
    after = with_replaced_entries(data, OCI_INDEX, replaced, dropped=[digest(2)], added=[manifest(3, OCI_MANIFEST)])
    assert json.loads(after) == json.loads(
        index(
            entry(11, AMD64, annotations={"a": "1", "b": "2"}, odd=1),
            entry(11, ARM, annotations={"b": "2"}),
            entry(3),
            annotations={"k": "v"},
            strange=1,
        )
    )
    assert list(json.loads(after)) == list(json.loads(data))


def test_an_entry_for_the_same_bytes_keeps_what_it_says_of_them() -> None:
    """Annotations can be changed without changing the manifest."""
    data = index(entry(1, AMD64, urls=["https://x"], annotations={ZSTD: "true", "a": "1"}))
    after = with_replaced_entries(data, OCI_INDEX, {digest(1): manifest(1, OCI_MANIFEST)}, without_annotations=[ZSTD])
    assert json.loads(after)["manifests"] == [entry(1, AMD64, urls=["https://x"], annotations={"a": "1"})]
    last = with_replaced_entries(after, OCI_INDEX, {digest(1): manifest(1, OCI_MANIFEST)}, without_annotations=["a"])
    assert json.loads(last)["manifests"] == [entry(1, AMD64, urls=["https://x"])]


def test_images_in_zstd_are_listed_last() -> None:
    """Who knows nothing of variants takes the first entry for its platform; that is one in gzip."""
    mark = {ZSTD: "true"}
    data = index(entry(1, AMD64, annotations=mark), entry(2, ARM))
    platform = Platform(os="linux", architecture="amd64")
    after = with_replaced_entries(data, OCI_INDEX, {}, added=[manifest(3, OCI_MANIFEST, platform=platform)])
    assert [one.size for one in parsed(after).manifests] == [2, 3, 1]
    assert with_replaced_entries(data, OCI_INDEX, {digest(2): manifest(4, OCI_MANIFEST)}).index(b"0001") > 0


def test_replacing_entries_refuses() -> None:
    """An image is no index, and a digest that is not listed is a mistake, not nothing."""
    with pytest.raises(ManifestError, match="manifest of an image"):
        with_replaced_entries(image(), OCI_MANIFEST, {})
    for arguments in ({"replaced": {digest(7): manifest(8)}}, {"replaced": {}, "dropped": [digest(7)]}):
        with pytest.raises(ManifestError, match="does not list"):
            with_replaced_entries(index(entry(1)), OCI_INDEX, **arguments)


def test_dockers_list_gets_nothing_strange() -> None:
    """No annotations come into Docker's list, which has none, and no entry without a platform."""
    data = index(entry(1, AMD64, media_type=DOCKER_MANIFEST, annotations={"a": "b"}), docker=True)
    platform = Platform(os="linux", architecture="arm")
    after = with_replaced_entries(data, DOCKER_LIST, {digest(1): manifest(2)}, added=[manifest(3, platform=platform)])
    assert json.loads(after)["manifests"] == [
        entry(2, AMD64, media_type=DOCKER_MANIFEST, annotations={"a": "b"}),
        entry(3, {"architecture": "arm", "os": "linux"}, media_type=DOCKER_MANIFEST),
    ]
    with pytest.raises(ManifestTypeRejectedError, match="without a platform"):
        with_replaced_entries(data, DOCKER_LIST, {}, added=[manifest(3)])
    with pytest.raises(ManifestTypeRejectedError, match="has annotations"):
        with_replaced_entries(data, DOCKER_LIST, {digest(1): manifest(2, annotations={"a": "b"})})


# -- variants


def test_how_an_entry_says_it_is_compressed() -> None:
    """Only the annotation with this very value says zstd."""
    assert compression_of_entry(manifest(1, annotations={ZSTD: "true"})) is Compression.ZSTD
    for others in ({}, {ZSTD: "false"}, {ZSTD: "True"}, {ZSTD: ""}):
        assert compression_of_entry(manifest(1, annotations=others)) is Compression.GZIP
    for compression in (Compression.GZIP, Compression.ZSTD):
        assert compression_of_entry(manifest(1, annotations=marks(compression))) is compression


def test_equal_platforms() -> None:
    """Platforms are equal when machines are, in whatever order features are named."""
    entries = parsed(index(entry(1, WINDOWS), entry(2, WINDOWS | {"os.features": ["a", "win32k"]}), entry(3))).manifests
    assert platform_key(entries[0]) == platform_key(entries[1]) != platform_key(entries[2])
    other = parsed(index(entry(1, WINDOWS | {"os.version": "11"}))).manifests[0]
    assert platform_key(other) != platform_key(entries[0])


def test_variants_that_are_missing() -> None:
    """Every platform gets one image in each format that it lacks, made of its first; other things get none."""
    mark = {ZSTD: "true"}
    listing = parsed(
        index(
            entry(1, AMD64),
            entry(2, AMD64),
            entry(3, ARM),
            entry(4, ARM, annotations=mark),
            entry(5, WINDOWS, annotations=mark),
            entry(6, {"os": "unknown", "architecture": "unknown"}),
            entry(7, AMD64, artifactType="a/b"),
            entry(8, media_type=OCI_INDEX),
            entry(9),
        )
    )
    gzip, zstd = Compression.GZIP, Compression.ZSTD
    found = missing_variants(listing, [zstd, gzip, zstd])
    assert [(one.size, compression) for one, compression in found] == [(1, zstd), (5, gzip), (9, zstd)]
    assert missing_variants(listing, [gzip])[0][0].size == 5
    assert missing_variants(listing, []) == []
    added = [evolve(one, digest=digest(20 + one.size), annotations=marks(compression)) for one, compression in found]
    after = parsed(with_replaced_entries(listing.to_json(), OCI_INDEX, {}, added=added))
    assert missing_variants(after, [zstd, gzip]) == []


def test_variants_that_cannot_be() -> None:
    """Docker's list has no way to mark zstd, and there are variants in two formats only."""
    listing = parsed(index(entry(1, AMD64, media_type=DOCKER_MANIFEST), docker=True), DOCKER_LIST)
    with pytest.raises(ManifestTypeRejectedError, match="OCI index"):
        missing_variants(listing, [Compression.ZSTD])
    assert missing_variants(listing, [Compression.GZIP]) == []
    with pytest.raises(NotSupportedError, match="bzip2"):
        missing_variants(listing, [Compression.BZIP2])


def test_digests_of_what_is_written() -> None:
    """What is written is what a digest is taken of: the same input gives the same digest."""
    data = index(entry(1, AMD64, media_type=DOCKER_MANIFEST), annotations={"a": "b"})
    first, second = (convert_index(data, OCI_INDEX, DOCKER_LIST).data for _ in range(2))
    assert digest_of(first) == digest_of(second)
