"""Whom a certificate is for: identities that Fulcio vouches for, mail addresses and hosts of one's own authority."""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from authorities import (
    ISSUER,
    ISSUER_V2,
    MINUTE,
    NOW,
    SERVER,
    Authority,
    Log,
    der,
    elements,
    extension,
    sign,
    utf8_string,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.fulcio import verify_fulcio
from ocikit.image.signature.sigstore.hostnames import matches
from ocikit.image.signature.sigstore.pki import verify_pki
from ocikit.image.signature.sigstore.rekor import verify_set
from ocikit.image.signature.sigstore.trust import FulcioTrust, PkiTrust, Signatory

if TYPE_CHECKING:
    from collections.abc import Callable

PROVIDER, EMAIL, HOSTNAME = "https://idp.example.com/oauth", "who@example.com", "build.example.com"
ROOT = Authority.root()
BETWEEN = ROOT.below()
FULCIO = FulcioTrust(roots=(ROOT.certificate,), oidc_issuer=PROVIDER, subject_email=EMAIL)
PKI = PkiTrust(roots=(ROOT.certificate,), subject_email=EMAIL, subject_hostname=HOSTNAME)
CHAIN = BETWEEN.text + ROOT.text


def fulcio(*, trust: FulcioTrust = FULCIO, at: dt.datetime = NOW, **leaf: Any) -> Signatory:
    """Verify a certificate of Fulcio, by default one that is right but for what is said."""
    signer = BETWEEN.issue(**{"emails": [EMAIL], "identity_provider": PROVIDER, **leaf})
    return verify_fulcio(signer.text, CHAIN, trust, at=at)


def pki(*, trust: PkiTrust = PKI, at: dt.datetime | None = NOW, **leaf: Any) -> Signatory:
    """Verify a certificate of an authority of one's own, by default one that is right but for what is said."""
    signer = BETWEEN.issue(**{"name": "signer", "emails": [EMAIL], "hosts": [HOSTNAME], **leaf})
    return verify_pki(signer.text, CHAIN, trust, at=at)


# -------------------------------------------------------------------------------------------------------------- Fulcio


def test_fulcio_vouches_for_a_mail_address() -> None:
    """The signatory has the key, the address and the provider, and no entry of a log."""
    signer = BETWEEN.issue(emails=[EMAIL], identity_provider=PROVIDER)
    found = verify_fulcio(signer.text, CHAIN, FULCIO, at=NOW)
    assert found == Signatory(key=signer.public_key, email=EMAIL, issuer=PROVIDER)


@pytest.mark.parametrize(
    "options",
    [
        {"emails": ["a@example.com", EMAIL, "c@example.com"]},
        {"hosts": [HOSTNAME]},
        {"uris": ["https://ci.example.com/job"]},
        {"purposes": None},
    ],
    ids=["several addresses", "a host, too", "a URI, too", "no purpose"],
)
def test_the_address_may_be_one_of_several_names(options: dict[str, Any]) -> None:
    """The authority vouches for each, and a certificate without a purpose is for all of them; as containers/image."""
    assert fulcio(**options).email == EMAIL


@pytest.mark.parametrize("text", [PROVIDER, "https://" + "p" * 150 + ".example", "https://" + "p" * 300 + ".example"])
def test_the_provider_may_stand_in_either_extension(text: str) -> None:
    """In the old one, in the new one with a length of any form, or in both."""
    trust = attrs.evolve(FULCIO, oidc_issuer=text)
    new = extension(ISSUER_V2, utf8_string(text))
    assert fulcio(trust=trust, identity_provider=text).issuer == text
    assert fulcio(trust=trust, identity_provider=None, extensions=[new]).issuer == text
    assert fulcio(trust=trust, identity_provider=text, extensions=[new]).issuer == text


def test_a_chain_may_lack_its_root_or_be_in_any_order() -> None:
    """Nothing is trusted for where it stands in the annotation."""
    signer = BETWEEN.issue(emails=[EMAIL], identity_provider=PROVIDER)
    for chain in (BETWEEN.text, ROOT.text + BETWEEN.text, CHAIN):
        assert verify_fulcio(signer.text, chain, FULCIO, at=NOW)
    trust = attrs.evolve(FULCIO, roots=(BETWEEN.certificate, ROOT.certificate))
    for nothing in (None, ""):
        assert verify_fulcio(signer.text, nothing, trust, at=NOW)


def test_time_comes_from_the_log() -> None:
    """The certificate expired long ago, and was valid when the log took in the signature."""
    signer = BETWEEN.issue(emails=[EMAIL], identity_provider=PROVIDER)
    log, signature = Log(), signer.sign(b"payload")
    bundle = log.bundle(log.hashedrekord(signer.pem, signature, b"payload"), at=NOW + MINUTE)
    entry = verify_set(
        bundle,
        [log.public_key],
        verifier_pem=signer.pem,
        signature=base64.b64encode(signature).decode(),
        payload=b"payload",
    )
    assert verify_fulcio(signer.text, CHAIN, FULCIO, at=entry.integrated_time).email == EMAIL
    with pytest.raises(InvalidSignatureError, match="no longer valid"):
        verify_fulcio(signer.text, CHAIN, FULCIO, at=dt.datetime.now(dt.UTC))


def with_provider(value: bytes, **leaf: Any) -> Callable[[], Signatory]:
    """Verify a certificate with any content in the extension for the provider."""
    return lambda: fulcio(**{"identity_provider": None, "extensions": [extension(ISSUER_V2, value)], **leaf})


def both_old(parts: list[bytes]) -> None:
    """Have the old extension for the provider twice, with different content."""
    extensions = elements(parts[-1], inside=2)
    old = der(0x06, bytes.fromhex("2b0601040183bf300101"))
    parts[-1] = der(0xA3, der(0x30, *extensions, der(0x30, old, der(0x04, b"https://other.example"))))


def twice() -> Signatory:
    """Verify a certificate that names two providers in one extension each."""
    signer = BETWEEN.issue(emails=[EMAIL], identity_provider=PROVIDER)
    made = signer.remade(both_old, lambda data: sign(BETWEEN.key, data))
    return verify_fulcio(made.text, CHAIN, FULCIO, at=NOW)


LONG = "x" * 200
OTHER_NAME = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), der(0x0C, EMAIL.encode()))

