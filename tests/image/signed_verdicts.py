"""Signatures and policies on which every program should have one verdict, right and wrong in ways that they share.

What is wrong in ways that only some programs mind is in ``test_refusals.py``.
"""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING, Any

from authorities import NOW, SERVER, Authority, Log, key_usage, new_key, public_pem
from openpgp_maker import Key, certificate
from signed_scene import CALLED, CERTIFICATE, DAY, EMAIL, HOST, NAME, PROVIDER, REPOSITORY, SIGNATURE, TODAY, annotated

from ocikit.image.signature import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    Pki,
    PrivateKey,
    SigstoreSigned,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from signed_scene import Scene

    from ocikit.image.signature import SignedIdentity

    Asked = tuple[Any, ...]
    Maker = Callable[[Scene], Asked]

#: What it is: whether it is accepted, and what makes a requirement (or several) and signatures of the scene.
VERDICTS: dict[str, tuple[bool, Maker]] = {}


def verdict(about: str, *, good: bool) -> Callable[[Maker], Maker]:
    """Put a maker of a requirement and signatures into the table."""

    def put(maker: Maker) -> Maker:
        VERDICTS[about] = (good, maker)
        return maker

    return put


def says(about: str, /, *, good: bool = False, **changed: Any) -> None:
    """Put in a signature of sigstore by the right key that says something else."""
    VERDICTS[about] = (good, lambda s: (s.by_key(), s.sigstore(s.payload(**changed))))


def called(about: str, /, identity: SignedIdentity, *, good: bool) -> None:
    """Put in a good signature for a policy that wants the image to be called something."""
    VERDICTS[about] = (
        good,
        lambda s: (SigstoreSigned(key_data=s.key.public_key.pem, signed_identity=identity), s.sigstore()),
    )


def owned(about: str, /, *, good: bool, wanted: dict[str, str] | None = None, **options: Any) -> None:
    """Put in a certificate of an authority of one's own."""
    VERDICTS[about] = (good, lambda s: (s.by_pki(**(wanted or {})), s.by_certificate(s.owned(**options))))


def given(about: str, /, *, good: bool, at: dt.timedelta = dt.timedelta(), **options: Any) -> None:
    """Put in a short-lived certificate, logged at some distance from when it was given."""
    VERDICTS[about] = (good, lambda s: (s.by_fulcio(), s.certified(s.given(**options), at=NOW + at)))


def simple(about: str, /, *, good: bool, options: dict[str, Any] | None = None, **changed: Any) -> None:
    """Put in a simple signature."""
    VERDICTS[about] = (
        good,
        lambda s: (s.by_openpgp(), s.simple(document_of=s.simple_document(**changed), **(options or {}))),
    )


says("a payload as it should be", good=True)
says("more members, optional", good=True, optional={"creator": "somebody", "timestamp": 1, "more": [1, {"a": None}]})
says("another digest", critical={"image": {"docker-manifest-digest": "sha256:" + "0" * 64}})
says("no digest", critical={"image": {}})
says("another type", type="atomic container signature")
says("another repository", name="registry.example.com/team/other:1")
says("a repository below", name=f"{REPOSITORY}/more:1")
says("a name without a tag", good=True, name=REPOSITORY)
says("no name", name="")
says("more members, critical", critical={"more": 1})
says("more members, outside", more=1)
says("a time that is text", optional={"timestamp": "1"})
says("a time that is a fraction", optional={"timestamp": 1.5})
says("a creator that is a number", optional={"creator": 1})
called("the repository", ExactRepository(docker_repository=REPOSITORY), good=True)
called("another one", ExactRepository(docker_repository="registry.example.com/team/other"), good=False)
called("the reference", ExactReference(docker_reference=NAME), good=True)
called("the reference with another tag", ExactReference(docker_reference=f"{REPOSITORY}:2"), good=False)
called("what has no name here", MatchRepoDigestOrExact(), good=False)
called("what has none, exactly", MatchExact(), good=False)
called("what has none, by its repository", MatchRepository(), good=False)
owned("own authority", good=True)
owned("for signatures", good=True, usage=key_usage("digital_signature"))
owned("of no stated purpose", good=True, purposes=None)
owned("another mail address", good=False, emails=["other@example.com"])
owned("a mail address in capitals", good=False, emails=[EMAIL.upper()])
owned("one of two mail addresses", good=True, emails=["other@example.com", EMAIL])
owned("for servers", good=False, purposes=(SERVER,))
owned("no more valid", good=False, begins=TODAY - 3 * DAY, ends=TODAY - 2 * DAY)
owned("not yet valid", good=False, begins=TODAY + 2 * DAY, ends=TODAY + 3 * DAY)
owned("a host", good=True, wanted={"subject_hostname": HOST}, hosts=[HOST])
owned("a host by a wildcard", good=True, wanted={"subject_hostname": HOST}, hosts=["*.example.com"])
owned("another host", good=False, wanted={"subject_hostname": HOST}, hosts=["other.example.com"])
owned("host and mail", good=True, wanted={"subject_hostname": HOST, "subject_email": EMAIL}, hosts=[HOST])
owned("the host alone", good=False, wanted={"subject_hostname": HOST, "subject_email": EMAIL}, hosts=[HOST], emails=[])
given("a short-lived certificate", good=True)
given("logged too late", good=False, at=dt.timedelta(hours=1))
given("logged too early", good=False, at=dt.timedelta(hours=-1))
given("another person", good=False, emails=["other@example.com"])
given("one of two people", good=True, emails=["other@example.com", EMAIL])
given("a person and a host", good=True, hosts=[HOST])
given("of Fulcio, of no stated purpose", good=True, purposes=None)
given("another identity provider", good=False, identity_provider="https://other.example.com")
given("no identity provider", good=False, identity_provider=None)
simple("a simple signature", good=True)
simple("a simple one, another name", good=False, name="registry.example.com/team/other:1")
simple("a simple one, another digest", good=False, critical={"image": {"docker-manifest-digest": "sha256:" + "0" * 64}})
simple("a simple one, of sigstore's type", good=False, type="cosign container image signature")
simple("a simple one, another key", good=False, options={"key": Key(number=1)})


