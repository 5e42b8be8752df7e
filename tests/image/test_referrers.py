"""Manifests about other manifests: found in every place that keeps some, written beside their image, never believed."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from builders import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Store,
    check_layout,
    digest_of,
    manifest_at,
    names_in,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import move, put

from ocikit.errors import (
    AmbiguousImageError,
    DigestMismatchError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
)
from ocikit.image import (
    ImageDestination,
    Policy,
    delete,
    import_directory,
    list_images,
    parse_image_name,
    referrers,
    subject,
)
from ocikit.image.subject import describe_referrer, walk_referrers
from ocikit.spec import Digest, Index, Manifest

EMPTY = "application/vnd.oci.empty.v1+json"
SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"


def refer(store: Store, to: Descriptor, kind: str = SBOM, *, content: bytes = b"sbom", **members: Any) -> Descriptor:
    """Add a manifest about another, as oras writes them; return a descriptor as oras lists it."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": store.blob(EMPTY, b"{}") | {"data": "e30="},
        "layers": [store.blob("text/plain", content, annotations={"org.opencontainers.image.title": "a.txt"})],
        "subject": {key: to[key] for key in ("mediaType", "digest", "size")},
        "annotations": {"created": "then"},
    }
    listed = {"artifactType": kind} if kind else {}
    return store.json(OCI_MANIFEST, document | members, **listed)


def digests(name: str, kind: str | None = None, *, digest: str | None = None) -> list[str]:
    """Return what an image is referred to by."""
    return [str(one.digest) for one in referrers(name, kind, digest=Digest(digest) if digest else None)]


def attach(store: Store, name: str, *manifests: Descriptor) -> None:
    """Put manifests beside an image that is there, with their blobs."""
    with parse_image_name(name).new_image_destination() as writing:
        for one in manifests:
            put_with_blobs(store, writing, one)
        writing.commit()


def put_with_blobs(store: Store, writing: ImageDestination, manifest: Descriptor) -> None:
    """Put a manifest that refers to another, with its blobs."""
    document = json.loads(store.blobs[manifest["digest"]])
    for blob in [document["config"], *document["layers"]]:
        put(writing, store.blobs[blob["digest"]])
    assert writing.supports_referrers
    writing.put_referrer(store.blobs[manifest["digest"]])


def test_as_oras_and_others_list_them(tmp_path: Path) -> None:
    """Entries without a name, the index that is named after a digest, nested indexes: all of them are looked at."""
    store = Store()
    image = store.image()
    untagged, tagged, nested = (refer(store, image, content=content) for content in (b"1", b"2", b"3"))
    fallback = store.index(tagged | {"annotations": {"created": "then"}})
    names = {
        "": untagged,
        "v1": image,
        image["digest"].replace(":", "-"): fallback,
        "other": store.index(store.index(nested), store.image({"x": b""})),
    }
    layout = store.layout(tmp_path / "l", names)
    found = referrers(f"oci:{layout}:v1")
    assert [str(one.digest) for one in found] == [one["digest"] for one in (untagged, tagged, nested)]
    assert {(one.artifact_type, one.media_type, one.annotations["created"]) for one in found} == {
        (SBOM, OCI_MANIFEST, "then")
    }
    archive = store.archive(tmp_path / "a.tar.gz", names, compress="gzip")
    assert referrers(f"oci-archive:{archive}:v1") == found
    directory = store.directory(tmp_path / "d", image)
    assert sorted(digests(f"dir:{directory}")) == sorted(one.digest for one in found)


