"""Copies that sign, encrypt, decrypt, recompress, select and bring referrers at once: what holds for any of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from builders import Store
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_signatures import bundled, cosigned, document_at, entries, one_of_each, sign, signatures
from recipients import private_pem, public_pem

from ocikit.errors import OCIKitError
from ocikit.image import Policy, SystemContext, copy, layout
from ocikit.image.attachment_manifest import signed_digest
from ocikit.image.copy import CopyOptions, ImageListSelection, SparseManifestListAction
from ocikit.image.encryption import DecryptConfig, EncryptConfig
from ocikit.image.stored_signature import (
    SIGSTORE_PAYLOAD,
    SigstoreSignature,
    StoredSignature,
    parse_signature,
    signature_digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.copy import CopyResult
    from ocikit.image.reference import Named
    from ocikit.spec import Digest

ANY = Policy.insecure_accept_anything()
SEALED = CopyOptions(
    oci_encrypt_config=EncryptConfig.from_public_key(public_pem("P-256")),
    oci_encrypt_layers=(),
    image_list_selection=ImageListSelection.ALL,
)
KEYS = DecryptConfig.from_private_key(private_pem("P-256"))
OTHERS = EncryptConfig.from_public_key(public_pem("P-384"))
#: What a layer begins with that is not encrypted: gzip, zstd.
PLAIN = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")


@frozen
class _Signer:
    description: str = "a signer"

    def sign(self, digest: Digest, docker_reference: Named) -> StoredSignature:
        return parse_signature(cosigned(str(digest), "added", str(docker_reference)))


#: What a copy may be asked for, each by itself.
ASKED: tuple[dict[str, Any], ...] = (
    {"signers": (_Signer(),), "sign_identity": "example.com/app:1"},
    {"remove_signatures": True},
    {"remove_list_signatures": True},
    {"referrers": True},
    {"oci_encrypt_config": OTHERS, "oci_encrypt_layers": ()},
    {"oci_decrypt_config": KEYS},
    {"destination_ctx": SystemContext(compression_format="zstd")},
    {"sparse_manifest_list_action": SparseManifestListAction.STRIP_SPARSE},
    {"verify_diff_ids": True},
    {"link_blobs": True},
    {"optimize_destination_image_already_exists": True},
)
SIGNED = ("index", "image", "states")


def _source(place: Path, signed: set[str], *, sealed: bool) -> tuple[str, str, str]:
    """Write an index with two images; return its name, its digest and that of the first image."""
    store = Store()
    images = [
        store.image({name: b"a"}) | {"platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64")
    ]
    at = store.layout(place / "plain", {"v1": store.index(*images)})
    if sealed:
        copy.image(ANY, dest=f"oci:{place}/sealed:v1", src=f"oci:{at}:v1", options=SEALED)
        at = place / "sealed"
    name, index = f"oci:{at}:v1", entries(at)[0]["digest"]
    first: str = document_at(at, index)["manifests"][0]["digest"]
    if "index" in signed:
        sign(name, *one_of_each(index))
    if "image" in signed:
        sign(name, *one_of_each(first), instance=first)
    if "states" in signed:
        sign(name, bundled(index, predicate="https://slsa.dev/provenance/v1"))
    return name, index, first


def _outcome(done: Callable[..., Any], **arguments: Any) -> Any:
    try:
        return done(ANY, **arguments)
    except OCIKitError as error:
        return type(error)


def _of(result: CopyResult, dest: str) -> Iterator[tuple[str, set[bytes]]]:
    """Yield what was written, with the signatures that it has there."""
    yield result.digest, set(signatures(dest))
    for digest in result.instances:
        yield digest, set(signatures(dest, digest))


def _claims(blobs: set[bytes]) -> set[str]:
    parsed = (one for one in map(parse_signature, blobs) if isinstance(one, SigstoreSignature))
    return {str(signed_digest(one.payload)) for one in parsed if one.media_type == SIGSTORE_PAYLOAD}


def _files(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@settings(max_examples=60, deadline=None)
@given(
    asked=st.sets(st.sampled_from(range(len(ASKED)))),
    signed=st.sets(st.sampled_from(SIGNED)),
    sealed=st.booleans(),
    selection=st.sampled_from([ImageListSelection.ALL, ImageListSelection.SYSTEM]),
    form=st.sampled_from(["oci:{}/out:v1", "oci-archive:{}/out.tar:v1", "dir:{}/out"]),
)
def test_what_holds_for_any_copy(
    *, asked: set[int], signed: set[str], sealed: bool, selection: ImageListSelection, form: str
) -> None:
    """Plans foretell it; no signature is lost or moved, nothing signed changes, nothing is plain that must not be."""
    wanted: dict[str, Any] = {"image_list_selection": selection}
    for number in sorted(asked):
        wanted |= ASKED[number]
    options = CopyOptions(**wanted)
    with tempfile.TemporaryDirectory() as directory:
        place, dest = Path(directory), form.format(directory)
        name, index, first = _source(place, signed, sealed=sealed)
        before = _files(place)
        planned = _outcome(copy.plan, dest=dest, src=name, options=options)
        assert _files(place) == before
        for _ in range(2):  # and once more onto what is there
            result = _outcome(copy.image, dest=dest, src=name, options=options)
            if isinstance(planned, type):
                assert result is planned
                return
            assert not isinstance(result, type)
            assert planned.referrers == result.referrers
            _check_signatures(result, dest, options, {index: signatures(name), first: signatures(name, first)})
        if "oci_encrypt_layers" in wanted or (sealed and "oci_decrypt_config" not in wanted):
            assert not any(data.startswith(PLAIN) for path in place.glob("out*") for data in _files(path).values())
        if form.startswith("oci:"):
            assert layout.fsck(place / "out").ok
        assert {path: data for path, data in _files(place).items() if path in before} == before


def _check_signatures(result: CopyResult, dest: str, options: CopyOptions, was: dict[str, tuple[bytes, ...]]) -> None:
    index = next(iter(was))
    for digest, found in _of(result, dest):
        assert _claims(found) <= {digest}
        kept = set() if options.remove_signatures else set(was.get(digest, ()))
        if digest == index and options.remove_list_signatures:
            kept = set()
        added = {cosigned(digest, "added", "example.com/app:1")} if options.signers else set()
        assert found == kept | added
        assert set(map(signature_digest, found)) <= set(result.signatures)
    written = {str(result.digest), *map(str, result.instances)}
    is_all = options.image_list_selection is ImageListSelection.ALL
    for digest, blobs in was.items():
        may_go = options.remove_signatures or (digest == index and options.remove_list_signatures)
        assert digest in written or not blobs or may_go or not (is_all or digest != index)
