"""Images as other programs publish them: listed, looked at, copied, unpacked, imported; skopeo finds the same."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, OCI_MANIFEST, Descriptor, Store
from layers import file
from producers import ARCHIVES, CONFIG, FILES, GONE, ID, LAYOUTS, LOWER, UPPER, config, listing, save

from ocikit.errors import BlobNotFoundError, ImageNotFoundError, LayoutError, ManifestError, ManifestTypeRejectedError
from ocikit.image import (
    Policy,
    SystemContext,
    copy,
    image_name,
    import_directory,
    inspect,
    layout,
    list_images,
    sync,
    unpack,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.types import ImageReference

ANY = Policy.insecure_accept_anything()
LINUX = SystemContext(os_choice="linux", architecture_choice="amd64")
EVERY = ARCHIVES | LAYOUTS
# Not for skopeo 1.9.3, for one reason each.
UNREAD = {
    **dict.fromkeys(("gzip", "gzip, members", "bzip2", "xz, streams", "nix"), "is compressed as a whole"),
    **dict.fromkeys(("nerdctl", "cosign"), "has images that it cannot be asked for"),
    "buildkit, name": "has a name for an index",
    "sha512": "has digests of sha512",
    "rules_docker": "has links to layers, which it takes for layers of 0 bytes",
    "docker on Windows": "has the separators of Windows",
}


def config_of(name: str) -> dict[str, Any]:
    """Return the descriptor of the configuration of an image, as skopeo reads its manifest."""
    done = subprocess.run(["skopeo", "inspect", "--raw", name], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)["config"]
    return found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a directory where an image may be unpacked: nobody else gets in."""
    (tmp_path / "private").mkdir(mode=0o700)
    return tmp_path / "private"


def everything(reference: ImageReference, here: Path) -> str:
    """Do with an image whatever people do with one; return the digest of its configuration."""
    found = inspect(reference, LINUX)
    assert str(found)
    assert found.to_dict()["Layers"]
    options = copy.CopyOptions(source_ctx=LINUX, verify_diff_ids=True)
    for dest in (f"oci:{here}/l:x", f"oci-archive:{here}/o.tar:x", f"docker-archive:{here}/d.tar:x:1", f"dir:{here}/d"):
        copy.image(ANY, dest=dest, src=reference, options=options)
    assert layout.fsck(here / "l").ok
    unpack(reference, here / "root", policy=ANY, sys=LINUX)
    assert not (here / "root" / GONE).exists()
    for path in (f"oci:{here}/l:x", f"docker-archive:{here}/d.tar:x:1", f"dir:{here}/d"):
        assert config_of(path)["digest"] == found.manifest.config.digest
    return found.manifest.config.digest


@pytest.mark.parametrize("name", EVERY)
def test_what_others_publish(tmp_path: Path, here: Path, name: str) -> None:
    """The first image in it is there under its name, whole, wherever it is copied; what is in it is what was put in."""
    made = EVERY[name](tmp_path)
    listed = list_images(made.path)
    assert [one.name for one in listed] == list(made.names)
    assert listed[0].reference is not None
    config = everything(listed[0].reference, here)
    for path, content in FILES.items():
        assert (here / "root" / path).read_bytes() == content
    if name != "nix":
        assert config == f"sha256:{ID}"
        assert inspect(f"oci:{here}/l:x").env == ("PATH=/usr/bin",)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in UNREAD])
def test_others_read_the_same(tmp_path: Path, name: str) -> None:
    """Where skopeo can read it, it finds the same configuration and layers of the same content."""
    made = EVERY[name](tmp_path)
    command = ["skopeo", "--override-os=linux", "--override-arch=amd64", "--insecure-policy"]
    subprocess.run([*command, "copy", "-q", made.peer, f"dir:{tmp_path}/theirs"], check=True)
    assert (tmp_path / "theirs" / ID).read_bytes() == CONFIG
    reference = list_images(made.path)[0].reference
    assert reference is not None
    copy.image(ANY, dest=f"dir:{tmp_path}/ours", src=reference, options=copy.CopyOptions(source_ctx=LINUX))
    assert (tmp_path / "ours" / ID).read_bytes() == CONFIG


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_name_leads_to_its_image(tmp_path: Path, name: str) -> None:
    """Each reference of a list leads to the one image it stands at, as text, too."""
    made = ARCHIVES[name](tmp_path)
    for one in list_images(made.path):
        assert one.reference is not None
        with one.reference.new_image_source() as source:
            assert len(source.get_manifest()[0]) == one.descriptor.size
        assert inspect(image_name(one.reference), LINUX).digest == one.descriptor.digest


