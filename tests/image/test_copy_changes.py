"""Copies that change an image: its type, the compression of its layers, what its index lists; those that may not."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Store,
    check_layout,
    config_of,
    digest_of,
    manifest_at,
    skopeo_digest,
    tar_of,
)
from copies import ALL, ANY, LAYER, SPECIFIC, STRIP, ZSTD, blob, manifest_of, plain, several, two_layers
from stores import fill

from ocikit.errors import (
    DigestChangeError,
    DigestMismatchError,
    ImageNotFoundError,
    ManifestTypeRejectedError,
    NotSupportedError,
    VerificationError,
)
from ocikit.image import SystemContext, copy, inspect
from ocikit.spec import Digest, Platform

if TYPE_CHECKING:
    from pathlib import Path

# Compression


@pytest.mark.parametrize("wanted", ["zstd", "gzip"])
@pytest.mark.parametrize("level", [None, 1])
def test_layers_are_recompressed(tmp_path: Path, wanted: str, level: int | None) -> None:
    """Every layer has the compression that was asked for, the same plain bytes and diffIDs, and skopeo reads it."""
    source = two_layers(tmp_path / "in")
    first = SystemContext(compression_format="zstd" if wanted == "gzip" else "gzip")
    copy.image(
        ANY,
        dest=f"oci:{tmp_path}/other:x",
        src=f"oci:{source}:x",
        options=copy.CopyOptions(destination_ctx=first),
    )
    sys = SystemContext(compression_format=wanted, compression_level=level)
    options = copy.CopyOptions(destination_ctx=sys, force_compression_format=True)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{tmp_path}/other:x", options=options)
    before, after = manifest_of(source), manifest_of(tmp_path / "out")
    assert after["config"] == before["config"]
    assert [layer["mediaType"] for layer in after["layers"]] == [f"{LAYER}+{wanted}"] * 2
    assert [plain(blob(tmp_path / "out", layer["digest"])) for layer in after["layers"]] == [
        plain(blob(source, layer["digest"])) for layer in before["layers"]
    ]
    assert [one.media_type for one in result.converted] == [f"{LAYER}+{wanted}"] * 2
    assert result.digest in check_layout(tmp_path / "out")
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", f"oci:{tmp_path}/out:x", f"dir:{tmp_path}/dir"],
        check=True,
        capture_output=True,
    )


def test_what_has_the_compression_already_stays(tmp_path: Path) -> None:
    """A copy to gzip of an image in gzip changes nothing, not even the digest."""
    source = two_layers(tmp_path / "in")
    options = copy.CopyOptions(destination_ctx=SystemContext(compression_format="gzip"))
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    assert result.digest == manifest_at(source)
    assert not result.converted


def test_a_layer_is_recompressed_once(tmp_path: Path) -> None:
    """The second copy finds the recompressed layers and reuses them; a new layout gets them made again."""
    source = two_layers(tmp_path / "in")
    options = copy.CopyOptions(destination_ctx=ZSTD)
    first = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    second = copy.image(ANY, dest=f"oci:{tmp_path}/out:y", src=f"oci:{source}:x", options=options)
    assert len(first.converted) == 2
    assert not second.converted
    assert not second.copied
    assert second.digest == first.digest
    third = copy.image(ANY, dest=f"oci:{tmp_path}/new:y", src=f"oci:{source}:x", options=options)
    assert len(third.converted) == 2
    assert third.digest == first.digest


def test_dir_compresses_and_decompresses(tmp_path: Path) -> None:
    """``dir`` has layers plain or compressed as its context says; plain ones have the name of their diffID."""
    source = two_layers(tmp_path / "in")
    plainly = copy.CopyOptions(destination_ctx=SystemContext(dir_force_decompress=True))
    result = copy.image(ANY, dest=f"dir:{tmp_path}/plain", src=f"oci:{source}:x", options=plainly)
    config = json.loads(blob(source, manifest_of(source)["config"]["digest"]))
    layers = json.loads((tmp_path / "plain" / "manifest.json").read_bytes())["layers"]
    assert [layer["digest"] for layer in layers] == config["rootfs"]["diff_ids"]
    assert {layer["mediaType"] for layer in layers} == {LAYER}
    assert skopeo_digest(f"dir:{tmp_path}/plain") == result.digest
    again = copy.image(ANY, dest=f"dir:{tmp_path}/plain", src=f"oci:{source}:x", options=plainly)
    assert len(again.reused) == 3
    packed = copy.CopyOptions(destination_ctx=SystemContext(dir_force_compress=True))
    copy.image(ANY, dest=f"dir:{tmp_path}/packed", src=f"dir:{tmp_path}/plain", options=packed)
    layers = json.loads((tmp_path / "packed" / "manifest.json").read_bytes())["layers"]
    assert {layer["mediaType"] for layer in layers} == {f"{LAYER}+gzip"}
    both = copy.CopyOptions(destination_ctx=SystemContext(dir_force_compress=True, dir_force_decompress=True))
    with pytest.raises(ValueError, match="exclude each other"):
        copy.image(ANY, dest=f"dir:{tmp_path}/x", src=f"oci:{source}:x", options=both)


def test_the_type_of_a_layer_follows_its_content(tmp_path: Path) -> None:
    """A plain layer that is called gzip keeps its wrong type in a manifest that stays, and loses it in another."""
    store = Store()
    tar = tar_of({"a": b"a"})
    layer = store.blob(f"{LAYER}+gzip", tar)
    config = store.json(OCI_CONFIG, config_of(digest_of(tar)))
    image = store.json(
        OCI_MANIFEST, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    )
    layout = store.layout(tmp_path / "in", {"x": image})
    same = copy.image(ANY, dest=f"oci:{tmp_path}/same:x", src=f"oci:{layout}:x")
    assert same.digest == image["digest"]
    options = copy.CopyOptions(force_manifest_mime_type=DOCKER_MANIFEST)
    copy.image(ANY, dest=f"dir:{tmp_path}/dir", src=f"oci:{layout}:x", options=options)
    layers = json.loads((tmp_path / "dir" / "manifest.json").read_bytes())["layers"]
    assert [layer["mediaType"] for layer in layers] == ["application/vnd.docker.image.rootfs.diff.tar"]


def test_the_type_of_a_layer_in_a_store(tmp_path: Path) -> None:
    """What a store has plain and its manifest calls gzip stays so in a copy of it, and is right in an archive."""
    store = Store()
    tar = tar_of({"a": b"a" * 5000})
    layer = store.blob(DOCKER_LAYER, tar)
    config = store.json(DOCKER_CONFIG, config_of(digest_of(tar)))
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    there = fill(tmp_path, "vfs", f"dir:{store.directory(tmp_path / 'in', store.json(DOCKER_MANIFEST, document))}", "x")
    same = copy.image(ANY, dest=f"dir:{tmp_path}/same", src=f"containers-storage:{there}")
    assert same.manifest == store.blobs[digest_of(json.dumps(document).encode())]
    archive = f"docker-archive:{tmp_path}/a.tar:x:1"
    options = copy.CopyOptions(preserve_digests=True)
    with pytest.raises(DigestChangeError, match="layer 0 is listed with gzip and has no compression"):
        copy.image(ANY, dest=archive, src=f"containers-storage:{there}", options=options)
    written = copy.image(ANY, dest=archive, src=f"containers-storage:{there}")
    assert json.loads(written.manifest) == json.loads(inspect(archive).raw_manifest)


@pytest.mark.parametrize("wanted", [None, "zstd", "plain"])
def test_lying_diff_ids(tmp_path: Path, wanted: str | None) -> None:
    """A configuration whose diffID is not that of the layer is found when asked, and always when a layer is remade."""
    store = Store()
    layer = store.blob(f"{LAYER}+gzip", gzip.compress(tar_of({"a": b"a"})))
    config = store.json(OCI_CONFIG, config_of(digest_of(b"something else")))
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    layout = store.layout(tmp_path / "in", {"x": store.json(OCI_MANIFEST, document)})
    copy.image(ANY, dest=f"oci:{tmp_path}/unseen:x", src=f"oci:{layout}:x")
    sys = {
        None: SystemContext(),
        "zstd": ZSTD,
        "plain": SystemContext(dir_force_decompress=True),
    }[wanted]
    options = copy.CopyOptions(verify_diff_ids=wanted is None, destination_ctx=sys)
    with pytest.raises(DigestMismatchError, match=f"layer {layer['digest']}|blob {digest_of(b'something else')}"):
        copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"oci:{layout}:x", options=options)
    assert not (tmp_path / "out").exists()


def test_true_diff_ids(tmp_path: Path) -> None:
    """Full verification of a right image changes nothing, and reads what is there already too."""
    source = two_layers(tmp_path / "in")
    options = copy.CopyOptions(verify_diff_ids=True)
    first = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    assert first.digest == manifest_at(source)
    second = copy.image(ANY, dest=f"oci:{tmp_path}/out:y", src=f"oci:{source}:x", options=options)
    assert len(second.copied) == 2
    assert threading.active_count() == 1


def test_damage_is_found_while_recompressing(tmp_path: Path) -> None:
    """A layer that is damaged, or another one, is not recompressed into something that looks whole."""
    source = two_layers(tmp_path / "in")
    victim = manifest_of(source)["layers"][0]["digest"]
    file = source / "blobs" / victim.replace(":", "/")
    file.write_bytes(gzip.compress(tar_of({"evil": b"evil"})).ljust(file.stat().st_size, b"\0"))
    options = copy.CopyOptions(destination_ctx=ZSTD)
    with pytest.raises(VerificationError, match=victim):
        copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    assert threading.active_count() == 1


# Types of manifests


@pytest.mark.parametrize("several", [False, True])
def test_docker_to_oci_and_back(tmp_path: Path, several: bool) -> None:  # noqa: FBT001 - a row of the table
    """A layout gets OCI manifests of Docker's, the configuration untouched; forced back, the first bytes return."""
    store = Store()
    health = {"Test": ["CMD", "true"]}
    layer, diff_id = store.layer({"a": b"a"}, "application/vnd.docker.image.rootfs.diff.tar.gzip")
    config = store.json(DOCKER_CONFIG, config_of(diff_id) | {"config": {"Healthcheck": health, "OnBuild": ["RUN x"]}})
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    top = store.json(DOCKER_MANIFEST, document)
    if several:
        top = store.index({**top, "platform": {"os": "linux", "architecture": "amd64"}}, docker=True)
    source = store.directory(tmp_path / "in", top)
    options = copy.CopyOptions(image_list_selection=ALL)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"dir:{source}", options=options)
    assert result.media_type == (OCI_INDEX if several else OCI_MANIFEST)
    assert result.digest in check_layout(tmp_path / "out")
    assert result.lost == ()
    seen = inspect(f"oci:{tmp_path}/out:x", SystemContext(architecture_choice="amd64", os_choice="linux"))
    assert seen.manifest.config.digest == config["digest"]
    assert seen.config is not None
    assert seen.config.config.extra["Healthcheck"] == health
    assert len(result.instances) == several
    back = copy.CopyOptions(image_list_selection=ALL, force_manifest_mime_type=DOCKER_MANIFEST)
    again = copy.image(ANY, dest=f"dir:{tmp_path}/back", src=f"oci:{tmp_path}/out:x", options=back)
    assert again.media_type == (DOCKER_LIST if several else DOCKER_MANIFEST)
    assert json.loads(again.manifest)["schemaVersion"] == 2
    file = tmp_path / "back" / "manifest.json"
    if several:
        file = tmp_path / "back" / f"{again.instances[0].hex}.manifest.json"
    assert json.loads(file.read_bytes()) == document