def test_what_a_list_says(tmp_path: Path) -> None:
    """The type of a manifest without one is that of its configuration, an index without one has none."""
    store = Store()
    image = store.image()
    about = {key: image[key] for key in ("mediaType", "digest", "size")}
    by_config = store.image({"y": b""}, extra={"subject": about, "annotations": {"a": "b"}}, platform=False)
    index = store.json(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": about})
    typed = refer(store, image, SIGNATURE)
    layout = store.layout(tmp_path / "l", {"i": image, "c": by_config, "x": index, "": typed})
    found = {str(one.digest): one for one in referrers(f"oci:{layout}:i")}
    assert found[by_config["digest"]].artifact_type == OCI_CONFIG
    assert found[by_config["digest"]].annotations == {"a": "b"}
    assert not found[index["digest"]].artifact_type
    assert (found[index["digest"]].media_type, found[index["digest"]].size) == (OCI_INDEX, index["size"])
    assert digests(f"oci:{layout}:i", SIGNATURE) == [typed["digest"]]
    assert digests(f"oci:{layout}:i", "application/none") == []


def test_the_subject_may_be_an_index_or_one_of_its_images(tmp_path: Path) -> None:
    """Without a digest it is what the name leads to, the index itself; an image in it is asked for by its digest."""
    store = Store()
    inside = store.image()
    index = store.index(inside, store.image(architecture="s390x"))
    of_index, of_image = refer(store, index), refer(store, inside)
    layout = store.layout(tmp_path / "l", {"x": index, "": of_index, "y": of_image})
    assert digests(f"oci:{layout}:x") == [of_index["digest"]]
    assert digests(f"oci:{layout}:x", digest=inside["digest"]) == [of_image["digest"]]


def test_who_else_is_in_the_layout_does_not_matter(tmp_path: Path) -> None:
    """Manifests that are missing, too large, of other kinds or malformed are nobody's referrers, and no errors."""
    store = Store()
    image = store.image()
    good = refer(store, image)
    missing = store.image({"gone": b""})
    del store.blobs[missing["digest"]]
    foreign = {"mediaType": OCI_MANIFEST, "digest": f"blake3:{'0' * 64}", "size": 3}
    broken = [
        store.blob(OCI_MANIFEST, b"{}"),
        store.blob(OCI_MANIFEST, b"subject"),
        store.json(OCI_MANIFEST, {"schemaVersion": 2, "subject": "me"}),
        refer(store, image, subject=[1]),
        refer(store, image, manifests=[]),
        refer(store, image, mediaType=OCI_INDEX),
        store.blob(OCI_MANIFEST, b" " * ((4 << 20) + 1)),
        store.blob(OCI_MANIFEST, b'{"subject":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
        store.image(docker=True, extra={"subject": image}),
        store.blob("application/json", store.blobs[good["digest"]]) | {"digest": digest_of(b"nowhere")},
        missing,
        foreign,
    ]
    layout = store.layout(tmp_path / "l", {"x": image} | {f"b{n}": one for n, one in enumerate(broken)} | {"g": good})
    document = json.loads((layout / "index.json").read_bytes())
    document["manifests"][1:1] = [{}, {"mediaType": OCI_MANIFEST, "digest": 3, "size": -1}]
    (layout / "index.json").write_text(json.dumps(document))
    assert digests(f"oci:{layout}:x") == [good["digest"]]
    directory = store.directory(tmp_path / "d", image)
    for encoded in [one["digest"].partition(":")[2] for one in broken]:
        if (directory / encoded).exists():
            (directory / encoded).rename(directory / f"{encoded}.manifest.json")
    (directory / "none.manifest.json").write_bytes(b"")
    assert digests(f"dir:{directory}") == [good["digest"]]


@pytest.mark.parametrize("transport", ["oci", "dir"])
def test_damage_is_an_error(tmp_path: Path, transport: str) -> None:
    """A manifest that is not what it is listed as is not left out in silence."""
    store = Store()
    image = store.image()
    one = refer(store, image)
    store.blobs[one["digest"]] = store.blobs[one["digest"]].replace(b"then", b"now!")
    if transport == "oci":
        name = f"oci:{store.layout(tmp_path / 'l', {'x': image, '': one})}:x"
    else:
        name = f"dir:{store.directory(tmp_path / 'd', image)}"
    with pytest.raises(DigestMismatchError, match=one["digest"].partition(":")[2]):
        referrers(name)


def test_too_much_to_look_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests, their bytes and the entries of indexes are counted."""
    store = Store()
    image = store.image()
    many = store.index(*[refer(store, image, content=b"%d" % n) for n in range(4)])
    layout = store.layout(tmp_path / "l", {"x": image, "many": many})
    for limit, what in (("_MAX_DOCUMENTS", "manifests"), ("_MAX_DOCUMENT_BYTES", "bytes"), ("_MAX_ENTRIES", "entries")):
        with monkeypatch.context() as patch:
            patch.setattr(subject, limit, 3)
            with pytest.raises(LimitExceededError, match=f"{what}.* looked through"):
                referrers(f"oci:{layout}:x")
    assert len(digests(f"oci:{layout}:x")) == 4


@pytest.mark.parametrize("transport", ["oci", "dir"])
def test_attached_to_an_image_that_is_there(tmp_path: Path, transport: str) -> None:
    """The image stays as it is; before commit nothing is found, without it nothing ever is."""
    store = Store()
    image = store.image()
    layout = store.layout(tmp_path / "in", {"x": image})
    first, second = refer(store, image, content=b"1"), refer(store, image, SIGNATURE, content=b"2")
    name = f"{transport}:{tmp_path}/out" + (":v" if transport == "oci" else "")
    move(f"oci:{layout}:x", name)
    with parse_image_name(name).new_image_destination() as writing:
        put_with_blobs(store, writing, first)
    assert digests(name) == []
    attach(store, name, first, second)
    attach(store, name, first)
    assert sorted(digests(name)) == sorted([first["digest"], second["digest"]])
    with parse_image_name(name).new_image_source() as source:
        assert source.get_manifest()[0] == store.blobs[image["digest"]]
        assert source.get_manifest(Digest(first["digest"]))[0] == store.blobs[first["digest"]]
    if transport == "oci":
        assert names_in(tmp_path / "out") == ["v", "", ""]
        entries = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
        assert [entry.get("artifactType") for entry in entries] == [None, SBOM, SIGNATURE]
        assert first["digest"] in check_layout(tmp_path / "out")
    subprocess.run(["skopeo", "copy", "-q", name, f"oci:{tmp_path}/theirs:x"], check=True)
    assert manifest_at(tmp_path / "theirs", "x") == image["digest"]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
def test_written_with_an_image(tmp_path: Path, transport: str) -> None:
    """Image and referrers appear together; the image is found without a name as before."""
    store = Store()
    image = store.image()
    one = refer(store, image)
    source = store.layout(tmp_path / "in", {"x": image})
    name = f"{transport}:{tmp_path}/out"
    document = json.loads(store.blobs[image["digest"]])
    with parse_image_name(name).new_image_destination() as writing:
        for blob in [document["config"], *document["layers"]]:
            put(writing, store.blobs[blob["digest"]])
        put_with_blobs(store, writing, one)
        writing.put_manifest(store.blobs[image["digest"]])
        writing.commit()
    assert digests(name) == [one["digest"]]
    assert move(name, f"oci:{tmp_path}/again:x") == image["digest"]
    move(f"oci:{source}:x", f"dir:{tmp_path}/out" if transport == "dir" else f"dir:{tmp_path}/d")
    assert digests(f"dir:{tmp_path}/{'out' if transport == 'dir' else 'd'}") == []


def test_what_is_not_attached(tmp_path: Path) -> None:
    """Manifests without a subject or without end are refused, an archive is not added to, nothing is not committed."""
    store = Store()
    image = store.image()
    one = refer(store, image)
    archive = store.archive(tmp_path / "a.tar", {"x": image})
    before = archive.read_bytes()
    with pytest.raises(NotSupportedError, match="nothing is added to an archive"):
        attach(store, f"oci-archive:{archive}:x", one)
    assert archive.read_bytes() == before
    with pytest.raises(LayoutError, match="no image is there"):
        attach(store, f"dir:{tmp_path}/d", one)
    assert not (tmp_path / "d").exists()
    for name in (f"oci:{tmp_path}/l", f"dir:{tmp_path}/d", f"oci-archive:{tmp_path}/b.tar"):
        with parse_image_name(name).new_image_destination() as writing:
            with pytest.raises(ManifestError, match="refers to no other"):
                writing.put_referrer(store.blobs[image["digest"]])
            with pytest.raises(LimitExceededError):
                writing.put_referrer(b" " * ((4 << 20) + 1))
            with pytest.raises(LayoutError, match="nothing to commit"):
                writing.commit()


def test_an_image_without_a_name_beside_others(tmp_path: Path) -> None:
    """What only says something about images is not taken for the one image; two images are still too many."""
    store = Store()
    image = store.image()
    one = refer(store, image)
    layout = store.layout(tmp_path / "l", {"": image})
    attach(store, f"oci:{layout}", one)
    assert digests(f"oci:{layout}") == [one["digest"]]
    assert move(f"oci:{layout}", f"oci:{tmp_path}/o:x") == image["digest"]
    alone = store.layout(tmp_path / "alone", {"": one})
    assert move(f"oci:{alone}", f"oci:{tmp_path}/o:y") == one["digest"]
    two = store.layout(tmp_path / "two", {"a": image, "b": store.image({"z": b""}), "": one})
    with pytest.raises(AmbiguousImageError):
        referrers(f"oci:{two}")


@pytest.mark.parametrize("kind", ["layout", "archive"])
def test_imported_beside_others(tmp_path: Path, kind: str) -> None:
    """What only says something about an image is no further image to import, and the image is listed as before."""
    store = Store()
    image = store.image()
    names = {"": image, image["digest"].replace(":", "-"): store.index(refer(store, image))}
    (tmp_path / "in").mkdir()
    place = getattr(store, kind)(tmp_path / "in" / "a.tar", names)
    report = import_directory(tmp_path / "in", policy=Policy.insecure_accept_anything(), dest=tmp_path / "out")
    assert [str(one.result.digest) for one in report.imported if one.result] == [image["digest"]]
    assert report.failed == ()
    reference = list_images(place)[0].reference
    assert reference is not None
    assert move(str(reference), f"oci:{tmp_path}/o:x") == image["digest"]


def test_referrers_of_referrers(tmp_path: Path) -> None:
    """The walk goes from what is referred to, to what refers, each once; what it yields is verified."""
    store = Store()
    image = store.image()
    sbom = refer(store, image)
    signatures = [refer(store, sbom, SIGNATURE, content=b"1"), refer(store, image, SIGNATURE, content=b"2")]
    last = refer(store, signatures[0], content=b"3")
    names = {"x": image, "": sbom, "1": signatures[0], "2": signatures[1], "3": last}
    layout = store.layout(tmp_path / "l", names)
    with parse_image_name(f"oci:{layout}:x").new_image_source() as source:
        found = list(walk_referrers(source, Digest(image["digest"])))
        assert [(str(one.descriptor.digest), str(one.subject), one.depth) for one in found] == [
            (sbom["digest"], image["digest"], 1),
            (signatures[1]["digest"], image["digest"], 1),
            (signatures[0]["digest"], sbom["digest"], 2),
            (last["digest"], signatures[0]["digest"], 3),
        ]
        assert [one.image.manifest()[0] for one in found] == [store.blobs[one.descriptor.digest] for one in found]
        assert len(list(walk_referrers(source, Digest(image["digest"]), max_depth=1))) == 2
        for limits in ({"max_depth": 2}, {"max_count": 3}):
            with pytest.raises(LimitExceededError):
                list(walk_referrers(source, Digest(image["digest"]), **limits))


class Liar:
    """A source that lists whatever it is told, as a registry may."""

    def __init__(self, store: Store, listed: dict[str, list[Descriptor]]) -> None:
        self.store, self.listed, self.reference = store, listed, "docker://liar"

    def get_referrers(self, about: Digest) -> tuple[Any, ...]:
        """Return what was told."""
        from ocikit.spec import Descriptor as Typed  # noqa: PLC0415 - the name is that of the dictionaries here

        return tuple(Typed.from_dict(one) for one in self.listed.get(about, []))

    def get_manifest(self, instance: Digest) -> tuple[bytes, str]:
        """Return what the store has."""
        return self.store.blobs[instance], OCI_MANIFEST


def test_places_that_lie() -> None:
    """Cycles end, manifests about something else are refused, and so are wrong bytes and sizes."""
    store = Store()
    image, other = store.image(), store.image({"o": b""})
    one = refer(store, image)
    top = Digest(image["digest"])
    around = Liar(store, {image["digest"]: [one, one], one["digest"]: [one, image]})
    assert [str(found.descriptor.digest) for found in walk_referrers(around, top)] == [one["digest"]]  # type: ignore[arg-type]  # as much as is asked
    cases: dict[type[Exception], Descriptor] = {
        ManifestError: refer(store, other),
        DigestMismatchError: one | {"digest": digest_of(b"?")},
        LimitExceededError: one | {"size": 33 << 20},
    }
    store.blobs[digest_of(b"?")] = store.blobs[one["digest"]]
    for error, listed in cases.items():
        with pytest.raises(error):
            list(walk_referrers(Liar(store, {image["digest"]: [listed]}), top))  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match="without a subject"):
        list(walk_referrers(Liar(store, {image["digest"]: [other]}), top))  # type: ignore[arg-type]


DIGESTS = st.integers(0, 5).map(lambda n: Digest.from_bytes(b"%d" % n))
TEXT = st.text(max_size=8)


@given(about=DIGESTS, kind=TEXT, annotations=st.dictionaries(TEXT, TEXT, max_size=3), escaped=st.booleans())
def test_any_referrer_is_recognised(about: Digest, kind: str, annotations: dict[str, str], escaped: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Whatever else a manifest says, and however its keys are spelled, its subject is found."""
    listed = {"mediaType": OCI_MANIFEST, "digest": about, "size": 7}
    for cls, members in ((Manifest, {"config": listed, "layers": []}), (Index, {"manifests": []})):
        document = {"schemaVersion": 2, "mediaType": cls.MEDIA_TYPE, "subject": listed} | members
        text = json.dumps(document | {"artifactType": kind, "annotations": annotations})
        data = (text.replace('"subject"', '"\\u0073ubject"') if escaped else text).encode()
        found = describe_referrer(data, cls.MEDIA_TYPE)
        assert found is not None
        assert found[0] == about
        assert found[1].annotations == annotations
        assert found[1].artifact_type == (kind or (OCI_MANIFEST if cls is Manifest else ""))
        found[1].verify(data)


def test_deleting_an_image_with_what_is_about_it(tmp_path: Path) -> None:
    """What is attached to an image goes with it, what is attached to that too; nothing else does, and nothing stays."""
    store = Store()
    image, other, gone = store.image({"a": b"a"}), store.image({"b": b"b"}), store.image({"c": b"c"})
    sbom, named, of_other = refer(store, image), refer(store, image, content=b"named"), refer(store, other)
    signature, orphan = refer(store, sbom, SIGNATURE, content=b"s"), refer(store, gone, content=b"o")
    fallback = store.index(refer(store, image, content=b"f"))
    names = {"x": image, "again": image, "o": other, image["digest"].replace(":", "-"): fallback}
    layout = store.layout(tmp_path / "l", names)
    for one in (sbom, signature, of_other, orphan):
        attach(store, f"oci:{layout}:x", one)

    def entries() -> set[str]:
        return {one["digest"] for one in json.loads((layout / "index.json").read_bytes())["manifests"]}

    before = entries()
    delete(f"oci:{layout}:x")
    assert entries() == before
    delete(f"oci:{layout}:again")
    assert entries() == {one["digest"] for one in (other, of_other, orphan)}
    left = {f"sha256:{path.name}" for path in (layout / "blobs").glob("*/*")}
    assert not left & {one["digest"] for one in (image, sbom, signature, fallback)}
    assert check_layout(layout) <= left
    # One that has a name of its own stays, and what it is about with it.
    kept = store.layout(tmp_path / "k", {"x": image, "sbom": named})
    delete(f"oci:{kept}:x")
    assert digests(f"oci:{kept}:sbom", digest=image["digest"]) == [named["digest"]]
    assert image["digest"] in {f"sha256:{path.name}" for path in (kept / "blobs").glob("*/*")}


ABOUT = st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=40)
@given(about=ABOUT, order=st.permutations("abc"))
def test_deleting_in_any_order(about: list[tuple[int, bool]], order: list[str]) -> None:
    """What is left is whole, with what it is about; where only images have names, nothing is left in the end."""
    store = Store()
    made = [store.image({name: name.encode()}) for name in "abc"]
    names = dict(zip("abc", made, strict=True))
    for number, (to, named) in enumerate(about):
        made.append(refer(store, made[to % len(made)], content=b"%d" % number))
        names |= {f"n{number}": made[-1]} if named else {}
    with tempfile.TemporaryDirectory() as scratch:
        layout = store.layout(Path(scratch), names)
        with parse_image_name(f"oci:{layout}:a").new_image_destination() as writing:
            for one in made[3:]:
                writing.put_referrer(store.blobs[one["digest"]])
            writing.commit()
        for name in order:
            delete(f"oci:{layout}:{name}")
            for digest in check_layout(layout):
                document = store.blobs[digest] if digest in {one["digest"] for one in made} else b"{}"
                to = json.loads(document).get("subject", {}).get("digest", digest)
                assert (layout / "blobs" / "sha256" / to.partition(":")[2]).exists()
        assert {one for one in names_in(layout) if one} == {name for name in names if name not in "abc"}
        if not any(named for _, named in about):
            assert names_in(layout) == []
            assert list((layout / "blobs" / "sha256").iterdir()) == []