def test_all_of_them_imported(tmp_path: Path) -> None:
    """In one directory, every image of every producer is imported, and its layout is sound."""
    (tmp_path / "inbox").mkdir()
    expected = 0
    for number, make in enumerate(EVERY.values()):
        (tmp_path / str(number)).mkdir()
        made = make(tmp_path / str(number))
        made.path.rename(tmp_path / "inbox" / f"{number}-{made.path.name}")
        expected += len(made.names)
    options = copy.CopyOptions(source_ctx=LINUX)
    report = import_directory(
        tmp_path / "inbox", policy=ANY, dest=tmp_path / "there", options=options, on_error="continue"
    )
    assert [str(one.error) for one in report.failed] == []
    assert len(report.imported) == expected
    for path in (tmp_path / "there").iterdir():
        assert layout.fsck(path).ok, path


def test_archives_of_one_tag_each(tmp_path: Path) -> None:
    """Images whose names in their archives are no more than a tag are imported under all of their names."""
    (tmp_path / "inbox").mkdir()
    expected = {"docker 25": "docker.io/library/app:1", "buildkit, name": "docker.io/library/app:1.2"}
    for number, name in enumerate(expected):
        ARCHIVES[name](tmp_path).path.rename(tmp_path / f"inbox/{number}.tar")
    report = import_directory(
        tmp_path / "inbox", policy=ANY, dest=tmp_path / "there", into="one", options=copy.CopyOptions(source_ctx=LINUX)
    )
    assert [str(one.reference) for one in report.imported] == [
        f"oci:{tmp_path}/there:{name}" for name in expected.values()
    ]
    done = sync(ANY, source=tmp_path / "inbox", dest=tmp_path / "again", options=copy.CopyOptions(source_ctx=LINUX))
    assert [one.name for one in list_images(tmp_path / "again")] == list(expected.values()), str(done)


def test_an_index_of_what_is_not_there(tmp_path: Path) -> None:
    """What is saved of one platform lists the others; who asks for one of those is told what there is."""
    made = ARCHIVES["docker with containerd"](tmp_path)
    arm = SystemContext(os_choice="linux", architecture_choice="arm64")
    with pytest.raises(
        BlobNotFoundError, match="not in the archive; of the images that the index lists there is linux/amd"
    ):
        inspect(f"oci-archive:{made.path}:1", arm)
    with pytest.raises(ImageNotFoundError, match="no image for linux/s390x"):
        inspect(f"oci-archive:{made.path}:1", SystemContext(os_choice="linux", architecture_choice="s390x"))
    store = Store()
    index = store.index(store.image(architecture="arm64"))
    path = store.layout(tmp_path / "layout", {"x": index})
    (path / "blobs" / json.loads(store.blobs[index["digest"]])["manifests"][0]["digest"].replace(":", "/")).unlink()
    with pytest.raises(BlobNotFoundError, match="nothing that the index lists is there"):
        inspect(f"oci:{path}:x", arm)


def test_two_lists_that_contradict_each_other(tmp_path: Path) -> None:
    """Of an archive that is both, the list is shown that leads to images, unless a transport is asked for."""
    made = ARCHIVES["buildkit, name"](tmp_path)
    data = made.path.read_bytes()
    for listed in (b"{}", b"[]", json.dumps([{"Config": "x", "RepoTags": ["y:1"], "Layers": ["z"]}] * 2).encode()):
        archive = tmp_path / "both.tar"
        archive.write_bytes(file(b"manifest.json", listed) + data)
        assert [one.name for one in list_images(archive)] == ["1.2"]
    with pytest.raises(LayoutError, match="names x, which is not in the archive"):
        list_images(f"docker-archive:{archive}")
    made = ARCHIVES["docker 25"](tmp_path)
    data = made.path.read_bytes()
    archive.write_bytes(data.replace(b'"layers": [', b'"layers" :['))  # in the manifest that the index lists
    assert [one.name for one in list_images(archive)] == ["app:1"]


