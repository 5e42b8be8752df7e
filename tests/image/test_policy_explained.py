"""Policies explain themselves, and those made in Python are held to the rules of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocikit.errors import InvalidPolicyError, InvalidReferenceError
from ocikit.image import Policy
from ocikit.image.signature import (
    ExactRepository,
    Fulcio,
    InsecureAcceptAnything,
    MatchExact,
    Pki,
    Reject,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)

REPOSITORY = "registry.example.com/team/app"
EXACT = ExactRepository(docker_repository=REPOSITORY)


def test_the_scope_that_counts_and_what_it_asks(tmp_path: Path) -> None:
    """Every scope that could count is listed, the one that does is marked, each requirement is in words."""
    place = tmp_path.resolve() / "images"
    policy = Policy(
        requirements=[Reject()],
        transports={
            "oci": {
                str(tmp_path.resolve()): [SignedBy(key_path=Path("/keys/a.gpg"), signed_identity=EXACT)],
                "": [InsecureAcceptAnything()],
            }
        },
    )
    explanation = policy.explain(f"oci:{place}:app:1")
    assert explanation.scope == f"oci:{tmp_path.resolve()}"
    assert [scope for scope, is_there in explanation.looked_for if is_there] == [
        explanation.scope,
        "oci:",
        "default",
    ]
    assert explanation.looked_for[0] == (f"oci:{place}", False)
    (asked,) = explanation.requirements
    assert asked.kind == "signedBy"
    assert asked.never_met_because is None
    assert explanation.asks_for_signatures
    assert not explanation.accepts_anything
    text = str(explanation)
    assert f"scope    {explanation.scope}: counts" in text
    assert f"{place}: not in the policy" in text
    assert "OpenPGP" in text
    assert "/keys/a.gpg" in text
    assert "registry.example.com/team/app" in text
    assert "/keys/a.gpg" in explanation._repr_html_()


def test_what_can_never_be_met_is_said() -> None:
    """A requirement that no signature could meet is named before anybody is refused at night."""
    policy = Policy(
        requirements=(
            SignedBy(key_path="/k"),
            SignedBy(key_type="X509Certificates", key_path="/k", signed_identity=EXACT),
            SignedBaseLayer(base_layer_identity=MatchExact()),
            SigstoreSigned(key_path="/k", signed_identity=EXACT),
        )
    )
    reasons = [one.never_met_because for one in policy.explain("oci:/images:a").requirements]
    assert reasons[0] is not None
    assert "no name in a registry" in reasons[0]
    assert reasons[1] is not None
    assert "reserved" in reasons[1]
    assert reasons[2] is not None
    assert "never defined" in reasons[2]
    assert reasons[3] is None
    assert "can never be met" in str(policy.explain("oci:/images:a"))
    # Archives of docker save know what their images are called.
    assert policy.explain("docker-archive:/a.tar:app:1").requirements[0].never_met_because is None


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (InsecureAcceptAnything(), "every image is allowed"),
        (Reject(), "no image is allowed"),
        (SignedBy(key_data=b"k", signed_identity=EXACT), "a key of the policy itself (keyData)"),
        (SignedBy(key_paths=["/a", "/b"], signed_identity=EXACT), "/a or /b"),
        (SigstoreSigned(key_datas=[b"k"], rekor_public_key_path="/r"), "is in the transparency log"),
        (
            SigstoreSigned(
                fulcio=Fulcio(ca_path="/ca.pem", oidc_issuer="https://id.example", subject_email="a@example.com"),
                rekor_public_key_data=b"k",
            ),
            "a@example.com (by a certificate that /ca.pem gave by way of https://id.example)",
        ),
        (
            SigstoreSigned(pki=Pki(ca_roots_path="/r", subject_email="a@b.example", subject_hostname="h.example")),
            "a@b.example and h.example",
        ),
    ],
)
def test_requirements_in_words(requirement: object, words: str) -> None:
    """Each kind says who has to have signed."""
    policy = Policy(requirements=[requirement])  # type: ignore[list-item]
    (asked,) = policy.explain("oci:/images:a").requirements
    assert words in asked.asks


def test_what_is_asked_about_has_to_be_an_image() -> None:
    """A name that is none is told as everywhere."""
    with pytest.raises(InvalidReferenceError):
        Policy.reject().explain("nonsense")


@pytest.mark.parametrize(
    ("transports", "path"),
    [
        ({"oci": {"relative/path": [Reject()]}}, '$.transports.oci["relative/path"]'),
        ({"dir": {"/a/": [Reject()]}}, '$.transports.dir["/a/"]'),
        ({"oci": {"/a": []}}, "$.transports.oci['/a']"),
        ({"oci": {"/a": ["reject"]}}, "$.transports.oci['/a'][0]"),
    ],
)
def test_policies_made_in_python_are_held_to_the_rules(
    transports: dict[str, dict[str, list[Reject]]], path: str
) -> None:
    """A scope that never matches, an empty list, something that is no requirement: refused with its place."""
    with pytest.raises(InvalidPolicyError) as caught:
        Policy(requirements=[Reject()], transports=transports)
    assert caught.value.path == path


def test_scopes_of_unknown_transports_are_kept() -> None:
    """As in files: one policy serves several programs."""
    policy = Policy(requirements=[Reject()], transports={"atomic": {"x y": [InsecureAcceptAnything()]}})
    assert Policy.from_bytes(policy.to_json()) == policy


def test_a_policy_of_python_values_is_the_one_of_the_file() -> None:
    """Lists and paths do as well as tuples and strings, and what is written is read again as the same."""
    made = Policy(
        requirements=[SignedBy(key_paths=[Path("/a"), "/b"], signed_identity=EXACT)],
        transports={"oci": {"": [SigstoreSigned(key_datas=[b"k"])]}},
    )
    assert Policy.from_bytes(made.to_json()) == made
    with pytest.raises(InvalidPolicyError, match=r"\$\.requirements\[0\]: expected a requirement"):
        Policy(requirements=["reject"])  # type: ignore[list-item]
    with pytest.raises(InvalidPolicyError, match="must not be empty"):
        Policy(requirements=[])


def test_nothing_of_what_is_asked_is_cut() -> None:
    """Who may sign and what they call the image stand at the end of long lines, which are shown whole."""
    authority = Fulcio(
        ca_path=f"/etc/containers/{'a' * 200}.pem", oidc_issuer="https://id.example", subject_email="a@example.com"
    )
    asked = SigstoreSigned(fulcio=authority, rekor_public_key_path="/r", signed_identity=EXACT)
    explanation = Policy(requirements=[asked]).explain("oci:/images:a")
    for shown in (str(explanation), explanation._repr_html_()):
        assert f"by way of https://id.example) that calls the image something in the repository {REPOSITORY}" in shown
        assert "is in the transparency log" in shown
