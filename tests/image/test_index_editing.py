"""Indexes: edited as data, made of images from anywhere, and what comes out is what podman makes of the same."""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from builders import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Store,
    check_layout,
    digest_of,
    manifest_at,
    names_in,
    skopeo_digest,
)
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    ImageNotFoundError,
    LayoutBusyError,
    LimitExceededError,
    ManifestError,
    PolicyRequirementError,
)
from ocikit.image import Policy, SystemContext, artifact, index, referrers
from ocikit.image.copy import CopyOptions, ImageListSelection
from ocikit.image.index import Member, MemberSelection
from ocikit.spec import Descriptor as Typed
from ocikit.spec import Digest, DockerManifestList, Index, Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocikit.image.manifest import AnyIndex

ANYTHING = Policy.insecure_accept_anything()
AMD, ARM = Platform(architecture="amd64", os="linux"), Platform(architecture="arm64", os="linux", variant="v8")


def document_at(layout: Path, name: str) -> dict[str, Any]:
    """Return the index that has a name in a layout."""
    digest = manifest_at(layout, name)
    document: dict[str, Any] = json.loads((layout / "blobs" / "sha256" / digest.partition(":")[2]).read_bytes())
    return document


def listed(content: bytes, platform: Platform | None = None, **members: Any) -> Typed:
    """Return the entry for a manifest that is nowhere."""
    entry = Typed.from_content("application/vnd.oci.image.manifest.v1+json", content).to_dict()
    return Typed.from_dict(entry | ({"platform": platform.to_dict()} if platform else {}) | members)


def test_as_data() -> None:
    """Each edit gives another index and leaves the first as it was; what nobody here knows is kept everywhere."""
    one, two = listed(b"1", AMD, **{"x-entry": 1}), listed(b"2", ARM)
    start = Index.from_dict({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one.to_dict()], "x-index": [2]})
    both = index.add(start, two)
    assert (len(start.manifests), both.manifests) == (1, (one, two))
    marked = index.annotate(index.annotate(both, {"a": "b", "c": "d"}), {"a": None, "e": "f"})
    assert marked.annotations == {"c": "d", "e": "f"}
    marked = index.annotate(marked, {"k": "v"}, one.digest)
    moved = index.set_platform(marked, one.digest, ARM)
    assert [(entry.platform, entry.annotations) for entry in moved.manifests] == [(ARM, {"k": "v"}), (ARM, {})]
    assert index.set_platform(moved, one.digest, None).manifests[0].platform is None
    left = index.remove(moved, two.digest)
    assert left.to_dict() == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [one.to_dict() | {"platform": ARM.to_dict(), "annotations": {"k": "v"}}],
        "annotations": {"c": "d", "e": "f"},
        "x-index": [2],
    }


def test_what_is_not_edited() -> None:
    """Manifests that are not listed, or are already, or are none, are errors that say so."""
    one = listed(b"1", AMD)
    start = index.add(Index(manifests=()), one)
    twice = index.add(start, listed(b"1", ARM))
    missing = Digest(digest_of(b"missing"))
    changes: list[Callable[[], AnyIndex]] = [
        lambda: index.remove(start, missing),
        lambda: index.annotate(start, {}, missing),
        lambda: index.set_platform(start, missing, AMD),
    ]
    for change in changes:
        with pytest.raises(ImageNotFoundError, match=f"does not list {missing}; it lists {one.digest}"):
            change()
    with pytest.raises(ManifestError, match="already for the same platform"):
        index.add(start, one)
    with pytest.raises(ManifestError, match="more than once"):
        index.set_platform(twice, one.digest, AMD)
    with pytest.raises(ManifestError, match="lists manifests"):
        index.add(start, listed(b"2", mediaType="text/plain"))
    for size in (-1, (4 << 20) + 1):
        with pytest.raises(LimitExceededError):
            index.add(start, listed(b"2", size=size))
    with pytest.raises(ManifestError, match="no type of an index"):
        index.empty("text/plain")


