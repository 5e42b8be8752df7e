"""Who signed what: asked by itself, on images and indexes, and what copies do with signatures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from builders import Store
from signed_scene import CALLED, NAME, REPOSITORY, Scene
from unprivileged import NOBODY, in_child

from ocikit.errors import (
    DigestChangeError,
    ImageNotFoundError,
    LayoutError,
    NotSupportedError,
    PolicyRequirementError,
    SigningError,
)
from ocikit.image import Policy, PolicyContext, SystemContext, copy, parse_image_name, sign, signature, verify
from ocikit.image.copy import CopyOptions, ImageListSelection
from ocikit.image.layout.temporary import TemporaryFile
from ocikit.image.reference import parse_normalized_named
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from ocikit.image.signature import PrivateKey

RIGHT, WRONG = "the right one", "a wrong one"
NAMED = parse_normalized_named(NAME)
ANYTHING = Policy.insecure_accept_anything()


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    """The key that is trusted."""
    return signature.PrivateKey.generate()


@pytest.fixture
def signer(key: PrivateKey) -> signature.SigstoreSigner:
    """Whoever has that key."""
    return signature.SigstoreSigner(key)


@pytest.fixture
def policy(key: PrivateKey) -> Policy:
    """Ask for a signature by that key."""
    return Policy(requirements=[signature.SigstoreSigned(key_data=key.public_key.pem, signed_identity=CALLED)])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A layout with an image ``one``, and an index ``many`` of two others."""
    store = Store()
    entries = [store.image({"n": bytes([n])}, architecture=arch) for n, arch in enumerate(("amd64", "arm64"))]
    return store.layout(tmp_path / "images", {"one": store.image(platform=False), "many": store.index(*entries)})


def stored(name: str, instance: Any = None) -> tuple[bytes, ...]:
    """Return the signatures that a place keeps."""
    with parse_image_name(name).new_image_source() as source:
        return source.get_signatures(instance)


def test_who_signed_what(images: Path, policy: Policy, signer: signature.SigstoreSigner) -> None:
    """A signature is made where the image is, and found again: by whom, of what, as what."""
    done = sign(f"oci:{images}:one", signer, identity=NAME)
    found = verify(f"oci:{images}:one", policy)
    (one,) = found.signatures
    assert done.digests == (one.digest,) == (found.images[0].digest,)
    assert one.docker_reference == str(done.identity) == NAME
    assert one.key == signer.public_key.fingerprint
    assert one.creator is not None
    assert one.creator.startswith("ocikit")
    assert one.created is not None
    assert one.logged is None
    assert found.scope == "default"
    for shown in (str(found), found._repr_html_(), str(done), done._repr_html_()):
        assert NAME in shown
        assert str(one.digest) in shown
    assert "vouched for" not in str(found)
    vouched = evolve(found, images=(evolve(found.images[0], signatures=(evolve(one, issuer="https://id.example"),)),))
    assert "vouched for by https://id.example" in str(vouched)
    assert "vouched for by https://id.example" in str(vouched.signatures[0])


def test_what_is_attached_is_not_what_was_misspelled(images: Path, signer: signature.SigstoreSigner) -> None:
    """A name that is not there is answered with those of the images, and not with where signatures are kept."""
    sign(f"oci:{images}:one", signer, identity=NAME)
    with pytest.raises(ImageNotFoundError, match=r"no image is named 'ome'; names are 'many', 'one'$"):
        sign(f"oci:{images}:ome", signer, identity=NAME)


def test_what_asks_for_nothing_proves_nothing(images: Path) -> None:
    """An image that nobody vouches for is not verified, unless the caller says that this will do."""
    with pytest.raises(PolicyRequirementError, match="no requirement asks for a signature"):
        verify(f"oci:{images}:one", ANYTHING)
    found = verify(f"oci:{images}:one", ANYTHING, require_signatures=False)
    assert found.signatures == ()
    assert "no signature was asked for" in str(found)
    with PolicyContext(ANYTHING, require_signatures=True) as strict, pytest.raises(PolicyRequirementError):
        copy.image(strict, src=f"oci:{images}:one", dest=f"dir:{images.parent}/out")


def test_each_image_of_an_index_is_asked_about(images: Path, policy: Policy, signer: signature.SigstoreSigner) -> None:
    """The signature of an index is not one of the images in it."""
    name = f"oci:{images}:many"
    amd64 = SystemContext(os_choice="linux", architecture_choice="amd64")
    with parse_image_name(name).new_image_source() as source:
        index = UnparsedImage(source)
        first, second = (one.digest() for one in index.instances())
        top = index.digest()
    with parse_image_name(name).new_image_destination() as destination:
        destination.put_signatures((signer.sign(top, NAMED).to_blob(),))
        destination.commit()
    with pytest.raises(PolicyRequirementError, match="has no signature"):
        verify(name, policy, sys=amd64)
    with parse_image_name(name).new_image_destination() as destination:
        destination.put_signatures((signer.sign(first, NAMED).to_blob(),), first)
        destination.commit()
    assert [one.digest for one in verify(name, policy, sys=amd64).images] == [first]
    with pytest.raises(PolicyRequirementError, match="has no signature"):
        verify(name, policy, all_instances=True)
    assert sign(name, signer, identity=NAME).digests == (first, second, top)
    assert [one.digest for one in verify(name, policy, all_instances=True).images] == [first, second]


