"""Artifacts: files of any kind go where images are and come back, and no title leads astray."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_MANIFEST, OCI_MANIFEST, Descriptor, Store, check_layout, digest_of, manifest_at, names_in
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    ImageNotFoundError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
    PolicyRequirementError,
    SizeMismatchError,
    UnpackError,
)
from ocikit.image import Policy, SystemContext, artifact, referrers
from ocikit.image.artifact import ArtifactFile
from ocikit.image.artifact.titles import split_titles
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

ANYTHING = Policy.insecure_accept_anything()
REPORT = "application/vnd.example.report"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
PLACES = ["oci:{}/a:name", "oci-archive:{}/a.tar:name", "dir:{}/a"]


def files_below(path: Path) -> dict[str, bytes]:
    """Return the files in a directory and below."""
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if not one.is_dir()}


@pytest.mark.parametrize("place", PLACES)
def test_there_and_back(tmp_path: Path, place: str) -> None:
    """Files are pushed from disk and memory to every kind of place, and pulled as they were, after skopeo too."""
    name = place.format(tmp_path)
    (tmp_path / "report.bin").write_bytes(os.urandom(3 << 20))
    given_files: list[ArtifactFile | Path] = [
        tmp_path / "report.bin",
        ArtifactFile(content=b"text\n", title="docs/en/a.txt", media_type="text/plain", annotations={"lang": "en"}),
        ArtifactFile(content=b"", title="docs/empty"),
        ArtifactFile(content=b"no name"),
    ]
    pushed = artifact.push(given_files, dest=name, artifact_type=REPORT, annotations={"a": "b"})
    assert [one.annotations for one in pushed.files[1:]] == [
        {"lang": "en", TITLE: "docs/en/a.txt"},
        {TITLE: "docs/empty"},
        {},
    ]
    theirs = f"oci:{tmp_path}/theirs:x"
    subprocess.run(["skopeo", "copy", "-q", name, theirs], check=True)
    assert manifest_at(tmp_path / "theirs") == pushed.digest
    check_layout(tmp_path / "theirs")
    for number, src in enumerate((name, theirs)):
        pulled = artifact.pull(ANYTHING, dest=tmp_path / "new" / f"{number}", src=src)
        assert files_below(pulled.directory) == {
            "report.bin": (tmp_path / "report.bin").read_bytes(),
            "docs/en/a.txt": b"text\n",
            "docs/empty": b"",
        }
        assert [one.path.read_bytes() for one in pulled.files[1:]] == [b"text\n", b""]
        assert [one.descriptor for one in pulled.untitled] == [pushed.files[3]]
        assert pulled.directory.stat().st_mode & 0o777 == 0o700
        read = artifact.pull_into_memory(ANYTHING, src=src)
        assert [(one.title, hashlib.sha256(one.content).hexdigest()) for one in read.files] == [
            (title, one.digest.hex)
            for title, one in zip(["report.bin", "docs/en/a.txt", "docs/empty", None], pushed.files, strict=True)
        ]
        assert read.config == b"{}"


def test_the_manifest(tmp_path: Path) -> None:
    """It is what the image specification asks for and other tools write, and the same for the same files."""
    name = f"oci:{tmp_path}/l:x"
    pushed = artifact.push([ArtifactFile(content=b"1", title="1")], dest=name, artifact_type=REPORT)
    empty = {"mediaType": EMPTY, "digest": digest_of(b"{}"), "size": 2, "data": "e30="}
    file = {"mediaType": "application/octet-stream", "digest": digest_of(b"1"), "size": 1, "annotations": {TITLE: "1"}}
    assert json.loads(pushed.manifest) == {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": REPORT, "config": empty, "layers": [file],
    }  # fmt: skip
    assert artifact.push([ArtifactFile(content=b"1", title="1")], dest=name, artifact_type=REPORT) == pushed
    assert names_in(tmp_path / "l") == ["x"]
    config = ArtifactFile(content=b'{"k":1}', media_type="application/vnd.example.config+json")
    bare = artifact.push(dest=f"oci:{tmp_path}/l:bare", config=config)
    document = json.loads(bare.manifest)
    assert (document["layers"], "artifactType" in document) == ([empty], False)
    assert bare.descriptor.artifact_type == config.media_type
    inspected = artifact.inspect(f"oci:{tmp_path}/l:bare")
    assert (inspected.artifact_type, inspected.files, inspected.subject) == (config.media_type, (), None)
    assert (inspected.raw_manifest, inspected.digest) == (bare.manifest, bare.digest)
    assert artifact.pull_into_memory(ANYTHING, src=f"oci:{tmp_path}/l:bare").config == b'{"k":1}'
    assert files_below(artifact.pull(ANYTHING, src=f"oci:{tmp_path}/l:bare", dest=tmp_path / "none").directory) == {}
    check_layout(tmp_path / "l")


@pytest.mark.parametrize("place", ["oci:{}/l:x", "dir:{}/l"])
def test_attached(tmp_path: Path, place: str) -> None:
    """What is attached to an image, and to that, is found from there; the image stays what it is."""
    name = place.format(tmp_path)
    store = Store()
    image = store.image()
    if name.startswith("dir"):
        store.directory(tmp_path / "l", image)
    else:
        store.layout(tmp_path / "l", {"x": image})
    sbom = artifact.attach(name, [ArtifactFile(content=b"sbom", title="sbom.json")], artifact_type=REPORT)
    other = artifact.attach(name, [ArtifactFile(content=b"2", title="2")], artifact_type="application/other")
    signature = artifact.attach(name, artifact_type="application/sig", annotations={"sig": "x"}, digest=sbom.digest)
    assert {one.digest for one in referrers(name)} == {sbom.digest, other.digest}
    assert [one.digest for one in artifact.list_attached(name, REPORT)] == [sbom.digest]
    found = artifact.list_attached(name, digest=sbom.digest)
    assert [(one.digest, one.annotations, one.files) for one in found] == [(signature.digest, {"sig": "x"}, ())]
    subject = found[0].subject
    assert subject is not None
    assert (subject.digest, subject.size, subject.media_type) == (sbom.digest, len(sbom.manifest), OCI_MANIFEST)
    assert artifact.inspect(name).digest == image["digest"]
    assert artifact.inspect(name, digest=sbom.digest).artifact_type == REPORT
    pulled = artifact.pull(ANYTHING, src=name, digest=sbom.digest, dest=tmp_path / "out")
    assert files_below(pulled.directory) == {"sbom.json": b"sbom"}
    assert artifact.pull_into_memory(ANYTHING, src=name, digest=other.digest).files[0].content == b"2"
    subprocess.run(["skopeo", "copy", "-q", name, f"dir:{tmp_path}/theirs"], check=True)
    with pytest.raises(BlobNotFoundError):
        artifact.inspect(name, digest=Digest(digest_of(b"none")))


def test_attached_to_an_index(tmp_path: Path) -> None:
    """Without a digest the index itself is the subject, with one an image that it lists."""
    store = Store()
    inside = store.image(architecture="s390x")
    index = store.index(store.image(), inside)
    layout = store.layout(tmp_path / "l", {"x": index})
    for digest in (None, Digest(inside["digest"]), Digest(index["digest"])):
        pushed = artifact.attach(
            f"oci:{layout}:x", artifact_type=REPORT, annotations={"for": str(digest)}, digest=digest
        )
        subject = json.loads(pushed.manifest)["subject"]
        assert subject == {key: (inside if digest == inside["digest"] else index)[key] for key in subject}
    assert len(artifact.list_attached(f"oci:{layout}:x")) == 2


def test_where_nothing_is_attached(tmp_path: Path) -> None:
    """An archive is not added to, and an image that is not there has nothing attached."""
    store = Store()
    archive = store.archive(tmp_path / "a.tar", {"x": store.image()})
    before = archive.read_bytes()
    with pytest.raises(NotSupportedError, match="nothing is added to an archive"):
        artifact.attach(f"oci-archive:{archive}:x", artifact_type=REPORT)
    assert archive.read_bytes() == before
    with pytest.raises(ImageNotFoundError):
        artifact.attach(f"oci:{store.layout(tmp_path / 'l', {})}:x", artifact_type=REPORT)


FILE = ArtifactFile(content=b"x", title="x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "must state its type"),
        ({"config": ArtifactFile(content=b"{}", media_type=EMPTY)}, "must state its type"),
        ({"artifact_type": "report"}, "type of the artifact: expected type/subtype"),
        ({"artifact_type": "text/plain; charset=utf-8"}, "expected type/subtype"),
        ({"artifact_type": REPORT, "config": ArtifactFile(content=b"", media_type="")}, "type of its configuration"),
        ({"artifact_type": REPORT, "files": [ArtifactFile(content=b"", title="y", media_type="x/")]}, "file 'y'"),
        ({"artifact_type": REPORT, "files": [FILE, FILE]}, "two files have the title 'x'"),
        (
            {"artifact_type": REPORT, "files": [FILE, ArtifactFile(content=b"", title="x/y")]},
            "'x' is a file, and a dir",
        ),
        ({"artifact_type": REPORT, "files": [ArtifactFile(content=b"", title="../x")]}, "no relative path"),
        ({"artifact_type": REPORT, "files": ["/dev/null"]}, "expected a regular file"),
        ({"artifact_type": REPORT, "files": ["/proc"]}, "expected a regular file"),
        ({"artifact_type": REPORT, "annotations": {"a": "x" * (4 << 20)}}, "manifest of the artifact"),
        ({"artifact_type": REPORT, "files": [FILE] * 10_001}, "limit 10,000"),
    ],
)
def test_what_is_not_pushed(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    """What would be no artifact, or one that nobody could pull, is refused, and nothing becomes visible."""
    files = arguments.pop("files", [])
    with pytest.raises((ManifestError, LimitExceededError), match=message):
        artifact.push(files, dest=f"oci:{tmp_path}/l:x", **arguments)
    assert names_in(tmp_path / "l") == []


def test_a_pipe_does_not_wait(tmp_path: Path) -> None:
    """A named pipe in place of a file is an error, and not the end of everything."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ManifestError, match="regular file"):
        artifact.push([tmp_path / "pipe"], dest=f"oci:{tmp_path}/l:x", artifact_type=REPORT)


