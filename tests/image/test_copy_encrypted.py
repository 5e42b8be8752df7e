"""Copies that encrypt and decrypt layers: here and by skopeo, in both directions, and everything that was changed."""

from __future__ import annotations

import io
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_MANIFEST, OCI_MANIFEST, Store, check_layout, manifest_at
from copies import ANY, LAYER, ZSTD, blob, manifest_of, plain, two_layers
from recipients import ENC, decrypting, encrypting, private_pem, public_pem, recipient
from stores import run

from ocikit.errors import (
    DigestChangeError,
    EncryptionError,
    ManifestTypeRejectedError,
    NotSupportedError,
)
from ocikit.image import SystemContext, copy, unpack
from ocikit.image.encryption import DecryptConfig, EncryptConfig, EncryptedStream, unwrap_options, wrap_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[dict[str, Any], Path], None]

JWE, PKCS7, PUBLIC = f"{ENC}keys.jwe", f"{ENC}keys.pkcs7", f"{ENC}pubopts"
RSA = DecryptConfig.from_private_key(private_pem("rsa"))
EC = DecryptConfig.from_private_key(private_pem("P-256"))


def skopeo(*words: str) -> None:
    """Copy by skopeo."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# Both directions


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("place", ["oci", "oci-archive"])
@pytest.mark.parametrize(("scheme", "key"), [("jwe", "rsa"), ("jwe", "P-256"), ("jwe", "P-521"), ("pkcs7", "rsa")])
def test_with_skopeo(tmp_path: Path, scheme: str, key: str, place: str, compression: str) -> None:
    """What skopeo encrypts is decrypted here, what is encrypted here by skopeo: into the very same layers."""
    source = two_layers(tmp_path / "in")
    if compression == "zstd":
        copy.image(
            ANY,
            dest=f"oci:{tmp_path}/zstd:x",
            src=f"oci:{source}:x",
            options=copy.CopyOptions(destination_ctx=ZSTD),
        )
        source = tmp_path / "zstd"
    before = manifest_of(source)["layers"]
    who = recipient(tmp_path, scheme, key)
    skopeo("--encryption-key", who.public, f"oci:{source}:x", f"{place}:{tmp_path}/theirs:x")
    config = DecryptConfig.from_keys(*who.private)
    copy.image(ANY, dest=f"oci:{tmp_path}/a:x", src=f"{place}:{tmp_path}/theirs:x", options=decrypting(config))
    assert manifest_of(tmp_path / "a")["layers"] == before
    options = copy.CopyOptions(oci_encrypt_config=EncryptConfig.from_recipients(who.public), oci_encrypt_layers=())
    done = copy.image(ANY, dest=f"{place}:{tmp_path}/ours:x", src=f"oci:{source}:x", options=options)
    layers = json.loads(done.manifest)["layers"]
    assert [layer["mediaType"] for layer in layers] == [f"{LAYER}+{compression}+encrypted"] * 2
    assert [one.outcome for one in done.blobs] == [copy.BlobOutcome.COPIED, *[copy.BlobOutcome.CONVERTED] * 2]
    keys = [word for private in who.private for word in ("--decryption-key", private)]
    skopeo(*keys, f"{place}:{tmp_path}/ours:x", f"oci:{tmp_path}/b:x")
    assert manifest_of(tmp_path / "b")["layers"] == before


@pytest.mark.parametrize("layers", [(0,), (-1,), (1, -1), (-2, 0), (0, 1)])
def test_chosen_layers(tmp_path: Path, layers: tuple[int, ...]) -> None:
    """Numbers count from the first and, negative, from the last layer; skopeo takes them for the same ones."""
    source = two_layers(tmp_path / "in")
    who = recipient(tmp_path, "jwe")
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=encrypting(*layers))
    words = [word for layer in layers for word in ("--encrypt-layer", str(layer))]
    skopeo("--encryption-key", who.public, *words, f"oci:{source}:x", f"oci:{tmp_path}/theirs:x")
    found, theirs = (
        [layer["mediaType"] for layer in manifest_of(tmp_path / name)["layers"]] for name in ("out", "theirs")
    )
    assert found == theirs
    assert found.count(f"{LAYER}+gzip+encrypted") == len({layer % 2 for layer in layers})
    check_layout(tmp_path / "out")


def test_several_recipients(tmp_path: Path) -> None:
    """Each of several recipients of both kinds decrypts, here and by skopeo; the config stays readable for all."""
    source = two_layers(tmp_path / "in")
    who = [recipient(tmp_path, *one) for one in (("jwe", "rsa"), ("jwe", "P-384"), ("pkcs7", "rsa/2"))]
    config = EncryptConfig.from_recipients(*(one.public for one in who))
    options = copy.CopyOptions(oci_encrypt_config=config, oci_encrypt_layers=())
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=options)
    made = manifest_of(tmp_path / "out")
    assert made["config"] == manifest_of(source)["config"]
    assert {*made["layers"][0]["annotations"]} == {JWE, PKCS7, PUBLIC}
    for number, one in enumerate(who):
        keys = [word for private in one.private for word in ("--decryption-key", private)]
        skopeo(*keys, f"oci:{tmp_path}/out:x", f"oci:{tmp_path}/their{number}:x")
        config_of_one = decrypting(DecryptConfig.from_keys(*one.private))
        copy.image(ANY, dest=f"oci:{tmp_path}/our{number}:x", src=f"oci:{tmp_path}/out:x", options=config_of_one)
        assert manifest_of(tmp_path / f"our{number}") == manifest_of(tmp_path / f"their{number}")


def test_with_buildah(tmp_path: Path) -> None:
    """Buildah pulls what is encrypted here into a store, where it holds the layers against their diffIDs itself."""
    source = two_layers(tmp_path / "in")
    who = recipient(tmp_path, "jwe", "P-256")
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{source}:x", options=encrypting(public="P-256"))
    place = [f"--root={tmp_path}/store", f"--runroot={tmp_path}/run", "--storage-driver=vfs"]
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    words = ["--policy=always", f"--signature-policy={policy}", f"--decryption-key={who.private[0]}"]
    said = run("buildah", *place, "pull", *words, f"oci:{tmp_path}/out:x")
    assert said.decode().strip() == manifest_of(source)["config"]["digest"].removeprefix("sha256:")


# What goes along


def test_compression_on_the_way(tmp_path: Path) -> None:
    """Layers are recompressed and then encrypted, decrypted and then recompressed, or made plain; diffIDs are held."""
    source = two_layers(tmp_path / "in")
    copy.image(ANY, dest=f"oci:{tmp_path}/zstd:x", src=f"oci:{source}:x", options=encrypting(0, destination_ctx=ZSTD))
    types = [layer["mediaType"] for layer in manifest_of(tmp_path / "zstd")["layers"]]
    assert types == [f"{LAYER}+zstd+encrypted", f"{LAYER}+zstd"]
    sealed = manifest_of(tmp_path / "zstd")["layers"][0]
    opened = unwrap_options(RSA, sealed["annotations"])
    gzipped = SystemContext(compression_format="gzip")
    copy.image(
        ANY,
        dest=f"oci:{tmp_path}/gzip:x",
        src=f"oci:{tmp_path}/zstd:x",
        options=decrypting(destination_ctx=gzipped, verify_diff_ids=True),
    )
    layers = manifest_of(tmp_path / "gzip")["layers"]
    assert [layer["mediaType"] for layer in layers] == [f"{LAYER}+gzip"] * 2
    assert all("annotations" not in layer for layer in layers)
    assert [plain(blob(tmp_path / "gzip", one["digest"])) for one in layers] == [
        plain(blob(source, one["digest"])) for one in manifest_of(source)["layers"]
    ]
    skopeo("--decryption-key", recipient(tmp_path, "jwe").private[0], f"oci:{tmp_path}/zstd:x", f"dir:{tmp_path}/s")
    assert json.loads((tmp_path / "s/manifest.json").read_bytes())["layers"][0]["digest"] == opened.digest
    archive = f"docker-archive:{tmp_path}/a.tar:x:1"
    copy.image(ANY, dest=archive, src=f"oci:{tmp_path}/zstd:x", options=decrypting())
    skopeo(archive, f"dir:{tmp_path}/from-archive")


def test_keys_are_changed(tmp_path: Path) -> None:
    """With keys to decrypt and recipients, the chosen layers are encrypted anew: the old key opens nothing any more."""
    source = two_layers(tmp_path / "in")
    copy.image(ANY, dest=f"oci:{tmp_path}/old:x", src=f"oci:{source}:x", options=encrypting())
    options = encrypting(-1, public="P-256", oci_decrypt_config=RSA)
    copy.image(ANY, dest=f"oci:{tmp_path}/new:x", src=f"oci:{tmp_path}/old:x", options=options)
    first, second = manifest_of(tmp_path / "new")["layers"]
    assert first == manifest_of(source)["layers"][0]
    assert unwrap_options(EC, second["annotations"]).digest == manifest_of(source)["layers"][1]["digest"]
    with pytest.raises(EncryptionError, match="another kind"):
        unwrap_options(RSA, second["annotations"])
    copy.image(ANY, dest=f"oci:{tmp_path}/back:x", src=f"oci:{tmp_path}/new:x", options=decrypting(EC))
    assert manifest_of(tmp_path / "back")["layers"] == manifest_of(source)["layers"]


def test_recipients_are_added(tmp_path: Path) -> None:
    """Who can decrypt adds others: the blobs stay, both keys decrypt, skopeo too; without such a key all stays."""
    source = two_layers(tmp_path / "in")
    copy.image(ANY, dest=f"oci:{tmp_path}/old:x", src=f"oci:{source}:x", options=encrypting())
    same = copy.image(
        ANY, dest=f"oci:{tmp_path}/same:x", src=f"oci:{tmp_path}/old:x", options=encrypting(public="P-256")
    )
    assert same.digest == manifest_at(tmp_path / "old")
    second = recipient(tmp_path, "pkcs7", "rsa/2")
    config = EncryptConfig.from_recipients(second.public, decrypt_config=RSA)
    options = copy.CopyOptions(oci_encrypt_config=config, oci_encrypt_layers=(0,))
    planned = copy.plan(ANY, dest=f"oci:{tmp_path}/old:y", src=f"oci:{tmp_path}/old:x", options=options)
    assert planned.manifests[0].changes == ("layer 0 can be decrypted by 1 recipient more",)
    done = copy.image(ANY, dest=f"oci:{tmp_path}/old:y", src=f"oci:{tmp_path}/old:x", options=options)
    assert len(done.reused) == 3
    before, after = (manifest_of(tmp_path / "old", name)["layers"] for name in "xy")
    assert [one["digest"] for one in before] == [one["digest"] for one in after]
    assert after[1] == before[1]
    assert after[0]["annotations"] == before[0]["annotations"] | {PKCS7: after[0]["annotations"][PKCS7]}
    keys = [word for one in second.private for word in ("--decryption-key", one)]
    skopeo(
        *keys, "--decryption-key", recipient(tmp_path, "jwe").private[0], f"oci:{tmp_path}/old:y", f"dir:{tmp_path}/d"
    )
    again = EncryptConfig.from_public_key(public_pem("P-256")).combined(config)
    options = copy.CopyOptions(oci_encrypt_config=again, oci_encrypt_layers=(0,))
    copy.image(ANY, dest=f"oci:{tmp_path}/old:z", src=f"oci:{tmp_path}/old:y", options=options)
    annotations = manifest_of(tmp_path / "old", "z")["layers"][0]["annotations"]
    assert annotations[JWE].count(",") == annotations[PKCS7].count(",") == 1
    assert unwrap_options(EC, annotations) == unwrap_options(RSA, annotations)
    lost = EncryptConfig.from_recipients(second.public, decrypt_config=EC)
    options = copy.CopyOptions(oci_encrypt_config=lost, oci_encrypt_layers=())
    with pytest.raises(EncryptionError, match="none of the keys"):
        copy.image(ANY, dest=f"oci:{tmp_path}/old:w", src=f"oci:{tmp_path}/old:x", options=options)


def test_without_keys_all_stays(tmp_path: Path) -> None:
    """Encrypted layers are copied as they are; unpacking, diffIDs and recompression say what to do first."""
    source = two_layers(tmp_path / "in")
    copy.image(ANY, dest=f"oci:{tmp_path}/sealed:x", src=f"oci:{source}:x", options=encrypting(1))
    done = copy.image(ANY, dest=f"oci:{tmp_path}/same:x", src=f"oci:{tmp_path}/sealed:x")
    assert done.digest == manifest_at(tmp_path / "sealed")
    with pytest.raises(NotSupportedError, match=r"layer 1 is encrypted.*oci_decrypt_config"):
        unpack(f"oci:{tmp_path}/sealed:x", tmp_path / "root", policy=ANY)
    for options in (copy.CopyOptions(verify_diff_ids=True), copy.CopyOptions(destination_ctx=ZSTD)):
        with pytest.raises(NotSupportedError, match=r"layer 1 is encrypted.*oci_decrypt_config"):
            copy.image(ANY, dest=f"oci:{tmp_path}/no:x", src=f"oci:{tmp_path}/sealed:x", options=options)


def test_nothing_is_reused_for_what_it_is_not(tmp_path: Path) -> None:
    """A layer that is there plain is encrypted all the same, and each time into other bytes."""
    source = two_layers(tmp_path / "in")
    digests = {layer["digest"] for layer in manifest_of(source)["layers"]}
    for name in ("one", "two"):
        done = copy.image(ANY, dest=f"oci:{source}:{name}", src=f"oci:{source}:x", options=encrypting())
        assert len(done.converted) == 2
        made = {layer["digest"] for layer in manifest_of(source, name)["layers"]}
        assert not made & digests
        digests |= made
    done = copy.image(ANY, dest=f"oci:{source}:three", src=f"oci:{source}:one", options=decrypting(link_blobs=True))
    assert manifest_of(source, "three") == manifest_of(source, "x")
    done = copy.image(ANY, dest=f"oci:{source}:x", src=f"oci:{source}:x", options=encrypting())
    assert len(done.converted) == 2, "an image is encrypted where it is"


def test_the_same_layer_twice(tmp_path: Path) -> None:
    """Of a layer that is there twice only the chosen one is encrypted."""
    store = Store()
    layout = store.layout(tmp_path / "in", {"x": store.image({"a": b"a"}, {"a": b"a"}, platform=False)})
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=encrypting(1))
    types = [layer["mediaType"] for layer in manifest_of(tmp_path / "out")["layers"]]
    assert types == [f"{LAYER}+gzip", f"{LAYER}+gzip+encrypted"]


# Types of manifests, and what must not change


def test_only_oci_has_encrypted_layers(tmp_path: Path) -> None:
    """An image of Docker's becomes one of OCI; where that is not taken, or Docker's type is forced, it is refused."""
    store = Store()
    source = store.directory(tmp_path / "in", store.image(docker=True))
    done = copy.image(ANY, dest=f"dir:{tmp_path}/out", src=f"dir:{source}", options=encrypting())
    assert done.media_type == OCI_MANIFEST
    back = copy.CopyOptions(oci_decrypt_config=RSA, force_manifest_mime_type=DOCKER_MANIFEST)
    again = copy.image(ANY, dest=f"dir:{tmp_path}/back", src=f"dir:{tmp_path}/out", options=back)
    assert json.loads(again.manifest) == json.loads((source / "manifest.json").read_bytes())
    forced = encrypting(force_manifest_mime_type=DOCKER_MANIFEST)
    for name in (f"dir:{source}", f"dir:{tmp_path}/out"):
        with pytest.raises(ManifestTypeRejectedError, match="encrypted"):
            copy.image(ANY, dest=f"dir:{tmp_path}/no", src=name, options=forced)
    with pytest.raises(ManifestTypeRejectedError, match="encrypted"):
        copy.image(ANY, dest=f"docker-archive:{tmp_path}/a.tar:x:1", src=f"dir:{source}", options=encrypting())


@pytest.mark.parametrize("kind", ["preserve", "signed"])
@pytest.mark.parametrize("way", ["encrypt", "decrypt", "add"])
def test_what_must_not_change(tmp_path: Path, kind: str, way: str) -> None:
    """Encryption is a change like any other: refused with reasons, planned or done; signatures can be left behind."""
    store = Store()
    source = f"dir:{store.directory(tmp_path / 'in', store.image())}"
    if way != "encrypt":
        copy.image(ANY, dest=f"dir:{tmp_path}/sealed", src=source, options=encrypting())
        source = f"dir:{tmp_path}/sealed"
    if kind == "signed":
        (tmp_path / source.removeprefix("dir:") / "signature-1").write_bytes(b"\x89signature")
    more: dict[str, Any] = {"preserve_digests": kind == "preserve"}
    added = EncryptConfig.from_public_key(public_pem("P-256")).combined()
    options = {
        "encrypt": encrypting(**more),
        "decrypt": decrypting(**more),
        "add": copy.CopyOptions(
            oci_encrypt_config=EncryptConfig(jwe=added.jwe, decrypt_config=RSA), oci_encrypt_layers=(), **more
        ),
    }[way]
    for call in (copy.plan, copy.image):
        with pytest.raises(DigestChangeError, match=r"crypted") as caught:
            call(ANY, dest=f"dir:{tmp_path}/out", src=source, options=options)
        assert len(caught.value.reasons) == 1
    assert not (tmp_path / "out").exists()
    if kind == "signed":
        bare = {
            "encrypt": encrypting(remove_signatures=True),
            "decrypt": decrypting(remove_signatures=True),
            "add": encrypting(remove_signatures=True, oci_decrypt_config=RSA),
        }[way]
        assert copy.image(ANY, dest=f"dir:{tmp_path}/out", src=source, options=bare).converted


def test_indexes(tmp_path: Path) -> None:
    """Every image of an index is encrypted, and its entries say so by their digests; artifacts in it are refused."""
    store = Store()
    images = [store.image({"a": name.encode()}, architecture=name) for name in ("amd64", "arm64")]
    layout = store.layout(tmp_path / "in", {"x": store.index(*images)})
    selection = copy.ImageListSelection.ALL
    done = copy.image(
        ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=encrypting(image_list_selection=selection)
    )
    assert done.digest in check_layout(tmp_path / "out")
    assert len(done.converted) == 2
    back = copy.image(
        ANY,
        dest=f"oci:{tmp_path}/back:x",
        src=f"oci:{tmp_path}/out:x",
        options=decrypting(image_list_selection=selection),
    )
    before, after = (
        [json.loads(blob(path, entry["digest"]))["layers"] for entry in index["manifests"]]
        for path, index in ((layout, manifest_of(layout)), (tmp_path / "back", json.loads(back.manifest)))
    )
    assert before == after


def test_other_types_are_decrypted(tmp_path: Path) -> None:
    """What is encrypted and no layer of a file system (a module for WebAssembly, say) is decrypted all the same."""
    store = Store()
    module, media_type = b"module", "application/vnd.wasm.content.layer.v1+wasm"
    with EncryptedStream(io.BytesIO(module)) as stream:
        sealed = stream.read() + stream.read()
        annotations = wrap_options(EncryptConfig.from_public_key(public_pem("rsa")), stream.options())
    parts: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": store.json("application/x", {})}
    kept = {"kept": "yes"}
    layers = [store.blob(f"{media_type}+encrypted", sealed, annotations=annotations | kept)]
    layout = store.layout(tmp_path / "in", {"x": store.json(OCI_MANIFEST, parts | {"layers": layers})})
    copy.image(ANY, dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:x", options=decrypting())
    assert manifest_of(tmp_path / "out")["layers"] == [store.blob(media_type, module, annotations=kept)]


def test_numbers_and_options_that_are_wrong(tmp_path: Path) -> None:
    """Layers that are not there, things that are no layers, options that would do nothing: each says what is wrong."""
    source = two_layers(tmp_path / "in")
    for number in (2, -3):
        with pytest.raises(EncryptionError, match=rf"no layer {number}; the image has 2 layers"):
            copy.image(ANY, dest=f"oci:{tmp_path}/no:x", src=f"oci:{source}:x", options=encrypting(number))
    store = Store()
    parts = {"config": store.json("application/x", {}), "layers": [store.blob("text/plain", b"text")]}
    artifact = store.json(OCI_MANIFEST, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, **parts})
    layout = store.layout(tmp_path / "artifact", {"x": artifact})
    with pytest.raises(NotSupportedError, match="text/plain"):
        copy.image(ANY, dest=f"oci:{tmp_path}/no:x", src=f"oci:{layout}:x", options=encrypting())
    config = EncryptConfig.from_public_key(public_pem("rsa"))
    useless: list[dict[str, Any]] = [{"oci_encrypt_config": config}, {"oci_encrypt_layers": ()}]
    for wrong in useless:
        with pytest.raises(ValueError, match=r"oci_encrypt_config.*oci_encrypt_layers|oci_encrypt_layers needs"):
            copy.CopyOptions(**wrong)
    for name, value in (("encrypt_layers", [0]), ("encrypt_layers", (True,)), ("decrypt_config", "key.pem")):
        with pytest.raises(TypeError, match=r"CopyOptions\.oci_"):
            copy.CopyOptions(**{f"oci_{name}": value})  # type: ignore[arg-type]