@pytest.mark.parametrize("kind", ["oci", "dir", "oci-archive"])
def test_copies_keep_drop_and_add(
    images: Path, policy: Policy, signer: signature.SigstoreSigner, tmp_path: Path, kind: str
) -> None:
    """To every place that keeps signatures, and back: kept by themselves, left behind or added when that is asked."""
    source = f"oci:{images}:one"
    sign(source, signer, identity=NAME)
    place = {
        "oci": f"oci:{tmp_path}/there:x",
        "dir": f"dir:{tmp_path}/dir",
        "oci-archive": f"oci-archive:{tmp_path}/a:x",
    }
    copy.image(policy, src=source, dest=place[kind])
    assert stored(place[kind]) == stored(source)
    copy.image(policy, src=place[kind], dest=f"oci:{tmp_path}/back:x")
    assert verify(f"oci:{tmp_path}/back:x", policy).signatures == verify(source, policy).signatures

    bare = (
        place[kind].replace("there", "bare").replace(f"{tmp_path}/dir", f"{tmp_path}/bare").replace("/a:", "/bare.tar:")
    )
    copy.image(policy, src=source, dest=bare, options=CopyOptions(remove_signatures=True))
    assert stored(bare) == ()

    another = signature.SigstoreSigner(signature.PrivateKey.generate("ed25519"))
    more = bare.replace("bare", "more")
    copy.image(policy, src=source, dest=more, options=CopyOptions(signers=(another,), sign_identity=NAME))
    assert len(stored(more)) == 2
    by_other = signature.SigstoreSigned(key_data=another.public_key.pem, signed_identity=CALLED)
    both = Policy(requirements=[*policy.requirements, by_other])
    assert {one.key for one in verify(more, both).signatures} == {
        signer.public_key.fingerprint,
        another.public_key.fingerprint,
    }
    with pytest.raises(PolicyRequirementError, match=r"\[1\] sigstoreSigned: .*signature 1: "):
        verify(source, both)


def test_all_of_an_index_is_signed_on_its_way(
    images: Path, policy: Policy, signer: signature.SigstoreSigner, tmp_path: Path
) -> None:
    """Every image that is copied, and the index."""
    every = CopyOptions(image_list_selection=ImageListSelection.ALL, signers=(signer,), sign_identity=NAME)
    archive = f"oci-archive:{tmp_path}/all.tar:x"
    done = copy.image(ANYTHING, src=f"oci:{images}:many", dest=archive, options=every)
    assert [one.digest for one in verify(archive, policy, all_instances=True).images] == [*done.instances]
    assert len(stored(archive)) == 1


def test_what_is_signed_does_not_change(images: Path, signer: signature.SigstoreSigner, tmp_path: Path) -> None:
    """A signature holds for these bytes: they are not recompressed, and go nowhere where it is not kept."""
    sign(f"oci:{images}:one", signer, identity=NAME)
    zstd = CopyOptions(destination_ctx=SystemContext(compression_format="zstd"))
    with pytest.raises(DigestChangeError, match="signatures"):
        copy.image(ANYTHING, src=f"oci:{images}:one", dest=f"oci:{tmp_path}/z:x", options=zstd)
    with pytest.raises(NotSupportedError, match="remove_signatures=True"):
        copy.image(ANYTHING, src=f"oci:{images}:one", dest=f"docker-archive:{tmp_path}/d.tar:example.com/a:1")
    asked = CopyOptions(signers=(signer,), remove_signatures=True)
    with pytest.raises(NotSupportedError, match="nothing can be signed there"):
        copy.image(
            ANYTHING, src=f"oci:{images}:one", dest=f"docker-archive:{tmp_path}/d.tar:example.com/a:1", options=asked
        )
    assert not (tmp_path / "d.tar").exists()