def test_compression_that_is_asked_for(tmp_path: Path) -> None:
    """Files stay as they are: a context that wants them recompressed is an error."""
    with pytest.raises(NotSupportedError, match="stay as they are"):
        artifact.push(
            [FILE], dest=f"oci:{tmp_path}/l:x", artifact_type=REPORT, sys=SystemContext(compression_format="gzip")
        )


def by_hand(store: Store, *titles: str | None, content: bytes = b"x", **members: Any) -> Descriptor:
    """Add an artifact as oras writes it, with files of these titles."""
    layers = [
        store.blob("application/vnd.oci.image.layer.v1.tar", content)
        | ({} if title is None else {"annotations": {TITLE: title}})
        for title in titles
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": REPORT,
        "config": store.blob(EMPTY, b"{}") | {"data": "e30="},
        "layers": layers,
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    }
    return store.json(OCI_MANIFEST, document | members)


def pull_one(tmp_path: Path, store: Store, top: Descriptor, **arguments: Any) -> artifact.PulledArtifact:
    """Pull an artifact that was made by hand; whatever happens, nothing is beside the directory it goes to."""
    layout = store.layout(tmp_path / "l", {"x": top})
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    try:
        return artifact.pull(ANYTHING, src=f"oci:{layout}:x", dest=out / "d", **arguments)
    finally:
        assert {one.name for one in out.iterdir()} <= {"d"}
        assert {one.name for one in tmp_path.iterdir()} == {"l", "out"}