FULCIO_REFUSED: list[tuple[str, Callable[[], object], str]] = [
    (
        "another address",
        lambda: fulcio(emails=["x@example.com"]),
        f"is for the mail addresses 'x@example.com'; expected '{EMAIL}'",
    ),
    ("another case", lambda: fulcio(emails=[EMAIL.upper()]), "is for the mail addresses 'WHO@EXAMPLE.COM'; expected"),
    (
        "more of an address",
        lambda: fulcio(emails=[f"{EMAIL}.evil.example"]),
        "is for the mail addresses 'who@example.com.evil.example'",
    ),
    ("no names", lambda: fulcio(emails=[]), "is for the mail addresses none; expected"),
    ("two other addresses", lambda: fulcio(emails=["y@x", "z@x"]), "is for the mail addresses 'y@x', 'z@x'; expected"),
    ("a URI", lambda: fulcio(emails=[], uris=[f"mailto:{EMAIL}"]), "is for the mail addresses none"),
    ("a host of that name", lambda: fulcio(emails=[], hosts=["example.com"]), "is for the mail addresses none"),
    ("another kind of name", lambda: fulcio(emails=[], names=[OTHER_NAME]), "is for the mail addresses none"),
    ("a name of the subject", lambda: fulcio(name=EMAIL, emails=[]), "is for the mail addresses none"),
    (
        "another provider",
        lambda: fulcio(identity_provider="https://x"),
        "the identity provider 'https://x'; expected",
    ),
    ("a provider with more", lambda: fulcio(identity_provider=PROVIDER + "/"), f"provider '{PROVIDER}/'; expected"),
    (
        "no provider",
        lambda: fulcio(identity_provider=None),
        "names no identity provider: expected the ext",
    ),
    ("an empty provider", with_provider(utf8_string("")), "names the identity provider ''; expected"),
    (
        "two that differ",
        with_provider(utf8_string("https://x"), identity_provider=PROVIDER),
        "names two identity providers",
    ),
    ("one that differs", with_provider(utf8_string(PROVIDER), identity_provider="https://x"), "'https://x' and 'https"),
    ("the same twice", twice, "malformed: .*[Dd]uplicate"),
    ("bare text in the new one", with_provider(PROVIDER.encode()), "expected a UTF8String and nothing else"),
    ("a number", with_provider(der(0x02, b"\1")), "expected a UTF8String and nothing else"),
    ("another string", with_provider(der(0x16, PROVIDER.encode())), "is 16 1d .*expected a UTF8String"),
    (
        "two strings",
        with_provider(utf8_string("https://") + utf8_string("x")),
        "expected a UTF8String and nothing else",
    ),
    ("a string cut short", with_provider(utf8_string(PROVIDER)[:-1]), "expected a UTF8String and nothing else"),
    ("nothing", with_provider(b""), "expected a UTF8String and nothing else"),
    ("one byte", with_provider(b"\x0c"), "expected a UTF8String and nothing else"),
    ("no length", with_provider(b"\x0c\x80" + PROVIDER.encode() + b"\0\0"), "expected a UTF8String and nothing else"),
    ("a long length", with_provider(b"\x0c\x81\x1d" + PROVIDER.encode()), "expected a UTF8String and nothing else"),
    ("a padded length", with_provider(b"\x0c\x82\x00\xc8" + LONG.encode()), "expected a UTF8String and nothing else"),
    ("no UTF-8", with_provider(der(0x0C, b"\xff")), "the identity provider in the certificate is no UTF-8"),
    ("no UTF-8 in the old one", with_provider(b"", extensions=[extension(ISSUER, b"\xff")]), "is no UTF-8"),
    ("for servers", lambda: fulcio(purposes=[SERVER]), "is not for signing code"),
    ("before its time", lambda: fulcio(at=NOW - 6 * MINUTE), "with the serial number [0-9a-f]+ was not yet valid at"),
    ("after its time", lambda: fulcio(at=NOW + 6 * MINUTE), "with the serial number [0-9a-f]+ was no longer valid at"),
    ("another authority", lambda: fulcio(trust=attrs.evolve(FULCIO, roots=())), "'CN=root' leads back to itself"),
    (
        "no certificate",
        lambda: verify_fulcio("", CHAIN, FULCIO, at=NOW),
        "the certificate of the signature: expected PEM",
    ),
    ("two", lambda: verify_fulcio(BETWEEN.text * 2, CHAIN, FULCIO, at=NOW), "expected one PEM block, found more"),
    (
        "a chain that is none",
        lambda: verify_fulcio(BETWEEN.text, "x", FULCIO, at=NOW),
        "the certificate chain of the sig",
    ),
    (
        "an authority's own",
        lambda: verify_fulcio(BETWEEN.text, CHAIN, FULCIO, at=NOW),
        "'CN=between' names no identity provider",
    ),
]