def test_what_docker_cannot_say_is_told(tmp_path: Path) -> None:
    """Annotations that get lost are in the result; layers in zstd and artifacts are refused with what to do."""
    store = Store()
    image = store.image({"a": b"a"}, platform=False, extra={"annotations": {"a": "1", "b": "2"}})
    layout = store.layout(tmp_path / "in", {"x": image})
    docker = copy.CopyOptions(force_manifest_mime_type=DOCKER_MANIFEST)
    result = copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"oci:{layout}:x", options=docker)
    assert result.lost == ("annotations of the manifest: 2",)
    copy.image(
        ANY, dest=f"oci:{tmp_path}/zstd:x", src=f"oci:{layout}:x", options=copy.CopyOptions(destination_ctx=ZSTD)
    )
    with pytest.raises(ManifestTypeRejectedError, match=r"zstd.*gzip"):
        copy.image(ANY, dest=f"dir:{tmp_path}/no", src=f"oci:{tmp_path}/zstd:x", options=docker)
    unzipped = copy.CopyOptions(
        force_manifest_mime_type=DOCKER_MANIFEST, destination_ctx=SystemContext(compression_format="gzip")
    )
    copy.image(ANY, dest=f"dir:{tmp_path}/yes", src=f"oci:{tmp_path}/zstd:x", options=unzipped)
    artifact = store.image(extra={"artifactType": "application/x"}, platform=False)
    store.layout(tmp_path / "in", {"x": image, "a": artifact})
    with pytest.raises(ManifestTypeRejectedError, match="artifact"):
        copy.image(ANY, dest=f"dir:{tmp_path}/no", src=f"oci:{layout}:a", options=docker)