def test_who_signs_is_made_ready_first(images: Path, key: PrivateKey, tmp_path: Path) -> None:
    """A wrong passphrase, a missing key, a missing name: said before anything is made."""
    (tmp_path / "key").write_bytes(key.to_encrypted_pem(RIGHT))
    source, dest = f"oci:{images}:one", f"oci:{tmp_path}/never:x"

    def copying(**options: Any) -> None:
        copy.image(ANYTHING, src=source, dest=dest, options=CopyOptions(**options))

    by_file: dict[str, Any] = {"sign_by_sigstore_private_key_file": tmp_path / "key", "sign_identity": NAME}
    with pytest.raises(SigningError, match="passphrase"):
        copying(**by_file, sign_sigstore_private_key_passphrase=WRONG)
    with pytest.raises(SigningError, match="have no name in a registry"):
        copying(**{**by_file, "sign_identity": None}, sign_sigstore_private_key_passphrase=RIGHT)
    with pytest.raises(SigningError, match="none: cannot be read: No such file"):
        copying(sign_by_sigstore_private_key_file=tmp_path / "none", sign_identity=NAME)
    assert not Path(f"{tmp_path}/never").exists()
    copying(**by_file, sign_sigstore_private_key_passphrase=RIGHT)
    assert len(stored(dest)) == 1
    assert RIGHT not in repr(CopyOptions(**by_file, sign_sigstore_private_key_passphrase=RIGHT))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sign_identity": NAME}, "nobody is to sign it"),
        ({"sign_passphrase": "x"}, "sign_by names"),
        ({"sign_sigstore_private_key_passphrase": "x"}, "sign_by_sigstore_private_key_file"),
        ({"sign_by": "A" * 40, "sign_identity": REPOSITORY}, "neither a tag nor a digest"),
    ],
)
def test_what_would_sign_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    """Options that contradict each other are no options."""
    with pytest.raises(ValueError, match=message):
        CopyOptions(**options)
    with pytest.raises(TypeError, match="signers"):
        CopyOptions(signers="me")  # type: ignore[arg-type]


def test_signing_needs_a_place_and_a_signer(images: Path, signer: signature.SigstoreSigner, tmp_path: Path) -> None:
    """Archives are written in one piece, and a signature without a signer is none."""
    archive = f"oci-archive:{tmp_path}/a.tar:x"
    copy.image(ANYTHING, src=f"oci:{images}:one", dest=archive)
    before = Path(f"{tmp_path}/a.tar").read_bytes()
    with pytest.raises((NotSupportedError, LayoutError)):
        sign(archive, signer, identity=NAME)
    assert Path(f"{tmp_path}/a.tar").read_bytes() == before
    with pytest.raises(ValueError, match="at least one signer"):
        sign(f"oci:{images}:one", identity=NAME)


def test_signing_twice_keeps_both(images: Path, signer: signature.SigstoreSigner, tmp_path: Path) -> None:
    """In a directory, too, where signatures are files with numbers."""
    directory = f"dir:{tmp_path}/dir"
    copy.image(ANYTHING, src=f"oci:{images}:one", dest=directory)
    for _ in range(2):
        sign(directory, signer, identity=NAME)
    assert len(stored(directory)) == 2
    assert [one.name for one in sorted(Path(f"{tmp_path}/dir").glob("signature-*"))] == ["signature-1", "signature-2"]


def test_accepted_authors_of_simple_signatures(images: Path, policy: Policy, signer: signature.SigstoreSigner) -> None:
    """Only simple signatures are told one by one; sigstore's are asked about as a whole."""
    sign(f"oci:{images}:one", signer, identity=NAME)
    with parse_image_name(f"oci:{images}:one").new_image_source() as source, PolicyContext(policy) as context:
        assert context.get_signatures_with_accepted_author(UnparsedImage(source)) == ()


def test_a_place_that_cannot_be_written_is_named(images: Path) -> None:
    """Who may read an image and not sign it there is told the directory, and not a name nobody has ever seen."""
    opened = os.open(images, os.O_RDONLY | os.O_DIRECTORY)

    def unprivileged() -> str:
        with pytest.raises(PermissionError) as caught:
            TemporaryFile(opened)
        return str(caught.value.filename)

    try:
        assert in_child(unprivileged, user=NOBODY) == str(images)
    finally:
        os.close(opened)


@pytest.mark.parametrize(
    ("beside", "accepted"),
    [
        ((), 1),
        ((signature.InsecureAcceptAnything(),), 1),
        ((signature.SignedBaseLayer(base_layer_identity=signature.MatchExact()),), 1),
        ((signature.Reject(),), 0),
    ],
    ids=["alone", "accept anything", "a base layer", "reject"],
)
def test_what_is_said_of_authors(tmp_path: Path, beside: tuple[Any, ...], accepted: int) -> None:
    """What has no opinion about authors refuses none, as in containers/image; that the image may run is not said."""
    scene = Scene(tmp_path)
    scene.verify(scene.by_openpgp(), scene.simple())
    policy = Policy(requirements=[scene.by_openpgp(), *beside])
    with parse_image_name(f"dir:{scene.path}").new_image_source() as source, PolicyContext(policy) as context:
        assert len(context.get_signatures_with_accepted_author(UnparsedImage(source))) == accepted
