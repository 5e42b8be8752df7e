"""Bundles that refer to images in registries: which of them are signatures, and what they may cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from docker_images import an_image, context, push

from ocikit.errors import PolicyRequirementError
from ocikit.image import Policy, parse_image_name, sign, signature, verify
from ocikit.image.bundle_manifest import PREDICATE_TYPE_KEY, bundle_manifest
from ocikit.image.stored_signature import BUNDLE, SIGSTORE_PAYLOAD, SigstoreSignature
from ocikit.spec import Descriptor, Digest, Index, Manifest
from ocikit.testing import Features, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
TEAM = "team/app"


class Signed:
    """An image with a bundle that signs it, in a registry whose lists of referrers are in tags, as clients keep them.

    Args:
        registry: The registry.
        directory: For what is needed beside it.
    """

    def __init__(self, registry: Registry, directory: Path) -> None:
        self.registry = registry
        self.sys = context(directory / "conf", registry)
        (directory / "conf/empty/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
        key = signature.PrivateKey.generate()
        self.name = f"docker://{registry.address}/{TEAM}:1"
        self.policy = Policy(requirements=[signature.SigstoreSigned(key_data=key.public_key.pem)])
        source = an_image(directory / "images")
        sign(source, signature.SigstoreBundleSigner(key), identity=self.name.removeprefix("docker://"))
        push(source, self.name, self.sys)
        with parse_image_name(self.name).new_image_source(self.sys) as opened:
            self.manifest, _ = opened.get_manifest()
            self.signatures = opened.get_signatures()
        media_type = "application/vnd.oci.image.manifest.v1+json"
        self.image = Descriptor(media_type=media_type, digest=Digest.from_bytes(self.manifest), size=len(self.manifest))

    def add(self, content: bytes, **annotations: str) -> Descriptor:
        """Attach something that looks like a bundle; return its entry."""
        made, blobs = bundle_manifest(SigstoreSignature(media_type=BUNDLE, payload=content), self.image)
        parsed = Manifest.from_json(made)
        made = evolve(parsed, annotations={**parsed.annotations, **annotations}).to_json()
        for blob in blobs:
            self.registry.add_blob(TEAM, blob)
        self.registry.add_manifest(TEAM, None, made, self.image.media_type)
        return evolve(self.image, digest=Digest.from_bytes(made), size=len(made), artifact_type=BUNDLE)

    def list(self, *more: Descriptor) -> None:
        """Add entries to the list that is in a tag."""
        tag = f"sha256-{self.image.digest.hex}"
        there = Index.from_json(self.registry.manifest(TEAM, tag) or b"").manifests
        listed = Index(media_type=INDEX, manifests=(*more, *there)).to_json()
        self.registry.add_manifest(TEAM, tag, listed, INDEX)

    def verified(self) -> Any:
        """Say who signed it."""
        return verify(self.name, self.policy, sys=self.sys).signatures


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Signed]:
    """The image."""
    with Registry(features=Features(referrers=False)) as registry:
        yield Signed(registry, tmp_path)


def test_what_was_deleted_is_in_nobodys_way(signed: Signed) -> None:
    """A list that clients keep still names a bundle that is gone: the signature that is there counts."""
    signed.list(evolve(signed.image, digest=Digest.from_bytes(b"gone"), size=4, artifact_type=BUNDLE))
    assert len(signed.verified()) == 1


def test_statements_about_something_else_are_no_signatures(signed: Signed) -> None:
    """However many say how the image was built, they take no place from who signed it."""
    provenance = {PREDICATE_TYPE_KEY: "https://slsa.dev/provenance/v1"}
    signed.list(*(signed.add(json.dumps({"n": n}).encode(), **provenance) for n in range(130)))
    assert len(signed.verified()) == 1
    with parse_image_name(signed.name).new_image_source(signed.sys) as source:
        assert source.get_signatures() == signed.signatures


def test_large_signatures_arrive_whole(signed: Signed) -> None:
    """What comes in several pieces is put together: bundles with what logs prove have more than one."""
    signs = {PREDICATE_TYPE_KEY: "https://sigstore.dev/cosign/sign/v1"}
    large = json.dumps({"fill": "x" * 1_000_000}).encode()
    signed.list(signed.add(large, **signs))
    with parse_image_name(signed.name).new_image_source(signed.sys) as source:
        found = source.get_signatures()
    assert SigstoreSignature(media_type=BUNDLE, payload=large).to_blob() in found
    with parse_image_name(signed.name).new_image_destination(signed.sys) as writing:
        attached = SigstoreSignature(media_type=SIGSTORE_PAYLOAD, payload=large, annotations={"n": "1"}).to_blob()
        writing.put_manifest(signed.manifest)
        writing.put_signatures((attached,))
        writing.commit()
    with parse_image_name(signed.name).new_image_source(signed.sys) as source:
        assert attached in source.get_signatures()


@pytest.mark.parametrize(("count", "size"), [(130, 10), (9, 4_000_000)])
def test_bundles_are_bounded(signed: Signed, count: int, size: int) -> None:
    """They are held in memory before the first is verified: not more than 128, and not more than 32 MiB."""
    signs = {PREDICATE_TYPE_KEY: "https://sigstore.dev/cosign/sign/v1"}
    signed.list(*(signed.add(json.dumps({"n": n, "fill": "x" * size}).encode(), **signs) for n in range(count)))
    with pytest.raises(PolicyRequirementError, match=r"cannot be read: .*limit 33,554,432"):
        signed.verified()


def test_candidates_are_bounded(signed: Signed) -> None:
    """What may be a bundle has to be asked for, one by one."""
    nothing = (evolve(signed.image, digest=Digest.from_bytes(b"%d" % n), size=1) for n in range(1000))
    signed.list(*nothing)
    with pytest.raises(PolicyRequirementError, match=r"may be signatures.*limit 1,000"):
        signed.verified()
