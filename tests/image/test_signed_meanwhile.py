"""Others who sign, replace or delete an image between the moment in which it is read and that in which it is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from kept_signatures import an_image, cosigned, entries, sign, signatures

from ocikit import image
from ocikit.errors import ImageNotFoundError
from ocikit.image import Policy, copy
from ocikit.image.stored_signature import StoredSignature, parse_signature

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocikit.image.reference import Named
    from ocikit.spec import Digest

ANY = Policy.insecure_accept_anything()
NAME = "example.com/app:1"


@frozen
class _Slow:
    """Signs, and while it does something else happens."""

    meanwhile: Callable[[], object]
    description: str = "a slow signer"

    def sign(self, digest: Digest, docker_reference: Named) -> StoredSignature:
        self.meanwhile()
        return parse_signature(cosigned(str(digest), "slow", str(docker_reference)))


@pytest.mark.parametrize("place", ["oci:{}/place:v1", "dir:{}/place"])
def test_no_other_image_gets_them(tmp_path: Path, place: str) -> None:
    """An image that took the name, or the place, of the one that was to be signed gets no signature of that one."""
    first, _ = an_image(tmp_path / "1")
    second, _ = an_image(tmp_path / "2", content=b"another")
    name = place.format(tmp_path)
    copy.image(ANY, src=first, dest=name)
    slow = _Slow(lambda: copy.image(ANY, src=second, dest=name))
    with pytest.raises(ImageNotFoundError, match="meanwhile"):
        image.sign(name, slow, identity=NAME)
    assert signatures(name) == ()


@pytest.mark.parametrize("place", ["oci:{}/place:v1", "dir:{}/place"])
def test_two_at_once(tmp_path: Path, place: str) -> None:
    """Of two who sign one image at the same time neither overwrites the signature of the other."""
    source, digest = an_image(tmp_path / "1")
    name = place.format(tmp_path)
    copy.image(ANY, src=source, dest=name)
    other = cosigned(digest, "other")
    image.sign(name, _Slow(lambda: sign(name, other)), identity=NAME)
    assert signatures(name) == (other, cosigned(digest, "slow", NAME))
    image.sign(name, _Slow(lambda: None), identity=NAME)
    assert len(signatures(name)) == 2


def test_behind_a_gap(tmp_path: Path) -> None:
    """A file behind a gap is no signature, and does not become one when the gap is closed."""
    source, digest = an_image(tmp_path / "1")
    copy.image(ANY, src=source, dest=f"dir:{tmp_path}/place")
    (tmp_path / "place/signature-2").write_bytes(cosigned(digest, "of something else"))
    sign(f"dir:{tmp_path}/place", cosigned(digest))
    assert signatures(f"dir:{tmp_path}/place") == (cosigned(digest),)


def test_the_name_of_the_same_image(tmp_path: Path) -> None:
    """The same image copied anew meanwhile is still the image that was signed."""
    name, digest = an_image(tmp_path / "1")
    image.sign(name, _Slow(lambda: copy.image(ANY, src=name, dest=f"oci:{tmp_path}/1:v2")), identity=NAME)
    assert signatures(name) == signatures(f"oci:{tmp_path}/1:v2") == (cosigned(digest, "slow", NAME),)
    assert len([entry for entry in entries(tmp_path / "1") if entry["digest"] == digest]) == 2
