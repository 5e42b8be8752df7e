"""policy.json: what is read, what is refused and where, and that what was read can be written."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ocikit.errors import InvalidPolicyError, PolicyNotFoundError
from ocikit.image import Policy, SystemContext
from ocikit.image.signature import (
    ExactReference,
    ExactRepository,
    Fulcio,
    InsecureAcceptAnything,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    Pki,
    Reject,
    RemapIdentity,
    Requirement,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = base64.b64encode(b"a key").decode()
FULCIO = {"caPath": "/ca.pem", "oidcIssuer": "https://issuer.example", "subjectEmail": "a@example.com"}
PKI = {"caRootsPath": "/roots.pem", "subjectEmail": "a@example.com"}


def default(*requirements: Any) -> dict[str, Any]:
    """Return a policy with these requirements as its default."""
    return {"default": list(requirements)}


def signed_by(**members: Any) -> dict[str, Any]:
    """Return a policy with one signedBy requirement."""
    return default({"type": "signedBy", "keyType": "GPGKeys"} | members)


def sigstore(**members: Any) -> dict[str, Any]:
    """Return a policy with one sigstoreSigned requirement."""
    return default({"type": "sigstoreSigned"} | members)


def identity(**members: Any) -> dict[str, Any]:
    """Return a policy with one signedBy requirement with this signedIdentity."""
    return signed_by(keyPath="/k", signedIdentity=members)


def scoped(transport: str, scope: str, requirements: Any = None) -> dict[str, Any]:
    """Return a policy with one scope."""
    wanted = [{"type": "reject"}] if requirements is None else requirements
    return default({"type": "reject"}) | {"transports": {transport: {scope: wanted}}}


R = '{"type":"reject"}'
WELL_FORMED: list[tuple[Any, Requirement]] = [
    (default({"type": "insecureAcceptAnything"}), InsecureAcceptAnything()),
    (default({"type": "reject"}), Reject()),
    (signed_by(keyPath="/k"), SignedBy(key_type="GPGKeys", key_path="/k")),
    (signed_by(keyPaths=["/k", "/l"]), SignedBy(key_type="GPGKeys", key_paths=("/k", "/l"))),
    (signed_by(keyData=KEY), SignedBy(key_type="GPGKeys", key_data=b"a key")),
    (signed_by(keyData=f"{KEY[:4]}\n{KEY[4:]}\r\n"), SignedBy(key_type="GPGKeys", key_data=b"a key")),
    (signed_by(keyType="signedByGPGKeys", keyPath="/k"), SignedBy(key_type="signedByGPGKeys", key_path="/k")),
    (signed_by(keyType="X509Certificates", keyPath="/k"), SignedBy(key_type="X509Certificates", key_path="/k")),
    (signed_by(keyType="signedByX509CAs", keyPath="/k"), SignedBy(key_type="signedByX509CAs", key_path="/k")),
    (
        identity(type="matchExact"),
        SignedBy(key_type="GPGKeys", key_path="/k", signed_identity=MatchExact()),
    ),
    (
        identity(type="matchRepoDigestOrExact"),
        SignedBy(key_type="GPGKeys", key_path="/k", signed_identity=MatchRepoDigestOrExact()),
    ),
    (
        identity(type="matchRepository"),
        SignedBy(key_type="GPGKeys", key_path="/k", signed_identity=MatchRepository()),
    ),
    (
        identity(type="exactReference", dockerReference="busybox:1"),
        SignedBy(key_type="GPGKeys", key_path="/k", signed_identity=ExactReference(docker_reference="busybox:1")),
    ),
    (
        identity(type="exactReference", dockerReference=f"quay.io:443/a/b@sha256:{'0' * 64}"),
        SignedBy(
            key_type="GPGKeys",
            key_path="/k",
            signed_identity=ExactReference(docker_reference=f"quay.io:443/a/b@sha256:{'0' * 64}"),
        ),
    ),
    (
        identity(type="exactRepository", dockerRepository="quay.io/a/b"),
        SignedBy(key_type="GPGKeys", key_path="/k", signed_identity=ExactRepository(docker_repository="quay.io/a/b")),
    ),
    (
        identity(type="remapIdentity", prefix="mirror.example:5000", signedPrefix="docker.io/library"),
        SignedBy(
            key_type="GPGKeys",
            key_path="/k",
            signed_identity=RemapIdentity(prefix="mirror.example:5000", signed_prefix="docker.io/library"),
        ),
    ),
    (
        default({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}),
        SignedBaseLayer(base_layer_identity=MatchExact()),
    ),
    (sigstore(keyPath="/k"), SigstoreSigned(key_path="/k")),
    (sigstore(keyPaths=["/k"]), SigstoreSigned(key_paths=("/k",))),
    (sigstore(keyData=KEY), SigstoreSigned(key_data=b"a key")),
    (sigstore(keyDatas=[KEY, KEY]), SigstoreSigned(key_datas=(b"a key", b"a key"))),
    (
        sigstore(keyPath="/k", rekorPublicKeyPath="/r"),
        SigstoreSigned(key_path="/k", rekor_public_key_path="/r"),
    ),
    (
        sigstore(keyPath="/k", rekorPublicKeyPaths=["/r"]),
        SigstoreSigned(key_path="/k", rekor_public_key_paths=("/r",)),
    ),
    (
        sigstore(fulcio=FULCIO, rekorPublicKeyData=KEY),
        SigstoreSigned(
            fulcio=Fulcio(ca_path="/ca.pem", oidc_issuer="https://issuer.example", subject_email="a@example.com"),
            rekor_public_key_data=b"a key",
        ),
    ),
    (
        sigstore(
            fulcio={"caData": KEY, "oidcIssuer": "https://i.example", "subjectEmail": "a@b"},
            rekorPublicKeyDatas=[KEY],
            signedIdentity={"type": "matchRepository"},
        ),
        SigstoreSigned(
            fulcio=Fulcio(ca_data=b"a key", oidc_issuer="https://i.example", subject_email="a@b"),
            rekor_public_key_datas=(b"a key",),
            signed_identity=MatchRepository(),
        ),
    ),
    (sigstore(pki=PKI), SigstoreSigned(pki=Pki(ca_roots_path="/roots.pem", subject_email="a@example.com"))),
    (
        sigstore(pki={"caRootsData": KEY, "caIntermediatesPath": "/i", "subjectHostname": "h", "subjectEmail": "a@b"}),
        SigstoreSigned(
            pki=Pki(ca_roots_data=b"a key", ca_intermediates_path="/i", subject_hostname="h", subject_email="a@b")
        ),
    ),
    (
        sigstore(pki={"caRootsPath": "/r", "caIntermediatesData": KEY, "subjectHostname": "h"}),
        SigstoreSigned(pki=Pki(ca_roots_path="/r", ca_intermediates_data=b"a key", subject_hostname="h")),
    ),
]

D = "$.default[0]"
MALFORMED: list[tuple[Any, str]] = [
    # the document
    (b"", "$"),
    (b"{", "$"),
    (b"null", "$"),
    (b"[]", "$"),
    (b'"default"', "$"),
    (b"\xff{}", "$"),
    (b"\xef\xbb\xbf" + json.dumps(default({"type": "reject"})).encode(), "$"),
    (b'{"default":[' + R.encode() + b"]}x", "$"),
    (b"[" * 100_000, "$"),
    (b'{"default":' * 3000, "$"),
    (b'{"default":[' + R.encode() + b'],"transports":{"x":NaN}}', "$"),
    (b" " * (4 * 1024 * 1024 + 1), "$"),
    ({}, "$.default"),
    ({"transports": {}}, "$.default"),
    (default({"type": "reject"}) | {"defaults": []}, "$.defaults"),
    (default({"type": "reject"}) | {"Default": []}, "$.Default"),
    (default({"type": "reject"}) | {"": 1}, '$[""]'),
    (b'{"default":[' + R.encode() + b'],"default":[' + R.encode() + b"]}", "$.default"),
    (b'{"default":[' + R.encode() + b'],"transports":{},"transports":{}}', "$.transports"),
    # lists of requirements
    ({"default": None}, "$.default"),
    ({"default": {}}, "$.default"),
    ({"default": "reject"}, "$.default"),
    ({"default": []}, "$.default"),
    ({"default": 1}, "$.default"),
    ({"default": [None]}, D),
    ({"default": ["reject"]}, D),
    ({"default": [[]]}, D),
    ({"default": [{"type": "reject"}, {}]}, "$.default[1].type"),
    # requirements
    (default({}), f"{D}.type"),
    (default({"type": None}), f"{D}.type"),
    (default({"type": 1}), f"{D}.type"),
    (default({"type": ""}), f"{D}.type"),
    (default({"type": "Reject"}), f"{D}.type"),
    (default({"type": "matchExact"}), f"{D}.type"),
    (default({"Type": "reject"}), f"{D}.type"),
    (default({"type": "reject", "why": ""}), f"{D}.why"),
    (default({"type": "insecureAcceptAnything", "keyPath": "/k"}), f"{D}.keyPath"),
    (b'{"default":[{"type":"reject","type":"reject"}]}', f"{D}.type"),
    (b'{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}', f"{D}.type"),
    # signedBy
    (default({"type": "signedBy", "keyPath": "/k"}), f"{D}.keyType"),
    (signed_by(keyType="", keyPath="/k"), f"{D}.keyType"),
    (signed_by(keyType="GPG", keyPath="/k"), f"{D}.keyType"),
    (signed_by(keyType=None, keyPath="/k"), f"{D}.keyType"),
    (signed_by(), D),
    (signed_by(keyPath="/k", keyPaths=["/k"]), D),
    (signed_by(keyPath="/k", keyData=KEY), D),
    (signed_by(keyPaths=["/k"], keyData=KEY), D),
    (signed_by(keyPath="/k", keyPaths=["/k"], keyData=KEY), D),
    (signed_by(keyPath=""), f"{D}.keyPath"),
    (signed_by(keyPath=1), f"{D}.keyPath"),
    (signed_by(keyPath=None), f"{D}.keyPath"),
    (signed_by(keyPath=["/k"]), f"{D}.keyPath"),
    (signed_by(keyPaths=[]), f"{D}.keyPaths"),
    (signed_by(keyPaths="/k"), f"{D}.keyPaths"),
    (signed_by(keyPaths=["/k", ""]), f"{D}.keyPaths[1]"),
    (signed_by(keyPaths=["/k", 2]), f"{D}.keyPaths[1]"),
    (signed_by(keyData=""), f"{D}.keyData"),
    (signed_by(keyData="%%%"), f"{D}.keyData"),
    (signed_by(keyData="YQ"), f"{D}.keyData"),
    (signed_by(keyData="YQ==\u00e9"), f"{D}.keyData"),
    (signed_by(keyData=True), f"{D}.keyData"),
    (signed_by(keyDatas=[KEY]), f"{D}.keyDatas"),
    (signed_by(keyPath="/k", keyId="x"), f"{D}.keyId"),
    (
        b'{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","keyPath":"/l"}]}',
        f"{D}.keyPath",
    ),
    # signed identities
    (signed_by(keyPath="/k", signedIdentity=None), f"{D}.signedIdentity"),
    (signed_by(keyPath="/k", signedIdentity="matchExact"), f"{D}.signedIdentity"),
    (identity(), f"{D}.signedIdentity.type"),
    (identity(type="matchAnything"), f"{D}.signedIdentity.type"),
    (identity(type="reject"), f"{D}.signedIdentity.type"),
    (identity(type="matchExact", dockerReference="a:1"), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference"), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference", dockerReference=""), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference", dockerReference="busybox"), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference", dockerReference="Busybox:1"), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference", dockerReference="a:1:2"), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference", dockerReference="a@sha256:1"), f"{D}.signedIdentity.dockerReference"),
    (identity(type="exactReference", dockerRepository="a:1"), f"{D}.signedIdentity.dockerRepository"),
    (identity(type="exactRepository"), f"{D}.signedIdentity.dockerRepository"),
    (identity(type="exactRepository", dockerRepository="a//b"), f"{D}.signedIdentity.dockerRepository"),
    (identity(type="exactRepository", dockerRepository="0" * 64), f"{D}.signedIdentity.dockerRepository"),
    (identity(type="remapIdentity", prefix="a.example"), f"{D}.signedIdentity.signedPrefix"),
    (identity(type="remapIdentity", signedPrefix="a.example"), f"{D}.signedIdentity.prefix"),
    (identity(type="remapIdentity", prefix="", signedPrefix="a.example"), f"{D}.signedIdentity.prefix"),
    (identity(type="remapIdentity", prefix="a.example/", signedPrefix="b.example"), f"{D}.signedIdentity.prefix"),
    (identity(type="remapIdentity", prefix="a.example/b:1", signedPrefix="b.example"), f"{D}.signedIdentity.prefix"),
    (identity(type="remapIdentity", prefix="a.example", signedPrefix="b/c@x"), f"{D}.signedIdentity.signedPrefix"),
    # signedBaseLayer
    (default({"type": "signedBaseLayer"}), f"{D}.baseLayerIdentity"),
    (default({"type": "signedBaseLayer", "baseLayerIdentity": {}}), f"{D}.baseLayerIdentity.type"),
    (
        default({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}, "keyPath": "/k"}),
        f"{D}.keyPath",
    ),
    # sigstoreSigned
    (sigstore(), D),
    (sigstore(keyPath="/k", keyData=KEY), D),
    (sigstore(keyPath="/k", fulcio=FULCIO, rekorPublicKeyPath="/r"), D),
    (sigstore(fulcio=FULCIO, pki=PKI, rekorPublicKeyPath="/r"), D),
    (sigstore(keyPaths=[]), f"{D}.keyPaths"),
    (sigstore(keyDatas=[]), f"{D}.keyDatas"),
    (sigstore(keyDatas=[KEY, "?"]), f"{D}.keyDatas[1]"),
    (sigstore(keyDatas=[KEY, ""]), f"{D}.keyDatas[1]"),
    (sigstore(keyType="GPGKeys", keyPath="/k"), f"{D}.keyType"),
    (sigstore(keyPath="/k", rekorPublicKeyPath="/r", rekorPublicKeyData=KEY), D),
    (sigstore(keyPath="/k", rekorPublicKeyPath=""), f"{D}.rekorPublicKeyPath"),
    (sigstore(keyPath="/k", rekorPublicKeyPaths=[]), f"{D}.rekorPublicKeyPaths"),
    (sigstore(keyPath="/k", rekorPublicKeyDatas=[]), f"{D}.rekorPublicKeyDatas"),
    (sigstore(keyPath="/k", signedIdentity=[]), f"{D}.signedIdentity"),
    # fulcio
    (sigstore(fulcio=FULCIO), D),
    (sigstore(fulcio=None, rekorPublicKeyPath="/r"), f"{D}.fulcio"),
    (sigstore(fulcio={}, rekorPublicKeyPath="/r"), f"{D}.fulcio.oidcIssuer"),
    (sigstore(fulcio=FULCIO | {"caData": KEY}, rekorPublicKeyPath="/r"), f"{D}.fulcio"),
    (sigstore(fulcio=FULCIO | {"type": "x"}, rekorPublicKeyPath="/r"), f"{D}.fulcio.type"),
    (sigstore(fulcio=FULCIO | {"oidcIssuer": ""}, rekorPublicKeyPath="/r"), f"{D}.fulcio.oidcIssuer"),
    (sigstore(fulcio=FULCIO | {"subjectEmail": ""}, rekorPublicKeyPath="/r"), f"{D}.fulcio.subjectEmail"),
    (sigstore(fulcio={"oidcIssuer": "i", "subjectEmail": "e"}, rekorPublicKeyPath="/r"), f"{D}.fulcio"),
    (
        sigstore(fulcio={"caPath": "/c", "oidcIssuer": "https://i"}, rekorPublicKeyPath="/r"),
        f"{D}.fulcio.subjectEmail",
    ),
    # pki
    (sigstore(pki=PKI, rekorPublicKeyPath="/r"), f"{D}.rekorPublicKeyPath"),
    (sigstore(pki={}), f"{D}.pki"),
    (sigstore(pki={"caRootsPath": "/r"}), f"{D}.pki"),
    (sigstore(pki={"subjectEmail": "e"}), f"{D}.pki"),
    (sigstore(pki=PKI | {"caRootsData": KEY}), f"{D}.pki"),
    (sigstore(pki=PKI | {"caIntermediatesPath": "/i", "caIntermediatesData": KEY}), f"{D}.pki"),
    (sigstore(pki=PKI | {"subjectHostname": ""}), f"{D}.pki.subjectHostname"),
    (sigstore(pki=PKI | {"caRootsPath": ""}), f"{D}.pki.caRootsPath"),
    (sigstore(pki=PKI | {"subject": "x"}), f"{D}.pki.subject"),
    # transports and scopes
    (default({"type": "reject"}) | {"transports": None}, "$.transports"),
    (default({"type": "reject"}) | {"transports": []}, "$.transports"),
    (default({"type": "reject"}) | {"transports": {"oci": None}}, "$.transports.oci"),
    (default({"type": "reject"}) | {"transports": {"oci": [{"type": "reject"}]}}, "$.transports.oci"),
    (scoped("oci", "", []), '$.transports.oci[""]'),
    (scoped("oci", "/x", {}), '$.transports.oci["/x"]'),
    (scoped("docker", "docker.io/a", []), '$.transports.docker["docker.io/a"]'),
    (scoped("docker", "docker.io/a", [{"type": "rejects"}]), '$.transports.docker["docker.io/a"][0].type'),
    (scoped("future", "any scope", [{"type": "reject", "x": 1}]), '$.transports.future["any scope"][0].x'),
    (
        f'{{"default":[{R}],"transports":{{"docker":{{"a":[{R}],"a":[{R}]}}}}}}'.encode(),
        "$.transports.docker.a",
    ),
    (
        f'{{"default":[{R}],"transports":{{"docker":{{}},"docker":{{}}}}}}'.encode(),
        "$.transports.docker",
    ),
    # scopes that no image of the transport could match
    (scoped("oci", "relative"), "$.transports.oci.relative"),
    (scoped("oci", "/"), '$.transports.oci["/"]'),
    (scoped("oci", "/a/../b"), '$.transports.oci["/a/../b"]'),
    (scoped("oci", "/a/"), '$.transports.oci["/a/"]'),
    (scoped("oci-archive", "relative"), '$.transports["oci-archive"].relative'),
    (scoped("oci-archive", "/"), '$.transports["oci-archive"]["/"]'),
    (scoped("dir", "relative"), "$.transports.dir.relative"),
    (scoped("dir", "/"), '$.transports.dir["/"]'),
    (scoped("dir", "/a/./b"), '$.transports.dir["/a/./b"]'),
]


def as_bytes(document: Any) -> bytes:
    """Return a row's document as it would be on disk."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.mark.parametrize(("document", "expected"), WELL_FORMED)
