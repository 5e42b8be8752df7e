"""Directories whose manifest and signatures are links, as in the published examples of containers/image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from signed_scene import Scene

from ocikit.errors import LayoutError, PolicyRequirementError
from ocikit.image import Policy, PolicyContext, copy, parse_image_name, verify
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image import ImageSource


def opened(path: Path) -> ImageSource:
    """Open the image in a directory."""
    return parse_image_name(f"dir:{path}").new_image_source()


def move_behind_links(path: Path, to: Path, *names: str) -> None:
    """Put files of a directory elsewhere, and links in their places."""
    to.mkdir()
    for name in names:
        (path / name).rename(to / name)
        (path / name).symlink_to(f"../{to.name}/{name}")


def test_a_manifest_and_signatures_behind_links(tmp_path: Path) -> None:
    """Images share them so: what is there is verified, and copied, as if it were no link."""
    scene = Scene(tmp_path)
    scene.verify(scene.by_key(), scene.sigstore())
    move_behind_links(scene.path, tmp_path / "shared", "manifest.json", "signature-1")
    policy = Policy(requirements=[scene.by_key()])
    (found,) = verify(f"dir:{scene.path}", policy).signatures
    assert str(found.digest) == scene.digest
    copy.image(policy, src=f"dir:{scene.path}", dest=f"dir:{tmp_path}/copied")
    verify(f"dir:{tmp_path}/copied", policy)
    assert not any(one.is_symlink() for one in (tmp_path / "copied").iterdir())


def test_what_is_no_signature_behind_a_link_stays_where_it_is(tmp_path: Path) -> None:
    """A directory from a stranger must not lead a copy, or a message, to what only its reader may read."""
    scene = Scene(tmp_path)
    (tmp_path / "secret").write_bytes(b"Geheimnis")
    (scene.path / "signature-1").symlink_to(tmp_path / "secret")
    with opened(scene.path) as source, pytest.raises(LayoutError, match="does not lead to what") as caught:
        source.get_signatures()
    assert "Geh" not in str(caught.value)
    assert b"Geh".hex(" ") not in str(caught.value)


def test_links_to_devices_are_not_opened(tmp_path: Path) -> None:
    """Opening some devices does something by itself, and reading others never ends."""
    scene = Scene(tmp_path)
    for name in ("signature-1", "manifest.json"):
        (scene.path / name).unlink(missing_ok=True)
        (scene.path / name).symlink_to("/dev/zero")
    with opened(scene.path) as source:
        with pytest.raises(LayoutError, match="expected a regular file"):
            source.get_signatures()
        with pytest.raises(LayoutError, match="expected a regular file"):
            source.get_manifest()


def test_blobs_behind_links_are_refused(tmp_path: Path) -> None:
    """A blob is sent on while it is verified; what a link leads to would be away before it is known to be another."""
    scene = Scene(tmp_path)
    blob = next(one for one in scene.path.iterdir() if len(one.name) == 64)
    move_behind_links(scene.path, tmp_path / "shared", blob.name)
    with pytest.raises(LayoutError, match="found a link"):
        copy.image(Policy.insecure_accept_anything(), src=f"dir:{scene.path}", dest=f"dir:{tmp_path}/copied")


def test_a_manifest_that_is_not_there_is_no_other_manifest(tmp_path: Path) -> None:
    """What cannot be read is told apart from a signature that is about something else."""
    scene = Scene(tmp_path)
    scene.verify(scene.by_key(), scene.sigstore())
    (scene.path / "manifest.json").write_bytes(b"{")
    with opened(scene.path) as source, pytest.raises(PolicyRequirementError) as caught:
        PolicyContext(Policy(requirements=[scene.by_key()])).verify(UnparsedImage(source))
    assert "about another manifest" not in str(caught.value)