# ----------------------------------------------------------------------------------------------------------------- PKI


def test_an_own_authority_vouches_for_what_is_asked() -> None:
    """For the mail address, the host, or both; what is not asked for is only told."""
    both = pki()
    assert (both.email, both.hostname, both.issuer) == (EMAIL, HOSTNAME, None)
    by_host = pki(trust=attrs.evolve(PKI, subject_email=None))
    assert (by_host.email, by_host.hostname) == (EMAIL, HOSTNAME)
    several = pki(trust=attrs.evolve(PKI, subject_email=None), emails=["a@example.com", "b@example.com"])
    assert several.email is None
    by_mail = pki(trust=attrs.evolve(PKI, subject_hostname=None), hosts=[])
    assert (by_mail.email, by_mail.hostname) == (EMAIL, None)


def test_a_certificate_may_be_for_several() -> None:
    """One of its addresses and one of its hosts is the one that is wanted."""
    assert pki(emails=["a@example.com", EMAIL], hosts=["a.example.com", HOSTNAME, "c.example.com"])


def test_a_certificate_must_be_valid_now() -> None:
    """When no time is given it is now: what was made for the day of these tests is long expired."""
    with pytest.raises(InvalidSignatureError, match="'CN=signer' was no longer valid at 20"):
        pki(at=None)
    now = dt.datetime.now(dt.UTC)
    lives: dict[str, Any] = {"begins": now - MINUTE, "ends": now + 60 * MINUTE}
    root = Authority.root(**lives)
    signer = root.issue("signer", emails=[EMAIL], **lives)
    assert verify_pki(signer.text, None, PkiTrust(roots=(root.certificate,), subject_email=EMAIL)).email == EMAIL