@verdict("no signature", good=False)
def _(s: Scene) -> Asked:
    return (s.by_key(),)


@verdict("another key", good=False)
def _(s: Scene) -> Asked:
    return s.by_key(), s.sigstore(key=PrivateKey(new_key()))


@verdict("over other bytes", good=False)
def _(s: Scene) -> Asked:
    return s.by_key(), s.sigstore(signed=s.payload() + b" ")


@verdict("a bad one before a good one", good=True)
def _(s: Scene) -> Asked:
    return s.by_key(), s.sigstore(s.payload(name="example.com/other:1")), s.sigstore()


@verdict("line breaks in the signature", good=True)
def _(s: Scene) -> Asked:
    payload = s.payload()
    made = base64.encodebytes(s.key.sign(payload)).decode()
    return s.by_key(), annotated(payload, b"", {SIGNATURE: made})


@verdict("one of several keys", good=True)
def _(s: Scene) -> Asked:
    keys = (public_pem(new_key()), s.key.public_key.pem)
    return SigstoreSigned(key_datas=keys, signed_identity=CALLED), s.sigstore()


@verdict("none of several keys", good=False)
def _(s: Scene) -> Asked:
    keys = (public_pem(new_key()), public_pem(new_key()))
    return SigstoreSigned(key_datas=keys, signed_identity=CALLED), s.sigstore()


@verdict("both of two requirements", good=True)
def _(s: Scene) -> Asked:
    return [s.by_key(), s.by_openpgp()], s.sigstore(), s.simple()


@verdict("one of two requirements", good=False)
def _(s: Scene) -> Asked:
    return [s.by_key(), s.by_openpgp()], s.sigstore()


@verdict("a key that is logged", good=True)
def _(s: Scene) -> Asked:
    return s.by_logged_key(), s.logged()


@verdict("a key that is not logged", good=False)
def _(s: Scene) -> Asked:
    return s.by_logged_key(), s.sigstore()


@verdict("another log", good=False)
def _(s: Scene) -> Asked:
    return s.by_logged_key(), s.logged(log=Log())


@verdict("another payload in the log", good=False)
def _(s: Scene) -> Asked:
    return s.by_logged_key(), s.logged(other={"payload": b"other"})


@verdict("another key in the log", good=False)
def _(s: Scene) -> Asked:
    return s.by_logged_key(), s.logged(other={"verifier_pem": public_pem(new_key())})


@verdict("one of several keys of logs", good=True)
def _(s: Scene) -> Asked:
    keys = (public_pem(new_key()), public_pem(s.log.key))
    return s.by_key(rekor_public_key_datas=keys), s.logged()


@verdict("a short-lived certificate of somebody else", good=False)
def _(s: Scene) -> Asked:
    other = Authority.root("fulcio").issue(emails=[EMAIL], identity_provider=PROVIDER)
    return s.by_fulcio(), s.certified(other)


@verdict("a certificate of an authority below, with it and the root", good=True)
def _(s: Scene) -> Asked:
    below = s.pki.below(begins=TODAY - DAY, ends=TODAY + DAY)
    signer = below.issue(emails=[EMAIL], begins=TODAY - DAY, ends=TODAY + DAY)
    return s.by_pki(), s.by_certificate(signer, chain=below.text + s.pki.text)


@verdict("a certificate of an authority below, which nobody knows", good=False)
def _(s: Scene) -> Asked:
    below = s.pki.below(begins=TODAY - DAY, ends=TODAY + DAY)
    return s.by_pki(), s.by_certificate(below.issue(emails=[EMAIL], begins=TODAY - DAY, ends=TODAY + DAY))


@verdict("a certificate of an authority below, which the policy knows", good=True)
def _(s: Scene) -> Asked:
    below = s.pki.below(begins=TODAY - DAY, ends=TODAY + DAY)
    pki = Pki(ca_roots_data=s.pki.pem, ca_intermediates_data=below.pem, subject_email=EMAIL)
    signer = below.issue(emails=[EMAIL], begins=TODAY - DAY, ends=TODAY + DAY)
    return SigstoreSigned(pki=pki, signed_identity=CALLED), s.by_certificate(signer)


@verdict("a certificate of another key", good=False)
def _(s: Scene) -> Asked:
    payload = s.payload()
    return s.by_pki(), annotated(payload, s.key.sign(payload), {CERTIFICATE: s.owned().text})


@verdict("a keyring of several", good=True)
def _(s: Scene) -> Asked:
    return s.by_openpgp(certificate(Key(number=1)) + certificate(s.openpgp)), s.simple()