def test_docker_images_in_zstd_become_oci(tmp_path: Path) -> None:
    """Where zstd is asked for, the type that has a name for it is written, without being asked for."""
    store = Store()
    source = store.directory(tmp_path / "in", store.image(docker=True))
    options = copy.CopyOptions(destination_ctx=ZSTD)
    result = copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"dir:{source}", options=options)
    assert result.media_type == OCI_MANIFEST
    forced = copy.CopyOptions(destination_ctx=ZSTD, force_manifest_mime_type=DOCKER_MANIFEST)
    with pytest.raises(ManifestTypeRejectedError, match="zstd"):
        copy.image(ANY, dest=f"dir:{tmp_path}/no", src=f"dir:{source}", options=forced)


@pytest.mark.parametrize("kind", ["preserve", "signed"])
def test_what_must_not_change(tmp_path: Path, kind: str) -> None:
    """The error says what would change and why it must not; a copy that changes nothing is not refused."""
    store = Store()
    source = store.directory(tmp_path / "in", store.image())
    if kind == "signed":
        (source / "signature-1").write_bytes(b"\x89signature")
    options = copy.CopyOptions(destination_ctx=ZSTD, preserve_digests=kind == "preserve")
    with pytest.raises(DigestChangeError) as caught:
        copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"dir:{source}", options=options)
    assert caught.value.changes == ("layer 0 (gzip) is compressed by zstd",)
    (reason,) = caught.value.reasons
    assert ("preserve_digests" if kind == "preserve" else "1 signatures") in reason
    copy.image(
        ANY,
        dest=f"dir:{tmp_path}/out",
        src=f"dir:{source}",
        options=copy.CopyOptions(preserve_digests=kind == "preserve"),
    )