def test_reads_and_writes_every_kind(document: Any, expected: Requirement) -> None:
    """Every kind of requirement and identity becomes data, and the data is written so that it reads the same."""
    policy = Policy.from_bytes(as_bytes(document))
    assert policy.requirements == (expected,)
    assert Policy.from_bytes(policy.to_json()) == policy


@pytest.mark.parametrize(("document", "path"), MALFORMED)
def test_refuses_with_the_path(document: Any, path: str) -> None:
    """Anything outside the grammar rejects the whole policy, and the error says where the fault is."""
    with pytest.raises(InvalidPolicyError) as caught:
        Policy.from_bytes(as_bytes(document))
    assert caught.value.path == path
    assert caught.value.reason


def test_a_policy_of_everything_survives_writing() -> None:
    """Transports, scopes, several requirements and unknown transports are kept, in order."""
    document = default({"type": "reject"}, {"type": "insecureAcceptAnything"}) | {
        "transports": {
            "oci": {"": [{"type": "insecureAcceptAnything"}], "/srv/images": [{"type": "reject"}]},
            "transport-of-tomorrow": {"not: a scope": [{"type": "reject"}]},
            "dir": {},
        }
    }
    policy = Policy.from_bytes(json.dumps(document))
    assert json.loads(policy.to_json()) == document