def test_lists_of_docker() -> None:
    """Docker's list has no annotations and no artifacts, and lists Docker's manifests: anything else is refused."""
    empty = index.empty(DOCKER_LIST)
    one = listed(b"1", AMD, mediaType=DOCKER_MANIFEST)
    with_one = index.add(empty, one)
    assert isinstance(with_one, DockerManifestList)
    assert index.set_platform(with_one, one.digest, ARM).manifests[0].platform == ARM
    changes: list[Callable[[], AnyIndex]] = [
        lambda: index.add(with_one, listed(b"2", AMD)),
        lambda: index.add(with_one, listed(b"2", AMD, mediaType=DOCKER_MANIFEST, annotations={"a": "b"})),
        lambda: index.annotate(with_one, {"a": "b"}),
        lambda: index.annotate(with_one, {"a": "b"}, one.digest),
        lambda: index.empty(DOCKER_LIST, annotations={"a": "b"}),
        lambda: index.empty(DOCKER_LIST, artifact_type="a/b"),
    ]
    for wrong in changes:
        with pytest.raises(ManifestError):
            wrong()


EDITS = st.lists(st.tuples(st.sampled_from(["add", "remove", "mark"]), st.integers(0, 4)), max_size=12)


@given(EDITS)
def test_any_edits(edits: list[tuple[str, int]]) -> None:
    """Whatever is done in whatever order, the index lists what was added and not removed, in that order, and parses."""
    entries = [listed(b"%d" % number, AMD) for number in range(5)]
    current, expected = Index(manifests=()), list[int]()
    for kind, number in edits:
        digest = entries[number].digest
        try:
            if kind == "add":
                current = index.add(current, entries[number])
                expected.append(number)
            elif kind == "remove":
                current = index.remove(current, digest)
                expected.remove(number)
            else:
                current = index.annotate(current, {"k": "v"}, digest)
        except (ManifestError, ImageNotFoundError):
            assert (kind == "add") == (number in expected)
    assert [entry.digest for entry in current.manifests] == [entries[number].digest for number in expected]
    assert Index.from_json(current.to_json()) == current


def test_made_of_images_from_everywhere(tmp_path: Path) -> None:
    """Images of several places are copied to where the index is; platforms are those of their configurations."""
    stores = [Store() for _ in range(3)]
    amd, arm, s390 = (
        stores[0].image({"a": b"a"}),
        stores[1].image({"b": b"b"}, architecture="arm64", variant="v8"),
        stores[2].image({"c": b"c"}, architecture="s390x"),
    )
    archive = f"oci-archive:{stores[1].archive(tmp_path / 'b.tar.gz', {'x': arm}, compress='gzip')}"
    members: list[Member | str] = [
        f"oci:{stores[0].layout(tmp_path / 'a', {'x': amd})}:x",
        Member(image=archive, annotations={"k": "v"}),
        f"dir:{stores[2].directory(tmp_path / 'c', s390)}",
    ]
    for dest in (f"oci:{tmp_path}/out:multi", f"oci-archive:{tmp_path}/out.tar:multi", f"dir:{tmp_path}/out.d"):
        done = index.create(ANYTHING, dest=dest, members=members, annotations={"made": "here"})
        assert skopeo_digest(dest) == done.digest
        document = json.loads(done.manifest)
        assert [entry["digest"] for entry in document["manifests"]] == [amd["digest"], arm["digest"], s390["digest"]]
        assert [entry["platform"] for entry in document["manifests"]] == [
            {"architecture": "amd64", "os": "linux"},
            {"architecture": "arm64", "os": "linux", "variant": "v8"},
            {"architecture": "s390x", "os": "linux"},
        ]
        assert (document["manifests"][1]["annotations"], document["annotations"]) == ({"k": "v"}, {"made": "here"})
        subprocess.run(["skopeo", "copy", "-q", "--all", dest, f"dir:{tmp_path}/theirs"], check=True)
    assert names_in(tmp_path / "out") == ["multi"]
    assert check_layout(tmp_path / "out") == {*stores[0].blobs, *stores[1].blobs, *stores[2].blobs, done.digest}