def test_what_others_write(tmp_path: Path) -> None:
    """An artifact in the form of oras is pulled; content that is in the manifest itself is used."""
    store = Store()
    layer = store.blob("text/plain", b"within", annotations={TITLE: "in/it"})
    del store.blobs[layer["digest"]]
    top = by_hand(store, layers=[layer | {"data": base64.b64encode(b"within").decode()}])
    assert files_below(pull_one(tmp_path, store, top).directory) == {"in/it": b"within"}


@pytest.mark.parametrize(
    "title",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        ".",
        "..",
        "",
        "a/",
        "a//b",
        "/",
        "x\0y",
        "a\nb",
        "\x1b[2Jx",
        "\ud800",
    ],
)
def test_titles_that_lead_astray(tmp_path: Path, title: str) -> None:
    """A title that is no path below a directory is refused before anything is made."""
    store = Store()
    with pytest.raises((ManifestError, NotSupportedError)):
        pull_one(tmp_path, store, by_hand(store, "good", title))


@pytest.mark.parametrize("title", ["x" * 256, "a/" * 33 + "x", "é" * 128])
def test_titles_without_end(tmp_path: Path, title: str) -> None:
    """Names and depths are bounded."""
    store = Store()
    with pytest.raises(LimitExceededError, match="title"):
        pull_one(tmp_path, store, by_hand(store, title))


