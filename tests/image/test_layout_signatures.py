"""Layouts and their archives keep signatures: as cosign lays them out, beside the image, and as long as it is there."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, OCI_MANIFEST, Store, check_layout, digest_of, names_in, skopeo_digest
from kept_signatures import (
    REF_NAME,
    SIMPLE,
    an_image,
    attachment,
    bundled,
    cosigned,
    document_at,
    entries,
    marked,
    one_of_each,
    openpgp,
    payload_of,
    relist,
    sign,
    signatures,
)
from test_layout_crash import HERE, at_every_step

from ocikit.errors import (
    BlobNotFoundError,
    DigestChangeError,
    ImageNotFoundError,
    NotSupportedError,
    VerificationError,
)
from ocikit.image import Policy, copy, delete, layout, list_images, parse_image_name, referrers, sync
from ocikit.image.stored_signature import BUNDLE, SIGSTORE_PAYLOAD
from ocikit.spec import Digest

if TYPE_CHECKING:
    from pathlib import Path

ANY = Policy.insecure_accept_anything()
SIGN = """
import sys
sys.path.insert(0, sys.argv[1])
from kept_signatures import sign
sign(sys.argv[2], *(bytes.fromhex(one) for one in sys.argv[3:]))
"""


def test_every_kind_is_kept(tmp_path: Path) -> None:
    """What was put is what is got, byte for byte; the layout is sound, and the image what it was."""
    name, digest = an_image(tmp_path / "l")
    sign(name, *one_of_each(digest))
    assert signatures(name) == one_of_each(digest)
    assert skopeo_digest(name) == digest
    assert {digest} < check_layout(tmp_path / "l")
    report = layout.fsck(tmp_path / "l", diff_ids=True)
    assert not report.problems, str(report)
    assert [image.name for image in list_images(tmp_path / "l")] == ["v1"]
    made = layout.stat(tmp_path / "l", "v1")
    assert (made.signatures, made.to_dict()["signatures"]) == (3, 3)
    assert "3 signatures (not verified)" in str(made)


def test_as_cosign_lays_them_out(tmp_path: Path) -> None:
    """The names, marks, types and annotations are those that cosign writes and looks for."""
    name, digest = an_image(tmp_path / "l")
    sign(name, *one_of_each(digest), openpgp("two"))
    image, attached, bundle, messages = entries(tmp_path / "l")
    kind = "dev.cosignproject.cosign/"
    assert image["annotations"] == {REF_NAME: "v1", "kind": f"{kind}image"}
    assert attached["annotations"] == {REF_NAME: f"{digest.replace(':', '-')}.sig", "kind": f"{kind}sigs"}
    assert (bundle["artifactType"], messages["artifactType"]) == (BUNDLE, SIMPLE)
    assert bundle["annotations"] == messages["annotations"] == {"vnd.ocikit.subject": digest}
    documents = [document_at(tmp_path / "l", one["digest"]) for one in (attached, bundle, messages)]
    assert [document["mediaType"] for document in documents] == [OCI_MANIFEST] * 3
    (layer,) = documents[0]["layers"]
    payload = payload_of(digest)
    assert layer == {
        "mediaType": SIGSTORE_PAYLOAD,
        "digest": digest_of(payload),
        "size": len(payload),
        "annotations": {"dev.cosignproject.cosign/signature": "b25l"},
    }
    config = document_at(tmp_path / "l", documents[0]["config"]["digest"])
    assert documents[0]["config"]["mediaType"] == OCI_CONFIG
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
    assert "subject" not in documents[0]
    assert [document["subject"]["digest"] for document in documents[1:]] == [digest] * 2
    assert [one["mediaType"] for one in documents[1]["layers"]] == [BUNDLE]
    assert [one["mediaType"] for one in documents[2]["layers"]] == [SIMPLE] * 2
    assert {str(one.digest) for one in referrers(name, BUNDLE)} == {bundle["digest"]}


def test_they_travel_with_the_image(tmp_path: Path) -> None:
    """From dir to layout to archive to layout to dir: each step has all of them, for each instance and the index."""
    store = Store()
    amd, arm = store.image({"amd": b""}), store.image({"arm": b""}, architecture="arm64")
    index = store.index(amd, arm)
    wanted = {one["digest"]: one_of_each(one["digest"]) for one in (index, amd, arm)}
    source = store.directory(tmp_path / "d", index)
    for digest, blobs in wanted.items():
        prefix = "" if digest == index["digest"] else f"{digest.partition(':')[2]}."
        for number, blob in enumerate(blobs, 1):
            (source / f"{prefix}signature-{number}").write_bytes(blob)
    everything = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)
    places = [f"oci:{tmp_path}/l:v1", f"oci-archive:{tmp_path}/a.tar:v1", f"oci:{tmp_path}/l2:v2", f"dir:{tmp_path}/d2"]
    before = f"dir:{source}"
    for place in places:
        copy.image(ANY, dest=place, src=before, options=everything)
        for digest, blobs in wanted.items():
            instance = None if digest == index["digest"] else digest
            assert set(signatures(place, instance)) == set(blobs), place
        before = place
    kinds = {one.get("annotations", {}).get("kind") for one in entries(tmp_path / "l2")}
    assert {"dev.cosignproject.cosign/imageIndex", "dev.cosignproject.cosign/sigs"} <= kinds
    one = copy.image(ANY, dest=f"oci:{tmp_path}/one:x", src=places[1])
    assert set(signatures(f"oci:{tmp_path}/one:x")) == set(wanted[str(one.digest)])
    assert not layout.fsck(tmp_path / "l2").problems


def test_a_signed_image_is_not_changed(tmp_path: Path) -> None:
    """An image with signatures keeps its bytes; a place that keeps none is an error, unless they may stay behind."""
    name, digest = an_image(tmp_path / "l")
    sign(name, openpgp())
    archive = f"docker-archive:{tmp_path}/a.tar:example.com/a:1"
    with pytest.raises(NotSupportedError, match="stores no signatures"):
        copy.image(ANY, dest=archive, src=name)
    forced = "application/vnd.docker.distribution.manifest.v2+json"
    options = copy.CopyOptions(force_manifest_mime_type=forced)
    with pytest.raises(DigestChangeError, match="1 signatures"):
        copy.image(ANY, dest=f"dir:{tmp_path}/d", src=name, options=options)
    copy.image(ANY, dest=archive, src=name, options=copy.CopyOptions(remove_signatures=True))
    copy.image(ANY, dest=f"oci:{tmp_path}/l2:x", src=name, options=copy.CopyOptions(remove_signatures=True))
    assert signatures(f"oci:{tmp_path}/l2:x") == ()
    assert [one["digest"] for one in entries(tmp_path / "l2")] == [digest]


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """Signatures are added to those that are there; the same ones again change not a byte."""
    name, digest = an_image(tmp_path / "l")
    sign(name, *one_of_each(digest))
    before = (tmp_path / "l" / "index.json").read_bytes()
    sign(name, *one_of_each(digest), *one_of_each(digest))
    assert (tmp_path / "l" / "index.json").read_bytes() == before
    sign(name, *one_of_each(digest, "two"), openpgp())
    assert set(signatures(name)) == {*one_of_each(digest), *one_of_each(digest, "two")}
    assert names_in(tmp_path / "l").count(f"{digest.replace(':', '-')}.sig") == 1
    # A signature by another key of the very same payload is another signature.
    assert (
        len({json.dumps(one) for one in document_at(tmp_path / "l", entries(tmp_path / "l")[1]["digest"])["layers"]})
        == 2
    )
    check_layout(tmp_path / "l")


def test_referrers_and_signatures_are_the_same_bundle(tmp_path: Path) -> None:
    """A copy that brings referrers and signatures has each bundle once, in the manifest that it was in."""
    name, digest = an_image(tmp_path / "l")
    store = Store()
    about = {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}
    payload = json.loads(bundled(digest).partition(b"\n")[2])["payload"]
    bundle = store.blob(BUNDLE, base64.b64decode(payload))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": BUNDLE,
        "config": store.blob("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [bundle],
        "subject": about,
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    }
    manifest = store.json(OCI_MANIFEST, document, artifactType=BUNDLE)
    store.layout(tmp_path / "l", {})
    relist(
        tmp_path / "l", {**about, "size": entry_size(tmp_path, digest)} | {"annotations": {REF_NAME: "v1"}}, manifest
    )
    assert signatures(name) == (bundled(digest),)
    options = copy.CopyOptions(referrers=True)
    for dest in (f"oci:{tmp_path}/out:v1", f"oci-archive:{tmp_path}/out.tar:v1"):
        copy.image(ANY, dest=dest, src=name, options=options)
        assert signatures(dest) == (bundled(digest),)
        assert [str(one.digest) for one in referrers(dest)] == [manifest["digest"]]
    copy.image(ANY, dest=f"oci:{tmp_path}/out:v1", src=name)
    assert len(entries(tmp_path / "out")) == 2


def entry_size(tmp_path: Path, digest: str) -> int:
    """Return the size of a blob."""
    return (tmp_path / "l" / "blobs" / digest.replace(":", "/")).stat().st_size


def test_what_cosign_saves(tmp_path: Path) -> None:
    """Entries without a name are told apart by what their payloads name; the image is still the only one."""
    store = Store()
    image, other = store.image(), store.image({"other": b""})
    notes = {"dev.cosignproject.cosign/signature": "b25l"}
    saved = attachment(store, (payload_of(image["digest"]), notes), (payload_of(other["digest"]), notes), (b"{", notes))
    attestations = attachment(store, (b"attested", notes))
    at = store.layout(tmp_path / "l", {})
    listed = [marked(image, "image"), marked(saved, "sigs"), marked(attestations, "atts")]
    relist(at, *listed)
    assert signatures(f"oci:{at}") == (cosigned(image["digest"]),)
    assert signatures(f"oci:{at}", other["digest"]) == (cosigned(other["digest"]),)
    assert [str(one.descriptor.digest) for one in list_images(at)] == [image["digest"]]
    sign(f"oci:{at}", cosigned(image["digest"]))
    assert entries(at) == listed
    sign(f"oci:{at}", cosigned(image["digest"], "two"))
    assert set(signatures(f"oci:{at}")) == {cosigned(image["digest"]), cosigned(image["digest"], "two")}


def test_what_others_have_is_not_read(tmp_path: Path) -> None:
    """Signatures of one image are found without a look at those of the others; a lying entry proves nothing."""
    store = Store()
    images = [store.image({str(number): b""}) for number in range(3)]
    at = store.layout(tmp_path / "l", {f"v{number}": one for number, one in enumerate(images)})
    for number, image in enumerate(images):
        sign(f"oci:{at}:v{number}", *one_of_each(image["digest"], str(number)))
    for entry in entries(at):
        if entry.get("annotations", {}).get("vnd.ocikit.subject") == images[0]["digest"]:
            (at / "blobs" / entry["digest"].replace(":", "/")).write_bytes(b"damaged")
    assert set(signatures(f"oci:{at}:v1")) == set(one_of_each(images[1]["digest"], "1"))
    with pytest.raises(VerificationError):
        signatures(f"oci:{at}:v0")
    text = (at / "index.json").read_text()
    relist(
        at,
        *json.loads(text.replace(f'subject":"{images[2]["digest"]}', f'subject":"{images[1]["digest"]}'))["manifests"],
    )
    assert set(signatures(f"oci:{at}:v1")) == set(one_of_each(images[1]["digest"], "1"))
    assert signatures(f"oci:{at}:v2") == (cosigned(images[2]["digest"], "2"),)


def test_tags_that_were_copied_into_a_layout(tmp_path: Path) -> None:
    """What skopeo copies from the tag of a registry is found; several manifests of one name become one."""
    store = Store()
    image = store.image()
    notes = {"dev.cosignproject.cosign/signature": "b25l"}
    first = attachment(store, (payload_of(image["digest"]), notes))
    second = attachment(store, (payload_of(image["digest"]), {"dev.cosignproject.cosign/signature": "dHdv"}))
    at = store.layout(tmp_path / "l", {"v1": image})
    tag = f"{image['digest'].replace(':', '-')}.sig"
    signed = store.directory(tmp_path / "sig", first)
    subprocess.run(["skopeo", "copy", "-q", f"dir:{signed}", f"oci:{at}:{tag}"], check=True)
    assert signatures(f"oci:{at}:v1") == (cosigned(image["digest"]),)
    store.layout(at, {"v1": image, tag: first})
    relist(at, *entries(at), second | {"annotations": {REF_NAME: tag, "note": "kept?"}})
    assert len(signatures(f"oci:{at}:v1")) == 2
    sign(f"oci:{at}:v1", cosigned(image["digest"], "three"))
    assert len(signatures(f"oci:{at}:v1")) == 3
    assert names_in(at).count(tag) == 1
    assert skopeo_digest(f"oci:{at}:{tag}") == entries(at)[1]["digest"]


def test_the_list_that_is_named_after_a_digest(tmp_path: Path) -> None:
    """Bundles that only the list of referrers names are found, as are manifests of which nothing says what they are."""
    store = Store()
    image = store.image()
    about = {key: image[key] for key in ("mediaType", "digest", "size")}

    def bundle(mark: str, **members: Any) -> dict[str, Any]:
        text = json.loads(bundled(image["digest"], mark).partition(b"\n")[2])["payload"]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": store.blob("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [store.blob(BUNDLE, base64.b64decode(text))],
            "subject": about,
        }
        return store.json(OCI_MANIFEST, document, **members)

    # cosign, by go-containerregistry, takes the type of the configuration for that of the artifact.
    empty = bundle("by its configuration", artifactType="application/vnd.oci.empty.v1+json")
    listed = store.index(bundle("listed", artifactType=BUNDLE), bundle("untyped"), empty)
    names = {"v1": image, image["digest"].replace(":", "-"): listed, "": bundle("alone")}
    at = store.layout(tmp_path / "l", names)
    wanted = {bundled(image["digest"], mark) for mark in ("listed", "untyped", "by its configuration", "alone")}
    assert set(signatures(f"oci:{at}:v1")) == wanted
    archive = store.archive(tmp_path / "a.tar", names)
    assert set(signatures(f"oci-archive:{archive}:v1")) == wanted


def test_attestations_are_no_signatures(tmp_path: Path) -> None:
    """A bundle that states something else of an image is a referrer, and goes where referrers go."""
    name, digest = an_image(tmp_path / "l")
    sign(name, bundled(digest, predicate="https://slsa.dev/provenance/v1"))
    assert (signatures(name), len(referrers(name, BUNDLE))) == ((), 1)


def test_added_to_what_is_there(tmp_path: Path) -> None:
    """Signatures need no manifest beside them in a layout, and an image that is there; archives are whole."""
    store = Store()
    image = store.image()
    at = store.layout(tmp_path / "l", {"v1": store.index(image)})
    sign(f"oci:{at}:v1", openpgp(), instance=image["digest"])
    assert signatures(f"oci:{at}:v1", image["digest"]) == (openpgp(),)
    before = (at / "index.json").read_bytes()
    with pytest.raises(ImageNotFoundError, match="v2"):
        sign(f"oci:{at}:v2", openpgp())
    with pytest.raises(BlobNotFoundError):
        sign(f"oci:{at}:v1", openpgp(), instance=digest_of(b"gone"))
    assert (at / "index.json").read_bytes() == before
    archive = store.archive(tmp_path / "a.tar", {"v1": image})
    content = archive.read_bytes()
    with pytest.raises(NotSupportedError, match="copy the image to an oci: layout"):
        sign(f"oci-archive:{archive}:v1", openpgp())
    assert archive.read_bytes() == content


def test_the_only_image_is_still_that(tmp_path: Path) -> None:
    """Signatures do not make an image ambiguous, by whatever way it is looked for; skopeo asks for a name."""
    store = Store()
    image = store.image()
    at = store.layout(tmp_path / "l", {"": image})
    sign(f"oci:{at}", *one_of_each(image["digest"]))
    assert set(signatures(f"oci:{at}")) == set(one_of_each(image["digest"]))
    assert layout.stat(at).digest == image["digest"]
    copy.image(ANY, dest=f"oci-archive:{tmp_path}/a.tar", src=f"oci:{at}")
    assert len(signatures(f"oci-archive:{tmp_path}/a.tar")) == 3
    report = sync(ANY, source=[at], dest=f"oci:{tmp_path}/all")
    assert len(report.images) == 1
    assert len(signatures(f"oci:{tmp_path}/all:l")) == 3
    unnamed = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{at}"], capture_output=True, check=False)
    assert unnamed.returncode != 0


def test_sync_brings_and_keeps_them(tmp_path: Path) -> None:
    """Signatures that come later come with the next run; none is taken for an image, or for an extra."""
    name, digest = an_image(tmp_path / "l")
    sign(name, openpgp())
    dest = f"oci:{tmp_path}/all"
    sync(ANY, source=tmp_path / "l", dest=dest)
    sign(name, *one_of_each(digest))
    report = sync(ANY, source=tmp_path / "l", dest=dest, delete_extra=True)
    assert len(report.images) == 1
    assert set(signatures(f"{dest}:v1")) == set(one_of_each(digest))
    assert set(signatures(f"{dest}:v1")) == set(one_of_each(digest))


def test_they_go_with_their_image(tmp_path: Path) -> None:
    """Deleted with the image, and kept as long as it has another name, or is in an index; gc takes none of them."""
    store = Store()
    image, other = store.image({"1": b""}), store.image({"2": b""})
    at = store.layout(tmp_path / "l", {"a": image, "b": image, "all": store.index(image), "other": other})
    bare = {path.name for path in (at / "blobs" / "sha256").iterdir()}
    sign(f"oci:{at}:a", *one_of_each(image["digest"]))
    sign(f"oci:{at}:other", *one_of_each(other["digest"]))
    sign(f"oci:{at}:other", cosigned(other["digest"], "two"))
    layout.gc(at)
    for name in ("a", "b"):
        assert set(signatures(f"oci:{at}:{name}")) == set(one_of_each(image["digest"]))
        delete(f"oci:{at}:{name}")
        check_layout(at)
    assert set(signatures(f"oci:{at}:all", image["digest"])) == set(one_of_each(image["digest"]))
    delete(f"oci:{at}:all")
    assert len(signatures(f"oci:{at}:other")) == 4
    delete(f"oci:{at}:other")
    assert entries(at) == []
    layout.gc(at)
    assert not {path.name for path in (at / "blobs" / "sha256").iterdir()} - bare


def test_what_cosign_saved_goes_too(tmp_path: Path) -> None:
    """Entries without a name go with the one image that they sign, and stay when they sign several."""
    store = Store()
    image, other = store.image({"1": b""}), store.image({"2": b""})
    notes = {"dev.cosignproject.cosign/signature": "b25l"}
    alone = marked(attachment(store, (payload_of(image["digest"]), notes)), "sigs")
    both = marked(attachment(store, *((payload_of(one["digest"]), notes) for one in (image, other))), "sigs")
    at = store.layout(tmp_path / "l", {})
    relist(at, image | {"annotations": {REF_NAME: "a"}}, other | {"annotations": {REF_NAME: "b"}}, alone, both)
    delete(f"oci:{at}:a")
    # What signs both still mentions the first, which is enough of a doubt.
    assert [one["digest"] for one in entries(at)] == [one["digest"] for one in (other, alone, both)]
    assert signatures(f"oci:{at}:b") == (cosigned(other["digest"]),)
    relist(at, image | {"annotations": {REF_NAME: "a"}}, other | {"annotations": {REF_NAME: "b"}}, alone)
    delete(f"oci:{at}:a")
    assert [one["digest"] for one in entries(at)] == [other["digest"]]
    check_layout(at)


def test_names_come_and_go(tmp_path: Path) -> None:
    """The mark of cosign keeps no name from being given and taken away."""
    name, digest = an_image(tmp_path / "l")
    sign(name, cosigned(digest))
    layout.tag(tmp_path / "l", "v1", "latest")
    layout.untag(tmp_path / "l", "v1")
    assert [image.name for image in list_images(tmp_path / "l")] == ["latest"]
    assert signatures(f"oci:{tmp_path}/l:latest") == (cosigned(digest),)


def test_many_who_sign_at_once(tmp_path: Path) -> None:
    """Threads and processes that add signatures to one image, and delete another, lose none."""
    store = Store()
    image, other = store.image({"1": b""}), store.image({"2": b""})
    at = store.layout(tmp_path / "l", {"v1": image, "other": other})
    name = f"oci:{at}:v1"
    mine = [cosigned(image["digest"], f"thread {number}") for number in range(6)]
    theirs = [one_of_each(image["digest"], f"process {number}") for number in range(2)]
    command = [sys.executable, "-Bc", SIGN, str(HERE), name]
    processes = [subprocess.Popen([*command, *(one.hex() for one in blobs)]) for blobs in theirs]
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(sign, name, blob) for blob in mine]
        done.append(pool.submit(delete, f"oci:{at}:other"))
        for one in done:
            one.result()
    assert [process.wait() for process in processes] == [0, 0]
    assert set(signatures(name)) == {*mine, *(blob for blobs in theirs for blob in blobs)}
    layout.gc(at)
    assert len(signatures(name)) == 12
    check_layout(at)


def test_killed_at_every_step(tmp_path: Path) -> None:
    """Whoever is killed while signing has added all of it or nothing."""
    blobs = [openpgp(), cosigned("sha256:" + "0" * 64)]

    def start(place: Path) -> None:
        name, digest = an_image(place / "l")
        sign(name, cosigned(digest))

    def check(place: Path) -> None:
        check_layout(place / "l")
        name = f"oci:{place}/l:v1"
        found = signatures(name)
        assert len(found) in {1, 3}
        sign(name, *blobs)
        assert len(signatures(name)) == 3
        assert [path for path in place.rglob("*") if "tmp" in path.name] == []

    def command(place: Path) -> list[str]:
        return [SIGN, f"oci:{place}/l:v1", *(one.hex() for one in blobs)]

    assert at_every_step(tmp_path, start, command, check) >= 5


def test_a_digest_of_another_algorithm(tmp_path: Path) -> None:
    """A manifest that goes by SHA-512 has signatures, too."""
    store = Store()
    image = store.image()
    data = store.blobs[image["digest"]]
    image = store.blob(OCI_MANIFEST, data, algorithm="sha512")
    at = store.layout(tmp_path / "l", {"v1": image})
    sign(f"oci:{at}:v1", *one_of_each(image["digest"]))
    assert set(signatures(f"oci:{at}:v1")) == set(one_of_each(image["digest"]))
    assert f"sha512-{image['digest'].partition(':')[2]}.sig" in names_in(at)


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    """A destination that is closed without commit leaves no signature."""
    name, digest = an_image(tmp_path / "l")
    with parse_image_name(name).new_image_destination() as writing:
        assert writing.supports_signatures
        writing.put_signatures(one_of_each(digest))
        writing.put_signatures((), Digest(digest))
    assert signatures(name) == ()
    assert len(entries(tmp_path / "l")) == 1