def test_the_error_names_the_file(tmp_path: Path) -> None:
    """A malformed file is named in the error, beside the path within it."""
    file = tmp_path / "policy.json"
    file.write_text('{"default": []}')
    with pytest.raises(InvalidPolicyError, match=r"policy\.json: \$\.default: must not be empty"):
        Policy.from_file(file)


def test_a_given_file_that_is_missing() -> None:
    """A policy file that is not there is an error of its own, not an implied policy."""
    with pytest.raises(PolicyNotFoundError, match=r"/nonexistent/policy\.json"):
        Policy.from_file("/nonexistent/policy.json")


def test_default_takes_the_named_file_then_the_users_then_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context's file wins, then the one in the home directory, then the one in /etc below the root."""
    home, root, named = tmp_path / "home", tmp_path / "root", tmp_path / "named.json"
    user, system = home / ".config/containers/policy.json", root / "etc/containers/policy.json"
    monkeypatch.setenv("HOME", str(home))
    context = SystemContext(root_for_implicit_absolute_paths=str(root))
    with pytest.raises(PolicyNotFoundError, match="insecure_accept_anything") as caught:
        Policy.default(context)
    assert str(user) in str(caught.value)
    assert str(system) in str(caught.value)
    system.parent.mkdir(parents=True)
    system.write_bytes(Policy.reject().to_json())
    assert Policy.default(context) == Policy.reject()
    user.parent.mkdir(parents=True)
    user.write_bytes(Policy.insecure_accept_anything().to_json())
    assert Policy.default(context) == Policy.insecure_accept_anything()
    named.write_bytes(Policy.reject().to_json())
    assert Policy.default(SystemContext(signature_policy_path=str(named))) == Policy.reject()


