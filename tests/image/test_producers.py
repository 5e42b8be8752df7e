"""Images as other programs publish them: listed, looked at, copied, unpacked, imported; skopeo finds the same."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from producers import ARCHIVES, CONFIG, FILES, GONE, ID, LAYOUTS

from ocikit.image import (
    Policy,
    SystemContext,
    copy,
    image_name,
    import_directory,
    inspect,
    layout,
    list_images,
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
