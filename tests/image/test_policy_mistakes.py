"""Mistakes of whoever writes policies, in Python or as a file: refused when they are made, not when an image comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import Store

from ocikit.errors import InvalidPolicyError, PolicyRequirementError
from ocikit.image import Policy, sign, verify
from ocikit.image.signature import (
    ExactReference,
    ExactRepository,
    Fulcio,
    MatchRepository,
    Pki,
    PrivateKey,
    Reject,
    RemapIdentity,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
    SigstoreSigner,
)

PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
NOT_BYTES = r"expected bytes \(not base64 of them\), found "
NOT_AN_IDENTITY = r"expected a signed identity, such as MatchRepository\(\), found "

#: A class, what it is given, where that is wrong, and why.
MISTAKES: list[tuple[type, dict[str, Any], str, str]] = [
    (SigstoreSigned, {"key_path": PEM}, "$.keyPath", "expected the name of a file, found PEM"),
    (SigstoreSigned, {"key_path": b"team.pub"}, "$.keyPath", "expected the name of a file, found bytes"),
    (SigstoreSigned, {"key_paths": "team.pub"}, "$.keyPaths", "expected a list of names of files, found str"),
    (SigstoreSigned, {"key_paths": Path("team.pub")}, "$.keyPaths", "expected a list of .*, found PosixPath"),
    (SigstoreSigned, {"key_paths": [PEM]}, "$.keyPaths", "expected names of files, found PEM"),
    (SigstoreSigned, {"key_data": PEM}, "$.keyData", f"{NOT_BYTES}str"),
    (SigstoreSigned, {"key_datas": b"key"}, "$.keyDatas", "expected a list of bytes .*, found bytes"),
    (SigstoreSigned, {"key_datas": [PEM]}, "$.keyDatas", f"{NOT_BYTES}str"),
    (SigstoreSigned, {"fulcio": "caPath"}, "$.fulcio", r"expected Fulcio\(…\), found str"),
    (SigstoreSigned, {"pki": {"caRootsPath": "x"}}, "$.pki", r"expected Pki\(…\), found dict"),
    (SigstoreSigned, {"key_path": "k", "rekor_public_key_data": PEM}, "$.rekorPublicKeyData", f"{NOT_BYTES}str"),
    (SigstoreSigned, {"key_path": "k", "signed_identity": None}, "$.signedIdentity", f"{NOT_AN_IDENTITY}NoneType"),
    (SignedBy, {"key_path": "k", "signed_identity": "matchExact"}, "$.signedIdentity", f"{NOT_AN_IDENTITY}str"),
    (
        SignedBy,
        {"key_path": "k", "signed_identity": MatchRepository},
        "$.signedIdentity",
        f"{NOT_AN_IDENTITY}the class MatchRepository",
    ),
    (SignedBaseLayer, {"base_layer_identity": "x"}, "$.baseLayerIdentity", f"{NOT_AN_IDENTITY}str"),
    (Fulcio, {"ca_path": "x", "oidc_issuer": b"i", "subject_email": "e"}, "$.oidcIssuer", "expected text, found bytes"),
    (Pki, {"ca_roots_path": "x", "subject_email": ["e"]}, "$.subjectEmail", "expected text, found list"),
    (ExactReference, {"docker_reference": 7}, "$.dockerReference", "expected text, found int"),
    (ExactRepository, {"docker_repository": None}, "$.dockerRepository", "expected text, found NoneType"),
    (RemapIdentity, {"prefix": 7, "signed_prefix": "a.b"}, "$.prefix", "expected text, found int"),
    (Policy, {"requirements": Reject()}, "$.requirements", "expected a list of requirements, found Reject"),
    (Policy, {"requirements": "reject"}, "$.requirements", "expected a list of requirements, found str"),
]

#: What is given for the transports of a policy, where that is wrong, and why.
SCOPES: list[tuple[Any, str, str]] = [
    (["oci"], "$.transports", "expected a mapping of transports and their scopes, found list"),
    ({"oci": [Reject()]}, "$.transports.oci", "expected a mapping of scopes and their requirements, found list"),
    ({"oci": {"": Reject()}}, "$.transports.oci['']", "expected a list of requirements, found Reject"),
    ({"oci": {Path("/srv"): [Reject()]}}, "$.transports.oci", "expected text as the names of scopes, found PosixPath"),
]


@pytest.mark.parametrize(("kind", "given", "path", "reason"), MISTAKES)
def test_what_is_of_another_kind(kind: type, given: dict[str, Any], path: str, reason: str) -> None:
    """A value of another kind is refused by the constructor, with the key that it would have in a file."""
    with pytest.raises(InvalidPolicyError, match=reason) as caught:
        kind(**given)
    assert caught.value.path == path


@pytest.mark.parametrize(("transports", "path", "reason"), SCOPES)
def test_scopes_of_another_kind(transports: Any, path: str, reason: str) -> None:
    """So are transports and scopes that are no mappings."""
    with pytest.raises(InvalidPolicyError, match=reason) as caught:
        Policy(requirements=[Reject()], transports=transports)
    assert caught.value.path == path


def test_documents_that_are_none() -> None:
    """What was read already is no document; PEM where base64 of it belongs is told apart from damage."""
    with pytest.raises(TypeError, match=r"policy.json: expected a document, text or bytes, found dict"):
        Policy.from_bytes({"default": [{"type": "reject"}]})  # type: ignore[arg-type]
    with pytest.raises(InvalidPolicyError, match="not base64, but PEM: base64 of all of it is expected"):
        Policy.from_bytes(json.dumps({"default": [{"type": "sigstoreSigned", "keyData": PEM}]}))


def test_a_tag_behind_a_repository_counts_for_nothing(tmp_path: Path) -> None:
    """Files may have one, as for containers/image; whoever asks what the policy asks is told."""
    exact = ExactRepository(docker_repository="registry.example.com/app:1")
    policy = Policy(requirements=[SigstoreSigned(key_path="team.pub", signed_identity=exact)])
    asked = policy.explain(f"oci:{tmp_path}:1").requirements[0].asks
    assert "in the repository registry.example.com/app, whatever the tag (what registry.example.com/app:1 has" in asked


def test_where_a_relative_name_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in a policy are relative to the working directory; who is in another one is told."""
    store = Store()
    place = store.directory(tmp_path / "image", store.image(platform=False))
    policy = Policy(requirements=[SigstoreSigned(key_path="team.pub")])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyRequirementError, match=f"team.pub cannot be read in {tmp_path}: No such file"):
        verify(f"dir:{place}", policy)
    with pytest.raises(
        PolicyRequirementError, match=r"\(require_signatures\); sigstoreSigned and signedBy ask for one"
    ):
        verify(f"dir:{place}", Policy.insecure_accept_anything())