def test_what_is_between_comes_from_the_policy_or_the_signature() -> None:
    """From either, or from both."""
    signer = BETWEEN.issue("signer", emails=[EMAIL], hosts=[HOSTNAME])
    known = attrs.evolve(PKI, intermediates=(BETWEEN.certificate,))
    assert verify_pki(signer.text, None, known, at=NOW)
    assert verify_pki(signer.text, CHAIN, known, at=NOW)
    assert verify_pki(signer.text, CHAIN, PKI, at=NOW)
    with pytest.raises(InvalidSignatureError, match="'CN=between', of which neither the authority nor the chain"):
        verify_pki(signer.text, None, PKI, at=NOW)


def test_no_purpose_is_every_purpose() -> None:
    """Unlike Fulcio's, certificates of one's own authority need not say what they are for."""
    assert pki(purposes=None)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()])
def test_signers_have_keys_of_every_kind(key: Any) -> None:
    """The key comes back to verify the signature with."""
    pki(key=key).key.verify(sign(key, b"x"), b"x")


PKI_REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("another address", lambda: pki(emails=["a@x"]), f"is for the mail addresses 'a@x'; expected '{EMAIL}'"),
    ("no address", lambda: pki(emails=[]), f"is for the mail addresses none; expected '{EMAIL}'"),
    ("many", lambda: pki(emails=[f"{one}@x" for one in range(9)]), "'0@x', .*'4@x' and 4 more; expected"),
    ("another host", lambda: pki(hosts=["a.x"]), f"is for the hosts 'a.x'; expected '{HOSTNAME}'"),
    ("no host", lambda: pki(hosts=[]), f"is for the hosts none; expected '{HOSTNAME}'"),
    ("no names at all", lambda: pki(hosts=[], emails=[]), "is for the mail addresses none"),
    ("the common name", lambda: pki(name=HOSTNAME, hosts=[]), "is for the hosts none"),
    ("a host below", lambda: pki(hosts=["x." + HOSTNAME]), "is for the hosts 'x.build.example.com'"),
    ("a URI of the host", lambda: pki(hosts=[], uris=[f"https://{HOSTNAME}"]), "is for the hosts none"),
    ("a mail address of the host", lambda: pki(hosts=[], emails=[EMAIL, f"a@{HOSTNAME}"]), "is for the hosts none"),
    ("another address of a host", lambda: by_address("10.0.0.2"), "is for the hosts '10.0.0.1'; expected '10.0.0.2'"),
    ("an address as a name", lambda: by_address("10.0.0.3"), "is for the hosts '10.0.0.1'; expected '10.0.0.3'"),
    ("nobody", lambda: pki(trust=PkiTrust(roots=PKI.roots)), "names neither a mail address nor a host"),
    ("an empty name", lambda: pki(trust=PkiTrust(roots=PKI.roots, subject_email="")), "names neither a mail address"),
    ("for servers", lambda: pki(purposes=[SERVER]), "'CN=signer' is not for signing code"),
    ("before its time", lambda: pki(at=NOW - 6 * MINUTE), "was not yet valid at 2024-06-01T11:54:00"),
    ("after its time", lambda: pki(at=NOW + 6 * MINUTE), "was no longer valid at 2024-06-01T12:06:00"),
    ("a critical extension", lambda: pki(critical=[extension("2.5.29.98", b"x")]), "the critical extension 2.5.29.98"),
    (
        "another authority",
        lambda: pki(trust=attrs.evolve(PKI, roots=(Authority.root().certificate,))),
        "was not signed by",
    ),
    ("a chain that is none", lambda: verify_pki(BETWEEN.text, "x", PKI, at=NOW), "1 bytes are in no PEM block"),
    ("no certificate", lambda: verify_pki("x", CHAIN, PKI, at=NOW), "the certificate of the signature: 1 bytes"),
]


