"""Signatures that are new at the source of a sync, where the image itself is at the destination already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from builders import Store
from kept_signatures import an_image, cosigned, one_of_each, openpgp, sign, signatures

from ocikit.errors import SigningError
from ocikit.image import Policy, copy, sync
from ocikit.image.copy import CopyOptions
from ocikit.image.signature import generate_key_pair
from ocikit.image.stored_signature import StoredSignature, parse_signature

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from ocikit.image.reference import Named
    from ocikit.spec import Digest

ANY = Policy.insecure_accept_anything()


@frozen
class _Signer:
    description: str = "a signer"

    def sign(self, digest: Digest, docker_reference: Named) -> StoredSignature:
        return parse_signature(cosigned(str(digest), "added", str(docker_reference)))


def _outcomes(**arguments: Any) -> list[str]:
    foretold, done = sync(ANY, **arguments, dry_run=True), sync(ANY, **arguments)
    assert [one.outcome for one in foretold.images] == [one.outcome for one in done.images]
    return [str(one.outcome) for one in done.images]


@pytest.mark.parametrize("into", ["one", "oci", "oci-archive", "dir"])
def test_new_signatures_are_a_change(tmp_path: Path, into: str) -> None:
    """An image whose signatures are new is copied, without a byte of it; with all of them it is unchanged."""
    name, digest = an_image(tmp_path / "l")
    arguments: dict[str, Any] = {"source": f"oci:{tmp_path}/l", "dest": str(tmp_path / "m"), "into": into}
    assert [_outcomes(**arguments), _outcomes(**arguments)] == [["copied"], ["unchanged"]]
    sign(name, *one_of_each(digest))
    without = CopyOptions(remove_signatures=True)
    assert _outcomes(**arguments, options=without) == ["unchanged"]
    foretold = sync(ANY, **arguments, dry_run=True)
    done = sync(ANY, **arguments)
    assert [one.outcome for one in foretold.images] == [one.outcome for one in done.images] == ["copied"]
    assert _outcomes(**arguments) == ["unchanged"]
    place = done.images[0].destination
    assert place is not None
    assert set(signatures(str(place))) == set(one_of_each(digest))


def test_more_at_the_destination(tmp_path: Path) -> None:
    """What was signed at the destination stays signed, and is no difference."""
    an_image(tmp_path / "l")
    arguments: dict[str, Any] = {"source": f"oci:{tmp_path}/l", "dest": f"oci:{tmp_path}/m"}
    _outcomes(**arguments)
    sign(f"oci:{tmp_path}/m:v1", openpgp())
    assert _outcomes(**arguments) == ["unchanged"]
    assert signatures(f"oci:{tmp_path}/m:v1") == (openpgp(),)


def test_another_spelling_is_no_difference(tmp_path: Path) -> None:
    """A signature is the same signature, whatever white space is in the file that it comes from."""
    store = Store()
    image = store.image()
    blob = cosigned(image["digest"]).replace(b'","', b'" , "')
    assert blob != cosigned(image["digest"])
    (store.directory(tmp_path / "d", image) / "signature-1").write_bytes(blob)
    arguments: dict[str, Any] = {"source": f"dir:{tmp_path}/d", "dest": str(tmp_path / "m"), "into": "oci-archive"}
    assert [_outcomes(**arguments), _outcomes(**arguments)] == [["copied"], ["unchanged"]]
    place = next((tmp_path / "m").iterdir())
    status = place.stat()
    _outcomes(**arguments)
    assert place.stat() == status


def test_who_signs_changes(tmp_path: Path) -> None:
    """A call that signs says so, in the rehearsal too."""
    an_image(tmp_path / "l")
    options = CopyOptions(signers=(_Signer(),), sign_identity="example.com/app:1")
    arguments: dict[str, Any] = {"source": f"oci:{tmp_path}/l", "dest": f"oci:{tmp_path}/m"}
    _outcomes(**arguments)
    assert _outcomes(**arguments, options=options) == ["copied"]
    assert len(signatures(f"oci:{tmp_path}/m:v1")) == 1


def test_results_and_plans_tell(tmp_path: Path) -> None:
    """A result has the signatures that were kept and added, a plan those that would be kept; a wrong key is no plan."""
    name, digest = an_image(tmp_path / "l")
    sign(name, *one_of_each(digest))
    arguments: dict[str, Any] = {"src": name, "dest": f"oci:{tmp_path}/m:v1"}
    options = CopyOptions(signers=(_Signer(),), sign_identity="example.com/app:1")
    assert len(copy.plan(ANY, **arguments, options=options).signatures) == 3
    assert len(copy.image(ANY, **arguments, options=options).signatures) == 4
    assert copy.image(ANY, **arguments, options=CopyOptions(remove_signatures=True)).signatures == ()
    key = tmp_path / "team.key"
    key.write_bytes(generate_key_pair("a passphrase").private_pem)
    wrong = CopyOptions(
        sign_by_sigstore_private_key_file=key,
        sign_sigstore_private_key_passphrase=b"another",
        sign_identity="example.com/app:1",
    )
    with pytest.raises(SigningError):
        copy.plan(ANY, **arguments, options=wrong)