@pytest.fixture
def podman(peer: Callable[[str], str]) -> Iterator[Callable[..., None]]:
    """Run podman with a store of its own, without a container ever; its paths may not be long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as store:
        places = [f"--{name}={store}/{name}" for name in ("root", "runroot", "tmpdir")]

        def run(*arguments: str) -> None:
            command = [peer("podman"), *places, "--storage-driver=vfs", "manifest", *arguments]
            subprocess.run(command, check=True, capture_output=True)

        yield run


def test_as_podman_does(tmp_path: Path, podman: Callable[..., None]) -> None:
    """The same steps with podman give the same list; each side reads what the other made."""
    store = Store()
    images = [
        store.image({"a": b"a"}),
        store.image({"b": b"b"}, architecture="arm64", variant="v8"),
        store.image({"c": b"c"}, architecture="s390x"),
    ]
    layout = store.layout(tmp_path / "l", {str(number): image for number, image in enumerate(images)})
    podman("create", "multi")
    for number in range(3):
        podman("add", "multi", f"oci:{layout}:{number}")
    podman("annotate", "--annotation", "k=v", "multi", images[1]["digest"])
    podman("remove", "multi", images[2]["digest"])
    podman("push", "--all", "multi", f"oci:{tmp_path}/theirs:x")
    index.create(ANYTHING, dest=f"oci:{layout}:multi", members=[f"oci:{layout}:{number}" for number in range(3)])
    index.edit(
        ANYTHING,
        src=f"oci:{layout}:multi",
        remove_digests=[Digest(images[2]["digest"])],
        change=lambda one: index.annotate(one, {"k": "v"}, Digest(images[1]["digest"])),
    )
    assert document_at(layout, "multi")["manifests"] == document_at(tmp_path / "theirs", "x")["manifests"]
    # Theirs is edited here, and ours taken over there.
    index.edit(ANYTHING, src=f"oci:{tmp_path}/theirs:x", members=[f"oci:{layout}:2"])
    assert [one["digest"] for one in document_at(tmp_path / "theirs", "x")["manifests"]] == [
        one["digest"] for one in images
    ]
    podman("create", "--all", "ours", f"oci:{layout}:multi")
    podman("push", "--all", "ours", f"oci:{tmp_path}/again:x")
    # Of an index that it takes over, this podman drops what its entries are annotated with.
    ours = [{key: one[key] for key in one if key != "annotations"} for one in document_at(layout, "multi")["manifests"]]
    assert document_at(tmp_path / "again", "x")["manifests"] == ours


def edited(layout: Path, **arguments: Any) -> dict[str, Any]:
    """Edit the index x of a layout in its place; return it."""
    done = index.edit(ANYTHING, src=f"oci:{layout}:x", **arguments)
    document = document_at(layout, "x")
    assert json.loads(done.manifest) == document
    assert check_layout(layout)
    return document


def test_edited_in_a_layout(tmp_path: Path) -> None:
    """The name leads to a new index; no blob that is there is copied, what nobody knows stays, and the old one."""
    store = Store()
    amd, arm = store.image({"a": b"a"}), store.image({"b": b"b"}, architecture="arm64")
    old = store.json(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "x": 1, "manifests": [amd | {"y": 2}]})
    layout = store.layout(tmp_path / "l", {"x": old, "arm": arm})
    before = index.edit(ANYTHING, src=f"oci:{layout}:x")
    assert (before.digest, names_in(layout)) == (old["digest"], ["x", "arm"])
    document = edited(layout, members=[f"oci:{layout}:arm"], change=lambda one: index.annotate(one, {"k": "v"}))
    assert (document["x"], document["manifests"][0]) == (1, amd | {"y": 2})
    assert document["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux"}
    assert (document["annotations"], names_in(layout)) == ({"k": "v"}, ["", "arm", "x"])
    done = index.edit(ANYTHING, src=f"oci:{layout}:x", remove_digests=[Digest(amd["digest"])])
    assert (done.copied, len(done.reused)) == ((), 2)
    assert [entry["digest"] for entry in document_at(layout, "x")["manifests"]] == [arm["digest"]]
    elsewhere = index.edit(ANYTHING, src=f"oci:{layout}:x", dest=f"dir:{tmp_path}/d")
    assert skopeo_digest(f"dir:{tmp_path}/d") == elsewhere.digest == done.digest


def test_edited_in_an_archive_and_not_in_a_directory(tmp_path: Path) -> None:
    """An archive is read while the new one is written; a directory cannot be, and stays as it is."""
    store = Store()
    top = store.index(store.image())
    other = f"dir:{store.directory(tmp_path / 'other', store.image(architecture='s390x'))}"
    archive = f"oci-archive:{store.archive(tmp_path / 'a.tar', {'x': top})}:x"
    done = index.edit(ANYTHING, src=archive, members=[other])
    assert skopeo_digest(archive) == done.digest
    assert len(json.loads(done.manifest)["manifests"]) == 2
    directory = f"dir:{store.directory(tmp_path / 'd', top)}"
    with pytest.raises(LayoutBusyError) as caught:
        index.edit(ANYTHING, src=directory, members=[other])
    assert "name another dest" in caught.value.__notes__[0]
    assert skopeo_digest(directory) == top["digest"]


def test_what_is_taken_of_an_index(tmp_path: Path) -> None:
    """Each of its manifests as it lists them, the one for a platform, one by its digest, or the index nested."""
    store = Store()
    arm = store.image({"arm": b""}, architecture="arm64", variant="v8", platform=False)
    attestation = store.image({"att": b""}) | {
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {"r": "s"},
    }
    inner = store.index(store.image({"amd": b""}) | {"annotations": {"a": "b"}}, arm, attestation)
    layout = store.layout(tmp_path / "l", {"i": inner})
    name = f"oci:{layout}:i"

    def entries(member: Member | str) -> list[Descriptor]:
        done = index.create(ANYTHING, dest=f"oci:{tmp_path}/out:x", members=[member], options=options)
        check_layout(tmp_path / "out")
        found: list[Descriptor] = json.loads(done.manifest)["manifests"]
        return found

    options = CopyOptions(source_ctx=SystemContext(os_choice="linux", architecture_choice="amd64"))
    each = entries(name)
    assert [(one["digest"], one.get("annotations"), one["platform"]["architecture"]) for one in each] == [
        (json.loads(store.blobs[inner["digest"]])["manifests"][0]["digest"], {"a": "b"}, "amd64"),
        (arm["digest"], None, "arm64"),
        (attestation["digest"], {"r": "s"}, "unknown"),
    ]
    assert [one["digest"] for one in entries(Member(image=name, selection=MemberSelection.SYSTEM))] == [
        each[0]["digest"]
    ]
    nested = entries(Member(image=name, selection=MemberSelection.NESTED))
    assert nested == [{key: inner[key] for key in ("mediaType", "digest", "size")}]
    one = entries(Member(image=name, digest=Digest(arm["digest"]), platform=AMD))
    assert [(entry["digest"], entry["platform"]["architecture"]) for entry in one] == [(arm["digest"], "amd64")]
    with pytest.raises(ManifestError, match="one platform for all"):
        entries(Member(image=name, platform=AMD))
    with pytest.raises(BlobNotFoundError):
        entries(Member(image=name, digest=Digest(digest_of(b"none"))))


def test_artifacts_and_subjects(tmp_path: Path) -> None:
    """Artifacts are listed with their types and no platform, and an index may be about another manifest itself."""
    name = f"oci:{tmp_path}/l:a"
    pushed = artifact.push([artifact.ArtifactFile(content=b"x", title="x")], dest=name, artifact_type="application/x")
    done = index.create(
        ANYTHING, dest=f"oci:{tmp_path}/l:i", members=[name], artifact_type="application/y", subject=pushed.descriptor
    )
    entry = json.loads(done.manifest)["manifests"][0]
    assert (entry["artifactType"], "platform" in entry) == ("application/x", False)
    assert [(one.digest, one.artifact_type) for one in referrers(name)] == [(done.digest, "application/y")]
    check_layout(tmp_path / "l")


def test_a_list_of_docker(tmp_path: Path) -> None:
    """Docker's images make Docker's list, in a place that takes it; images of the other kind do not."""
    store, other = Store(), Store()
    docker = store.image({"d": b""}, docker=True, architecture="s390x")
    directory = f"dir:{store.directory(tmp_path / 'd', docker)}"
    done = index.create(ANYTHING, dest=f"dir:{tmp_path}/out", members=[directory], media_type=DOCKER_LIST)
    document = json.loads(done.manifest)
    assert (document["mediaType"], document["manifests"][0]["platform"]["architecture"]) == (DOCKER_LIST, "s390x")
    subprocess.run(["skopeo", "copy", "-q", "--all", f"dir:{tmp_path}/out", f"dir:{tmp_path}/theirs"], check=True)
    assert skopeo_digest(f"dir:{tmp_path}/theirs") == done.digest
    oci = f"oci:{other.layout(tmp_path / 'l', {'x': other.image()})}:x"
    with pytest.raises(ManifestError, match="make an OCI index instead"):
        index.edit(ANYTHING, src=f"dir:{tmp_path}/out", dest=f"dir:{tmp_path}/new", members=[oci])


def test_options_of_copies(tmp_path: Path) -> None:
    """An index is copied as others are: Docker's images become OCI's in a layout, blobs are linked when asked."""
    store, other = Store(), Store()
    directory = f"dir:{store.directory(tmp_path / 'd', store.image({'d': b''}, docker=True, architecture='s390x'))}"
    layout = other.layout(tmp_path / "l", {"x": other.image()})
    done = index.create(
        ANYTHING,
        dest=f"oci:{tmp_path}/new:x",
        members=[directory, f"oci:{layout}:x"],
        options=CopyOptions(image_list_selection=ImageListSelection.ALL, link_blobs=True),
    )
    check_layout(tmp_path / "new")
    assert [(one.media_type, one.platform) for one in Index.from_json(done.manifest).manifests] == [
        (OCI_MANIFEST, Platform(architecture="s390x", os="linux")),
        (OCI_MANIFEST, AMD),
    ]
    blobs = {path.name: path.stat().st_nlink for path in (tmp_path / "new" / "blobs" / "sha256").iterdir()}
    assert max(blobs.values()) == 2


def test_what_refers_to_members(tmp_path: Path) -> None:
    """What is attached to the images comes along on request, from wherever each of them is."""
    made = [Store(), Store()]
    images = [made[0].image(), made[1].image(architecture="s390x")]
    names = [
        f"oci:{made[0].layout(tmp_path / 'l', {'x': images[0]})}:x",
        f"dir:{made[1].directory(tmp_path / 'd', images[1])}",
    ]
    attached = [
        artifact.attach(name, [artifact.ArtifactFile(content=name.encode())], artifact_type="a/b") for name in names
    ]
    for options, expected in (
        (CopyOptions(), [[], []]),
        (CopyOptions(referrers=True), [[one.digest] for one in attached]),
    ):
        dest = f"oci:{tmp_path}/{len(expected[0])}:x"
        index.create(ANYTHING, dest=dest, members=names, options=options)
        found = [[one.digest for one in referrers(dest, digest=Digest(image["digest"]))] for image in images]
        assert found == expected
        check_layout(tmp_path / f"{len(expected[0])}")


def test_images_that_are_not_there(tmp_path: Path) -> None:
    """What an index lists without having it stays listed; an index that has nothing is not copied."""
    store = Store()
    here, gone = store.image({"h": b""}), store.image({"g": b""}, architecture="s390x")
    top = store.index(here, gone)
    del store.blobs[gone["digest"]]
    layout = store.layout(tmp_path / "l", {"x": top, "empty": store.index(gone), "none": store.index()})
    done = index.edit(ANYTHING, src=f"oci:{layout}:x", change=lambda one: index.annotate(one, {"k": "v"}))
    assert [entry["digest"] for entry in json.loads(done.manifest)["manifests"]] == [here["digest"], gone["digest"]]
    assert done.instances == (here["digest"],)
    with pytest.raises(ImageNotFoundError, match="nothing of what it lists"):
        index.edit(ANYTHING, src=f"oci:{layout}:empty", change=lambda one: index.annotate(one, {"k": "v"}))
    added = index.edit(
        ANYTHING, src=f"oci:{layout}:none", members=[Member(image=f"oci:{layout}:x", selection=MemberSelection.SYSTEM)]
    )
    assert added.instances == (here["digest"],)


def test_what_goes_wrong_changes_nothing(tmp_path: Path) -> None:
    """Missing images, duplicates, wrong digests, images without an index: errors, and the index is what it was."""
    store = Store()
    image = store.image()
    damaged = store.image({"d": b""}, architecture="s390x")
    layout = store.layout(tmp_path / "l", {"x": store.index(image), "one": image, "bad": damaged})
    (layout / "blobs" / "sha256" / damaged["digest"].partition(":")[2]).write_bytes(b"?" * damaged["size"])
    before = manifest_at(layout, "x")
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (ManifestError, {"members": [f"oci:{layout}:one"]}),
        (ImageNotFoundError, {"members": [f"oci:{layout}:none"]}),
        (DigestMismatchError, {"members": [f"oci:{layout}:bad"]}),
        (ImageNotFoundError, {"remove_digests": [Digest(digest_of(b"none"))]}),
        (LimitExceededError, {"change": lambda one: index.annotate(one, {"k": "v" * (4 << 20)})}),
        (ManifestError, {"src": f"oci:{layout}:one"}),
        (
            ValueError,
            {
                "options": CopyOptions(
                    image_list_selection=ImageListSelection.SPECIFIC, instances=(Digest(digest_of(b"")),)
                )
            },
        ),
    ]
    for error, arguments in cases:
        with pytest.raises(error):
            index.edit(ANYTHING, **({"src": f"oci:{layout}:x"} | arguments))
        assert manifest_at(layout, "x") == before
    assert names_in(layout) == ["x", "one", "bad"]


def test_nested_without_end(tmp_path: Path) -> None:
    """Indexes are nested up to a depth that copies know, too."""
    store = Store()
    top = store.image()
    for _ in range(9):
        top = store.index(top)
    layout = store.layout(tmp_path / "l", {"x": top})
    with pytest.raises(LimitExceededError, match="nested"):
        index.create(
            ANYTHING,
            dest=f"oci:{layout}:y",
            members=[Member(image=f"oci:{layout}:x", selection=MemberSelection.NESTED)],
        )


def test_the_policy_of_each_place(tmp_path: Path) -> None:
    """Every image is held against the policy where it comes from, those below an index and those that stay, too."""
    store = Store()
    good = store.layout(tmp_path / "good", {"x": store.index(store.image())})
    bad = store.layout(tmp_path / "bad", {"x": store.index(store.image({"b": b""})), "one": store.image({"c": b""})})
    policy = Policy.from_bytes(
        json.dumps(
            {
                "default": [{"type": "insecureAcceptAnything"}],
                "transports": {"oci": {str(bad): [{"type": "reject"}]}},
            }
        )
    )
    assert index.create(policy, dest=f"oci:{tmp_path}/out:x", members=[f"oci:{good}:x"]).instances
    for selection in MemberSelection:
        with pytest.raises(PolicyRequirementError):
            index.create(
                policy, dest=f"oci:{tmp_path}/new:x", members=[Member(image=f"oci:{bad}:x", selection=selection)]
            )
    with pytest.raises(PolicyRequirementError):
        index.edit(policy, src=f"oci:{bad}:x", dest=f"oci:{tmp_path}/new:x")
    assert not (tmp_path / "new").exists()