def test_one_reason_is_said_once(tmp_path: Path) -> None:
    """Signatures that are refused for the same reason are refused in one sentence, however many there are."""
    store = Store()
    place = f"oci:{store.layout(tmp_path / 'images', {'1': store.image(platform=False)})}:1"
    stranger = SigstoreSigner(PrivateKey.generate())
    key = PrivateKey.generate().public_key.pem
    exact = ExactReference(docker_reference="registry.example.com/app:1")
    policy = Policy(requirements=[SigstoreSigned(key_data=key, signed_identity=exact)])
    logged = Policy(requirements=[SigstoreSigned(key_data=key, rekor_public_key_data=key, signed_identity=exact)])
    said = []
    for _ in range(4):
        sign(place, stranger, identity="registry.example.com/app:1")
        with pytest.raises(PolicyRequirementError) as caught:
            verify(place, policy)
        said.append(str(caught.value).partition("(keyData): ")[2])
    assert said[0].startswith("signature 1: the signature was not made by the key")
    assert said[1].startswith("signatures 1, 2: the signature was not made by the key")
    assert said[3].startswith("signatures 1, 2, 3 and 1 more: the signature was not made by the key")
    assert {text.count("was not made") for text in said} == {1}
    with pytest.raises(PolicyRequirementError, match="is missing: it was not entered in a transparency log"):
        verify(place, logged)