ARTIFACTS: dict[str, tuple[str, str]] = {
    "helm": ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
    "wasm": ("application/vnd.wasm.config.v0+json", "application/wasm"),
    "oras": ("application/vnd.oci.empty.v1+json", "application/vnd.acme.rocket.docs.layer.v1+tar"),
    "opa": (
        "application/vnd.cncf.openpolicyagent.config.v1+json",
        "application/vnd.cncf.openpolicyagent.layer.v1.tar+gzip",
    ),
    "in-toto": (OCI_CONFIG, "application/vnd.in-toto+json"),
}


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_artifacts(tmp_path: Path, here: Path, kind: str) -> None:
    """What is no image is listed, shown and copied as it is, and not taken for a file system."""
    store = Store()
    about, content = ARTIFACTS[kind]
    document = {
        "schemaVersion": 2,
        "config": store.json(about, config() if about == OCI_CONFIG else {}),
        "layers": [store.blob(content, b"content")],
    }
    path = store.layout(tmp_path / "layout", {"0.1.0": store.json(OCI_MANIFEST, document)})
    (one,) = list_images(path)
    assert one.reference is not None
    assert str(inspect(one.reference))
    for dest in (f"oci:{here}/l:x", f"oci-archive:{here}/o.tar:x", f"dir:{here}/d"):
        assert copy.image(ANY, dest=dest, src=one.reference).digest == one.descriptor.digest
    with pytest.raises((ManifestTypeRejectedError, ManifestError)):
        copy.image(ANY, dest=f"docker-archive:{here}/d.tar", src=one.reference)
    with pytest.raises(ManifestError):
        unpack(one.reference, here / "root", policy=ANY)
    assert layout.fsck(here / "l").ok == (about != OCI_CONFIG)


def foreign(store: Store, data: bytes) -> Descriptor:
    """Return the descriptor of a layer that nobody but its author distributes, without the layer."""
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    made = store.blob(kind, data, urls=["https://layers.example/" + "0" * 64])
    del store.blobs[made["digest"]]
    return made


def test_windows(tmp_path: Path) -> None:
    """An image of Windows is taken along without the layers that are elsewhere, and not put where those must be."""
    store = Store()
    about = config(LOWER, UPPER) | {"os": "windows", "os.version": "10.0.17763.2803"}
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": store.json("application/vnd.docker.container.image.v1+json", about),
        "layers": [foreign(store, LOWER), store.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", UPPER)],
    }
    image = store.json(document["mediaType"], document)
    windows = {"os": "windows", "architecture": "amd64", "os.version": about["os.version"]}
    index = store.index(image | {"platform": windows}, docker=True)
    path = store.directory(tmp_path / "d", index)
    sys = SystemContext(os_choice="windows", architecture_choice="amd64")
    platform = inspect(f"dir:{path}", sys).platform
    assert platform is not None
    assert platform.os_version == about["os.version"]
    options = copy.CopyOptions(source_ctx=sys)
    result = copy.image(ANY, dest=f"oci:{tmp_path}/l:x", src=f"dir:{path}", options=options)
    assert [blob.digest for blob in result.skipped] == [document["layers"][0]["digest"]]
    with pytest.raises(BlobNotFoundError):
        copy.image(ANY, dest=f"docker-archive:{tmp_path}/d.tar:x:1", src=f"dir:{path}", options=options)
    assert not (tmp_path / "d.tar").exists()


def test_the_name_twice(tmp_path: Path) -> None:
    """Two images of one name in Docker's list are told apart by their place; asked for by it, neither is guessed."""
    members = (
        file(b"c.json", CONFIG),
        file(b"a", LOWER),
        file(b"b", UPPER),
        file(b"d.json", json.dumps(config()).encode()),
    )
    path = save(tmp_path / "a.tar", *members, listing(("c.json", ["a", "b"], ["app:1"]), ("d.json", [], ["app:1"])))
    found = list_images(path)
    assert [str(one.reference) for one in found] == [f"docker-archive:{path}:@0", f"docker-archive:{path}:@1"]
    assert len({one.descriptor.digest for one in found}) == 2