# Indexes


@pytest.fixture
def multi(tmp_path: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Return a layout with an index of several platforms named x, and its parts by name."""
    return several(tmp_path / "in")


def test_platforms(multi: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path) -> None:
    """Platforms are chosen with all variants, or with one; the index stays, or lists only what is there."""
    layout, parts = multi
    arm = Platform(os="linux", architecture="arm")
    options = copy.CopyOptions(
        image_list_selection=SPECIFIC, instance_platforms=(arm,), instances=(Digest(parts["amd64"]["digest"]),)
    )
    kept = copy.image(ANY, dest=f"oci:{tmp_path}/kept:x", src=f"oci:{layout}:x", options=options)
    assert kept.digest == parts["index"]["digest"]
    assert set(kept.instances) == {parts[name]["digest"] for name in ("amd64", "armv6", "armv7")}
    v7 = copy.CopyOptions(
        image_list_selection=SPECIFIC,
        instance_platforms=(Platform(os="linux", architecture="arm", variant="v7"),),
        sparse_manifest_list_action=STRIP,
    )
    stripped = copy.image(ANY, dest=f"oci:{tmp_path}/stripped:x", src=f"oci:{layout}:x", options=v7)
    assert [entry["digest"] for entry in json.loads(stripped.manifest)["manifests"]] == [parts["armv7"]["digest"]]
    assert stripped.digest in check_layout(tmp_path / "stripped")
    nothing = copy.CopyOptions(
        image_list_selection=SPECIFIC, instance_platforms=(Platform(os="linux", architecture="s390x"),)
    )
    with pytest.raises(ImageNotFoundError, match=r"linux/s390x, only for linux/amd64"):
        copy.image(ANY, dest=f"oci:{tmp_path}/none:x", src=f"oci:{layout}:x", options=nothing)


def test_an_index_follows_its_images(multi: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path) -> None:
    """Recompressing every image of an index makes new entries; platforms, annotations and order stay."""
    layout, parts = multi
    options = copy.CopyOptions(image_list_selection=ALL, destination_ctx=ZSTD)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    before = json.loads(blob(layout, parts["index"]["digest"]))
    after = json.loads(result.manifest)
    assert [entry["platform"] for entry in after["manifests"]] == [entry["platform"] for entry in before["manifests"]]
    assert len(result.converted) == 5
    assert result.digest in check_layout(tmp_path / "out")
    assert not {entry["digest"] for entry in after["manifests"]} & {entry["digest"] for entry in before["manifests"]}


def test_variants_are_made(multi: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path) -> None:
    """Every platform is there in gzip as before and in zstd, marked; a second copy makes nothing new."""
    layout, parts = multi
    options = copy.CopyOptions(
        image_list_selection=ALL,
        ensure_compression_variants_exist=(copy.CompressionVariant(compression="zstd", level=1),),
    )
    result = copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=options)
    entries = json.loads(result.manifest)["manifests"]
    assert [entry["digest"] for entry in entries[:5]] == [parts[name]["digest"] for name in list(parts)[:5]]
    added = entries[5:]
    assert [entry["platform"] for entry in added] == [entry["platform"] for entry in entries[:4]]
    assert all(entry["annotations"] == {"io.github.containers.compression.zstd": "true"} for entry in added)
    assert result.digest in check_layout(tmp_path / "out")
    again = copy.image(ANY, dest=f"oci:{tmp_path}/again:x", src=f"oci:{tmp_path}/out:x", options=options)
    assert again.digest == result.digest
    sys = SystemContext(architecture_choice="amd64", os_choice="linux")
    for prefers, media_type in ((False, f"{LAYER}+zstd"), (True, f"{LAYER}+gzip")):
        one = copy.CopyOptions(source_ctx=sys, prefer_gzip_instances=prefers)
        copy.image(ANY, dest=f"oci:{tmp_path}/{prefers}:x", src=f"oci:{tmp_path}/out:x", options=one)
        assert manifest_of(tmp_path / str(prefers))["layers"][0]["mediaType"] == media_type


def test_options_that_exclude_each_other() -> None:
    """Combinations that would do something else than they say are refused when they are made."""
    variant = (copy.CompressionVariant(compression="zstd"),)
    wrong: list[dict[str, Any]] = [
        {"image_list_selection": SPECIFIC},
        {"instance_platforms": (Platform(os="linux", architecture="arm"),)},
        {"sparse_manifest_list_action": STRIP, "preserve_digests": True},
        {"sparse_manifest_list_action": "strip it"},
        {"force_compression_format": True},
        {"ensure_compression_variants_exist": variant},
        {"ensure_compression_variants_exist": variant, "image_list_selection": ALL, "preserve_digests": True},
        {"force_manifest_mime_type": OCI_INDEX},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            copy.CopyOptions(**options)


def test_encrypted_layers_are_left_alone(tmp_path: Path) -> None:
    """They are copied as they are, and cannot be recompressed."""
    store = Store()
    layer = store.blob(f"{LAYER}+gzip+encrypted", b"secret")
    config = store.json(OCI_CONFIG, config_of(digest_of(b"?")))
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    layout = store.layout(tmp_path / "in", {"x": store.json(OCI_MANIFEST, document)})
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x")
    with pytest.raises(NotSupportedError, match=r"layer 0 is encrypted.*decrypt it first"):
        copy.image(
            ANY, dest=f"oci:{tmp_path}/no:x", src=f"oci:{layout}:x", options=copy.CopyOptions(destination_ctx=ZSTD)
        )