def by_address(wanted: str) -> Signatory:
    """Verify a certificate for an address and for a name that looks like another."""
    trust = attrs.evolve(PKI, subject_hostname=wanted)
    return pki(trust=trust, hosts=["10.0.0.3"], addresses=["10.0.0.1"])


def test_hosts_may_have_addresses() -> None:
    """An address is looked for among the addresses, in any of its spellings."""
    assert by_address("10.0.0.1").hostname == "10.0.0.1"
    for wanted in ("2001:db8::1", "[2001:DB8:0::1]"):
        assert pki(trust=attrs.evolve(PKI, subject_hostname=wanted), addresses=["2001:db8::1"])


REFUSED = [*FULCIO_REFUSED, *PKI_REFUSED]


@pytest.mark.parametrize(("call", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_somebody_else_is_refused_with_the_reason(call: Callable[[], object], reason: str) -> None:
    """Each refusal names what was found and what was wanted."""
    with pytest.raises(InvalidSignatureError, match=reason):
        call()


@pytest.mark.parametrize(
    ("pattern", "host", "good"),
    [
        ("a.example", "a.example", True),
        ("A.Example", "a.eXAMPLE", True),
        ("a.example", "a.example.", True),
        ("a_b.example", "a_b.example", True),
        ("*.example", "a.example", True),
        ("*.b.example", "a.b.example.", True),
        ("*.example", "example", False),
        ("*.example", "a.b.example", False),
        ("*.example", ".example", False),
        ("a.*.example", "a.b.example", False),
        ("a*.example", "ab.example", False),
        ("*a.example", "ba.example", False),
        ("*", "example", False),
        ("*.*.example", "a.b.example", False),
        ("*.example", "*.example", True),
        ("*.example", "*.EXAMPLE", True),
        ("a.example", "*.example", False),
        ("a.example.", "a.example", False),
        ("", "", False),
        (".", ".", False),
        ("", "a", False),
        ("a.example", "a.example\0.evil.example", False),
        ("a.example\0.evil.example", "a.example", False),
        ("-a.example", "-a.example", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("*.example", "-a.example", False),
    ],
)
def test_hosts_match_as_they_do_in_go(pattern: str, host: str, good: bool) -> None:  # noqa: FBT001 - a column
    """A star stands for one whole label, the first; what is no name of a host matches only itself."""
    assert matches(pattern, host) is good


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_can_be_asked_about(pattern: str, host: str) -> None:
    """Nothing is raised, and a name that is not empty is itself."""
    matches(pattern, host)
    assert matches(host, host) or not host.strip(".") or host.lower() == "" or matches("*." + host, "a." + host)