def test_data_made_in_python_is_held_to_the_same_rules() -> None:
    """A requirement that could not be read cannot be made either."""
    with pytest.raises(InvalidPolicyError, match="exactly one of keyPath"):
        SignedBy(key_type="GPGKeys")
    with pytest.raises(InvalidPolicyError, match="keyPaths: must not be empty"):
        SigstoreSigned(key_paths=())
    with pytest.raises(InvalidPolicyError, match="must not be empty"):
        Policy(requirements=())
    with pytest.raises(InvalidPolicyError, match="must not be empty"):
        Policy(requirements=(Reject(),), transports={"oci": {"": ()}})


def test_skopeo_accepts_what_is_written(tmp_path: Path) -> None:
    """containers/image reads a policy that was written here, with every kind it knows."""
    policy = Policy.from_bytes(
        json.dumps(
            default({"type": "insecureAcceptAnything"})
            | {
                "transports": {
                    "docker": {
                        "a.example/b": signed_by(keyData=KEY)["default"],
                        "a.example/c": identity(type="remapIdentity", prefix="a.example", signedPrefix="b.example")[
                            "default"
                        ],
                        "a.example/d": sigstore(keyPath="/k")["default"],
                    },
                    "oci": {"/srv/images": [{"type": "reject"}]},
                }
            }
        )
    )
    file = tmp_path / "policy.json"
    file.write_bytes(policy.to_json())
    result = subprocess.run(
        ["skopeo", "--policy", str(file), "copy", "oci:/nonexistent/layout", f"dir:{tmp_path}/out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nonexistent" in result.stderr
    assert "policy" not in result.stderr.replace(str(file), "")