@pytest.mark.parametrize("titles", [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b"), (None,)])
def test_titles_that_do_not_fit(tmp_path: Path, titles: tuple[str | None, ...]) -> None:
    """Two files of one name, files that are directories as well, and files without any name are refused."""
    store = Store()
    with pytest.raises(ManifestError, match=r"title|directory"):
        pull_one(tmp_path, store, by_hand(store, *titles))


NAMES = st.text(st.sampled_from("ab./\0é"), max_size=7)


@given(st.lists(NAMES, max_size=5))
def test_no_title_leads_out(titles: list[str]) -> None:
    """Whatever titles there are: they are refused, or each is a path of its own below the directory."""
    try:
        paths = split_titles(titles, "x")
    except ManifestError:
        return
    root = Path("/root of it")
    places = {Path(os.path.normpath(root.joinpath(*parts))) for parts in paths.values()}
    assert len(places) == len(titles)
    assert all(root in place.parents and not (set(place.parents) & places) for place in places)


def test_files_that_are_not_what_they_are_said_to_be(tmp_path: Path) -> None:
    """Wrong bytes, wrong sizes and files that are missing are errors, and leave no directory."""
    cases: list[tuple[Callable[[Store, str], object], type[Exception]]] = [
        (lambda store, digest: store.blobs.update({digest: b"y"}), DigestMismatchError),
        (lambda store, digest: store.blobs.update({digest: b"xx"}), SizeMismatchError),
        (lambda store, digest: store.blobs.update({digest: b""}), SizeMismatchError),
        (lambda store, digest: store.blobs.pop(digest), BlobNotFoundError),
    ]
    for change, error in cases:
        store, place = Store(), tmp_path / error.__name__ / str(id(change))
        place.mkdir(parents=True)
        top = by_hand(store, "dir/x")
        change(store, digest_of(b"x"))
        with pytest.raises(error):
            pull_one(place, store, top)
        assert not (place / "out" / "d").exists()
        with pytest.raises(error):
            artifact.pull_into_memory(ANYTHING, src=f"oci:{place}/l:x")


def test_limits(tmp_path: Path) -> None:
    """The files are not larger than the caller allows, and what a manifest claims is looked at first."""
    store = Store()
    top = by_hand(store, "x", "y", content=b"12345")
    with pytest.raises(LimitExceededError, match=r"limit 9, found 10; pass max_bytes"):
        pull_one(tmp_path, store, top, max_bytes=9)
    with pytest.raises(LimitExceededError):
        artifact.pull_into_memory(ANYTHING, src=f"oci:{tmp_path}/l:x", max_bytes=9)
    assert len(artifact.pull_into_memory(ANYTHING, src=f"oci:{tmp_path}/l:x", max_bytes=10).files) == 2
    huge = by_hand(store, "x", config={"mediaType": REPORT, "digest": digest_of(b"c"), "size": 5 << 20})
    layout = store.layout(tmp_path / "huge", {"x": huge})
    with pytest.raises(LimitExceededError, match="configuration"):
        artifact.pull_into_memory(ANYTHING, src=f"oci:{layout}:x")


def test_policy(tmp_path: Path) -> None:
    """What the policy does not allow is not pulled, attached or not."""
    reject = Policy.from_bytes(b'{"default": [{"type": "reject"}]}')
    name = f"oci:{tmp_path}/l:x"
    artifact.push([FILE], dest=name, artifact_type=REPORT)
    attached = artifact.attach(name, [FILE], artifact_type=REPORT)
    for digest in (None, attached.digest):
        with pytest.raises(PolicyRequirementError):
            artifact.pull(reject, src=name, dest=tmp_path / "d", digest=digest)
        with pytest.raises(PolicyRequirementError):
            artifact.pull_into_memory(reject, src=name, digest=digest)
    assert not (tmp_path / "d").exists()


def test_places_that_are_taken(tmp_path: Path) -> None:
    """Nothing is ever pulled over something, or through a link."""
    name = f"oci:{tmp_path}/l:x"
    artifact.push([FILE], dest=name, artifact_type=REPORT)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    for place in ("full", "link"):
        with pytest.raises(UnpackError):
            artifact.pull(ANYTHING, src=name, dest=tmp_path / place)
    assert files_below(tmp_path / "full") == {"x": b"mine"}
    assert files_below(tmp_path / "elsewhere") == {}
    (tmp_path / "empty").mkdir()
    assert files_below(artifact.pull(ANYTHING, src=name, dest=tmp_path / "empty").directory) == {"x": b"x"}


def test_images_and_others(tmp_path: Path) -> None:
    """An image has layers and no files; Docker's own manifests are no artifacts."""
    store = Store()
    docker = store.image(docker=True)
    assert docker["mediaType"] == DOCKER_MANIFEST
    directory = store.directory(tmp_path / "d", docker)
    with pytest.raises(ManifestError, match="expected an artifact"):
        artifact.inspect(f"dir:{directory}")
    layout = store.layout(tmp_path / "l", {"x": store.image({"a": b""})})
    assert [one.title for one in artifact.inspect(f"oci:{layout}:x").files] == [None]
    with pytest.raises(ManifestError, match="is it an image"):
        artifact.pull(ANYTHING, src=f"oci:{layout}:x", dest=tmp_path / "out")
