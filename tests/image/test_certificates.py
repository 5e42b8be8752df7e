"""Certificates and chains of them: what is read, which chain is found, and why one is refused."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
from authorities import (
    ANY_PURPOSE,
    CODE_SIGNING,
    MINUTE,
    NOW,
    SERVER,
    YEAR,
    Authority,
    Certified,
    Unchecked,
    der,
    elements,
    extension,
    key_usage,
    make_certificate,
    new_key,
    pem,
    public_pem,
    sign,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA384, SHA512
from hypothesis import given, settings
from hypothesis import strategies as st

from ocikit.errors import InvalidSignatureError, LimitExceededError
from ocikit.image.signature.sigstore import certificates, chains, name_constraints
from ocikit.image.signature.sigstore.pem import read_blocks, write_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Authority.root()
BETWEEN = ROOT.below()
SIGNER = BETWEEN.issue("signer")
RSA_KEY = rsa.generate_private_key(65537, 2048)
WEAK_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused


def verify(
    leaf: Certified = SIGNER,
    roots: Sequence[Certified] = (ROOT,),
    between: Sequence[Certified] = (BETWEEN,),
    *,
    at: Any = NOW,
) -> list[x509.Certificate]:
    """Find a chain, everything being read from PEM before."""
    return [
        *chains.verify_chain(
            certificates.read_certificate(leaf.pem),
            roots=certificates.read_certificates(b"".join(one.pem for one in roots), what="roots"),
            intermediates=[certificates.read_certificate(one.pem) for one in between],
            at=at,
        )
    ]


def made(*, root: dict[str, Any] | None = None, between: dict[str, Any] | None = None, **leaf: Any) -> list[Any]:
    """Verify a chain of three, of which any part is made with other options."""
    top = Authority.root(**(root or {}))
    middle = top.below(**(between or {}))
    return verify(middle.issue("signer", **leaf), [top], [middle])


# -------------------------------------------------------------------------------------------------------------- chains


def test_a_chain_is_returned_whole() -> None:
    """From the signer's certificate to the authority's."""
    assert verify() == [SIGNER.certificate, BETWEEN.certificate, ROOT.certificate]


def test_what_is_not_needed_does_no_harm() -> None:
    """Certificates of others, of other authorities with the same name, and the authority's own may come along."""
    others = [Authority.root(), Authority.root().below(), Authority.root("else").below("other"), SIGNER, ROOT, BETWEEN]
    assert len(verify(between=[*others, BETWEEN])) == 3
    assert len(verify(roots=[*others[:3], ROOT])) == 3


def test_an_authority_need_not_be_its_own_issuer() -> None:
    """What the policy names is trusted, whoever issued it; so is a signer's certificate that it names."""
    assert verify(roots=[BETWEEN], between=[]) == [SIGNER.certificate, BETWEEN.certificate]
    assert verify(roots=[SIGNER], between=[]) == [SIGNER.certificate]


def test_an_authority_that_was_certified_twice_is_found_by_either_way() -> None:
    """A certificate that leads nowhere does not hide another of the same name and key that does."""
    other = Authority.root("other")
    crossed = make_certificate("between", other, key=BETWEEN.key, ca=True)
    expired = make_certificate("between", ROOT, key=BETWEEN.key, ca=True, ends=NOW - MINUTE)
    for between in ([crossed, BETWEEN], [expired, BETWEEN, crossed], [BETWEEN, crossed]):
        assert verify(between=between)[1] == BETWEEN.certificate


@pytest.mark.parametrize(
    "key",
    [
        new_key(ec.SECP384R1()),
        new_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        RSA_KEY,
    ],
    ids=lambda key: type(key).__name__,
)
def test_every_kind_of_key_may_be_anywhere(key: Any) -> None:
    """At the authority, between, and the signer's."""
    assert len(made(root={"key": key})) == 3
    assert len(made(between={"key": key})) == 3
    assert len(made(key=key)) == 3


@pytest.mark.parametrize("hash_algorithm", [SHA384(), SHA512()], ids=lambda one: one.name)
def test_every_good_hash_is_known(hash_algorithm: Any) -> None:
    """Certificates are signed over larger hashes, too."""
    assert len(made(hash_algorithm=hash_algorithm, between={"hash_algorithm": hash_algorithm})) == 3


def test_ends_of_validity_belong_to_it() -> None:
    """RFC 5280 §4.1.2.5: from the first moment to the last."""
    signer = BETWEEN.issue("signer", begins=NOW, ends=NOW + MINUTE)
    assert verify(signer)
    assert verify(signer, at=NOW + MINUTE)


def test_a_purpose_that_is_not_stated_is_every_purpose() -> None:
    """A certificate without a purpose is for all of them, and so is one for any."""
    assert verify(BETWEEN.issue("signer", purposes=None))
    assert verify(BETWEEN.issue("signer", purposes=(ANY_PURPOSE,)))


def test_purposes_may_stand_in_authorities() -> None:
    """The purpose of an authority is that of what it issues."""
    assert made(between={"purposes": (SERVER, CODE_SIGNING)}, root={"purposes": (ANY_PURPOSE,)})


def test_lengths_of_paths_count_what_is_between() -> None:
    """RFC 5280 §4.2.1.9: zero allows signers' certificates, and nothing else."""
    assert made(between={"path_length": 0}, root={"path_length": 1})


def path_of(length: int) -> tuple[Certified, list[Certified], list[Certified]]:
    """Make a chain with so many certificates."""
    authorities = [Authority.root()]
    for number in range(length - 2):
        authorities.append(authorities[-1].below(f"between {number}"))
    return authorities[-1].issue("signer"), [authorities[0]], [*authorities[1:]]


def test_the_longest_chain_is_found() -> None:
    """Eight certificates, given in any order."""
    leaf, roots, between = path_of(chains.MAX_CHAIN_LENGTH)
    assert len(verify(leaf, roots, between[::-1])) == chains.MAX_CHAIN_LENGTH


OLD_HASH = SHA1()  # noqa: S303 - to be refused


def sha1_signed() -> list[Any]:
    """Verify a certificate that is signed over SHA-1 (ecdsa-with-SHA1), which is not made any more."""
    algorithm = der(0x30, bytes.fromhex("06072a8648ce3d0401"))
    leaf = SIGNER.remade(lambda _: None, lambda data: BETWEEN.key.sign(data, ec.ECDSA(OLD_HASH)), algorithm=algorithm)
    return verify(leaf)


def without_version(parts: list[bytes]) -> None:
    """Make a certificate one of version 1: without the version, and without extensions."""
    del parts[0], parts[-1]


def version_two(parts: list[bytes]) -> None:
    """Make a certificate one of version 2."""
    parts[0] = der(0xA0, der(0x02, b"\1"))


def no_serial_number(parts: list[bytes]) -> None:
    """Make a serial number that is none."""
    parts[1] = der(0x02, b"\0")


def extension_twice(parts: list[bytes]) -> None:
    """Have one extension twice."""
    extensions = elements(parts[-1], inside=2)
    parts[-1] = der(0xA3, der(0x30, *extensions, extensions[0]))


def remade(change: Callable[[list[bytes]], None]) -> Callable[[], object]:
    """Verify a signer's certificate with other content, signed by the authority."""
    return lambda: verify(SIGNER.remade(change, lambda data: sign(BETWEEN.key, data)))


def constrained(
    permitted: Sequence[x509.GeneralName] | None = None,
    excluded: Sequence[x509.GeneralName] | None = None,
    **leaf: Any,
) -> list[Any]:
    """Verify a chain whose authority may give certificates for some names only."""
    return made(root={"constraints": x509.NameConstraints(permitted, excluded)}, **leaf)


def other_letters() -> list[Any]:
    """Verify a certificate for a host with the sign for Kelvin, whose small form is an ordinary letter."""
    names = der(0x30, der(0x82, "\u212a.example".encode()))
    return made(extensions=[extension("2.5.29.17", names)])


def impostor() -> list[Any]:
    """Verify what another authority of the same name issued."""
    return verify(Authority.root().below().issue("signer"))


def many_of_one_name() -> list[Any]:
    """Verify a certificate of which a great many could be the issuer, and of each of those."""
    return verify(make_certificate("signer", MANY[0], purposes=[CODE_SIGNING]), between=MANY)


def a_ring() -> list[Any]:
    """Verify a certificate of authorities that issued each other."""
    first, second = new_key(), new_key()
    one = make_certificate("one", None, key=first, ca=True, issuer_name="two")
    two = make_certificate("two", make_certificate("one", None, key=first, ca=True), key=second, ca=True)
    one = make_certificate("one", make_certificate("two", None, key=second, ca=True), key=first, ca=True)
    return verify(make_certificate("signer", one, purposes=[CODE_SIGNING]), between=[one, two])


MANY_KEY = new_key()
MANY = [make_certificate("same", None, key=MANY_KEY, ca=True, issuer_name="same") for _ in range(14)]
NO_AUTHORITY = {"ca": False}
MAIL, HOST, URI = x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier


def network(text: str) -> x509.IPAddress:
    """Return a constraint on addresses."""
    return x509.IPAddress(ipaddress.ip_network(text))


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("nothing between", lambda: verify(between=[]), "issued by 'CN=between', of which neither the authority nor the"),
    (
        "another authority",
        lambda: verify(roots=[Authority.root("x")]),
        "'CN=between' was issued by 'CN=root'",
    ),
    ("one of the same name", impostor, "'CN=signer' was not signed by the key of the certificate 'CN=between'"),
    ("a root of the same name", lambda: verify(roots=[Authority.root()]), "'CN=between' was not signed by the key of"),
    (
        "its own issuer",
        lambda: verify(Authority.root("signer", purposes=[CODE_SIGNING])),
        "was issued by 'CN=signer', of which",
    ),
    (
        "the root beside the policy",
        lambda: verify(roots=[Authority.root("x")], between=[ROOT, BETWEEN]),
        "back to itself",
    ),
    ("a ring", a_ring, "leads back to itself, and is not of the authority"),
    ("too early", lambda: verify(at=NOW - 6 * MINUTE), "'CN=signer' was not yet valid at 2024-06-01T11:54:00"),
    ("too late", lambda: verify(at=NOW + 6 * MINUTE), "'CN=signer' was no longer valid at 2024-06-01T12:06:00"),
    ("an expired one between", lambda: made(between={"ends": NOW - MINUTE}), "'CN=between' was no longer valid at"),
    ("one that is not yet", lambda: made(between={"begins": NOW + MINUTE}), "'CN=between' was not yet valid"),
    ("an expired authority", lambda: made(root={"ends": NOW - MINUTE}), "'CN=root' was no longer valid"),
    ("for servers", lambda: made(purposes=[SERVER]), "'CN=signer' is not for signing code: .* says 1.3.6.1.5.5.7.3.1"),
    ("between, for servers", lambda: made(between={"purposes": [SERVER]}), "'CN=between' is not for signing code"),
    ("root, for servers", lambda: made(root={"purposes": [SERVER]}), "'CN=root' is not for signing code"),
    ("not for signatures", lambda: made(usage=key_usage("key_cert_sign")), "'CN=signer' does not allow signatures"),
    ("issued by a signer", lambda: made(between=NO_AUTHORITY), "'CN=between' is none of an authority"),
    ("issued by anyone", lambda: made(between={"ca": None}), "'CN=between' is none of an authority"),
    ("a root that is none", lambda: made(root=NO_AUTHORITY), "'CN=root' is none of an authority"),
    (
        "may not issue",
        lambda: made(between={"usage": key_usage("digital_signature")}),
        "'CN=between' does not allow it",
    ),
    (
        "a root that may not",
        lambda: made(root={"usage": key_usage("crl_sign")}),
        "'CN=root' does not allow it to issue",
    ),
    ("too long for a root", lambda: made(root={"path_length": 0}), "'CN=root' allows 0 certificates between .*found 1"),
    ("nine certificates", lambda: verify(*path_of(9)), "the chain is longer than 8 certificates"),
    ("a great many", many_of_one_name, "no chain to the authority was found among 100 issuers"),
    ("critical", lambda: made(critical=[extension("2.5.29.99", b"x")]), "critical extension 2.5.29.99, which is not"),
    (
        "critical between",
        lambda: made(between={"critical": [extension("1.2.3", b"")]}),
        "'CN=between' has the critical",
    ),
    ("critical policies", lambda: made(root={"critical": [x509.InhibitAnyPolicy(0)]}), "'CN=root' has the critical"),
    ("RSA of 1,024 bits", lambda: made(key=WEAK_KEY), "'CN=signer' is RSA of 1,024 bits; expected RSA of 2,048"),
    ("a weak one between", lambda: made(between={"key": WEAK_KEY}), "'CN=between' is RSA of 1,024 bits"),
    ("another curve", lambda: made(key=new_key(ec.SECP256K1())), "is a key on the curve secp256k1; expected"),
    ("a small curve", lambda: made(root={"key": new_key(ec.SECP224R1())}), "is a key on the curve secp224r1"),
    ("Ed448", lambda: made(key=ed448.Ed448PrivateKey.generate()), "'CN=signer' is Ed448PublicKey; expected"),
    ("DSA", lambda: made(key=dsa.generate_private_key(2048)), "'CN=signer' is DSAPublicKey; expected"),
    ("SHA-1", sha1_signed, "'CN=signer' is signed with sha1; expected one of sha256, sha384, sha512"),
    ("version 1", remade(without_version), "of version 1; expected version 3"),
    ("version 2", remade(version_two), "malformed|of version 2"),
    ("no serial number", remade(no_serial_number), "serial number|malformed"),
    ("an extension twice", remade(extension_twice), "malformed: .*[Dd]uplicate"),
    ("a name of other letters", other_letters, "in a certificate is not ASCII"),
    ("broken names", lambda: made(extensions=[extension("2.5.29.17", b"\x30\x01")]), "malformed"),
    ("broken constraints", lambda: made(between={"extensions": [extension("2.5.29.30", b"x")]}), "malformed"),
    ("mail", lambda: constrained([MAIL("b.example")], emails=["a@example.com"]), "does not permit the name 'a@example"),
    ("a mail box", lambda: constrained([MAIL("b@b.example")], emails=["a@b.example"]), "does not permit the name 'a@b"),
    ("mail below", lambda: constrained([MAIL("b.example")], emails=["a@a.b.example"]), "does not permit"),
    ("mail itself", lambda: constrained([MAIL(".b.example")], emails=["a@b.example"]), "does not permit"),
    ("no mail", lambda: constrained([MAIL("b.example")], emails=["b.example"]), "does not permit the name 'b.example'"),
    ("mail is out", lambda: constrained(None, [MAIL("b.example")], emails=["a@B.example"]), "excludes the name 'a@B"),
    ("no mail is out", lambda: constrained(None, [MAIL("x.example")], emails=["b.example"]), "excludes the name 'b.ex"),
    ("a host", lambda: constrained([HOST("b.example")], hosts=["ab.example"]), "does not permit the name 'ab.example'"),
    ("a host is out", lambda: constrained(None, [HOST("b.example")], hosts=["a.B.example"]), "excludes the name 'a.B"),
    ("all hosts are out", lambda: constrained(None, [HOST("")], hosts=["a.example"]), "excludes the name 'a.example'"),
    ("a wildcard is out", lambda: constrained(None, [HOST("a.b.example")], hosts=["*.b.example"]), "excludes the name"),
    (
        "an address",
        lambda: constrained([network("10.0.0.0/8")], addresses=["11.0.0.1"]),
        "does not permit the name '11",
    ),
    (
        "an address of v6",
        lambda: constrained([network("10.0.0.0/8")], addresses=["::1"]),
        "does not permit the name '::",
    ),
    ("an address is out", lambda: constrained(None, [network("::/0")], addresses=["::1"]), "excludes the name '::1'"),
    (
        "a URI",
        lambda: constrained([URI("b.example")], uris=["https://a.example/b.example"]),
        "does not permit the name",
    ),
    ("a URI is out", lambda: constrained(None, [URI(".b.example")], uris=["https://u@a.b.example:1"]), "excludes the"),
    ("a URI of an address", lambda: constrained([URI("b.example")], uris=["https://10.0.0.1/"]), "does not permit"),
    ("no URI", lambda: constrained(None, [URI("b.example")], uris=["https://[::"]), "excludes the name 'https://"),
    (
        "a kind of name",
        lambda: constrained([x509.DirectoryName(x509.Name([]))]),
        "constrains names of the kind Directory",
    ),
    ("one of several", lambda: constrained([MAIL("b.example")], emails=["a@b.example", "a@c.example"]), "a@c.example'"),
]


@pytest.mark.parametrize(("call", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_broken_chain_is_refused_with_its_reason(call: Callable[[], object], reason: str) -> None:
    """A chain holds when every certificate in it does, and the message names the one that does not."""
    with pytest.raises(InvalidSignatureError, match=reason):
        call()


def test_names_that_are_permitted_are_accepted() -> None:
    """Every kind of name within what an authority may give, and kinds that are not constrained."""
    permitted = [MAIL("b.example"), MAIL(".c.example"), MAIL("d@d.example"), HOST("b.example"), HOST(".c.example")]
    permitted += [URI("b.example"), URI(".c.example"), network("10.0.0.0/8"), network("2001:db8::/32")]
    assert constrained(
        permitted,
        [HOST("x.b.example"), network("10.1.0.0/16")],
        emails=["a@b.example", "a@C.c.example", "d@D.example"],
        hosts=["b.example", "a.b.example", "a.c.example", "*.a.b.example"],
        uris=["https://b.example/x", "spiffe://a.c.example/y"],
        addresses=["10.2.0.1", "2001:db8::1"],
    )
    assert constrained([MAIL("b.example")], hosts=["a.example"])
    assert constrained([HOST("")], hosts=["a.example"])


def test_constraints_hold_for_every_certificate_below() -> None:
    """An authority below a constrained one cannot have a name that it may not give."""
    with pytest.raises(InvalidSignatureError, match=r"'CN=root' does not permit the name 'a\.example'"):
        made(root={"constraints": x509.NameConstraints([HOST("b.example")], None)}, between={"hosts": ["a.example"]})


def test_constraints_cost_a_bounded_number_of_comparisons() -> None:
    """A certificate of many names below an authority of many constraints is given up."""
    many = [MAIL(f"b{number}.example") for number in range(400)]
    with pytest.raises(InvalidSignatureError, match="take more than 100,000 comparisons"):
        constrained(many, emails=[f"a@b{number % 400}.example" for number in range(400)])
    assert name_constraints.MAX_COMPARISONS == 100_000


# -------------------------------------------------------------------------------------------------------------- reading

LEAF = SIGNER.pem

UNREADABLE: list[tuple[str, Callable[[], object], str]] = [
    ("nothing", lambda: certificates.read_certificate(b""), "expected PEM of a CERTIFICATE, found none"),
    ("no PEM", lambda: certificates.read_certificate("not a certificate"), "17 bytes are in no PEM block"),
    ("no ASCII", lambda: certificates.read_certificate("zertifikät\ud800"), "11 bytes are in no PEM block"),
    ("two", lambda: certificates.read_certificate(LEAF * 2), "expected one PEM block, found more"),
    ("text before", lambda: certificates.read_certificate(b"x\n" + LEAF), "2 bytes are in no PEM block"),
    ("text after", lambda: certificates.read_certificate(LEAF + b"x"), "1 bytes are in no PEM block"),
    ("a key", lambda: certificates.read_certificate(public_pem(SIGNER.key)), "a CERTIFICATE, found a PUBLIC KEY"),
    ("trusted", lambda: certificates.read_certificate(pem("TRUSTED CERTIFICATE", b"x")), "found a TRUSTED CERTIFICATE"),
    ("no end", lambda: certificates.read_certificate(LEAF[:-30]), "a PEM block is malformed"),
    ("another end", lambda: certificates.read_certificate(LEAF.replace(b"END C", b"END X")), "block is malformed"),
    ("headers", lambda: certificates.read_certificate(LEAF.replace(b"-\n", b"-\nA: b\n\n", 1)), "block is malformed"),
    ("no base64", lambda: certificates.read_certificate(LEAF.replace(b"-\nM", b"-\n=", 1)), "is no base64"),
    (
        "loose bits",
        lambda: certificates.read_certificate(pem("CERTIFICATE", b"a").replace(b"YQ", b"YR")),
        "nobody writes",
    ),
    ("empty", lambda: certificates.read_certificate(pem("CERTIFICATE", b"")), "malformed"),
    ("no DER", lambda: certificates.read_certificate(pem("CERTIFICATE", b"\x30\x84\xff")), "malformed"),
    ("more DER", lambda: certificates.read_certificate(pem("CERTIFICATE", elements_of(LEAF) + b"\0")), "malformed"),
    ("large", lambda: certificates.read_certificate(b" " * 2**17), "limit 65,536"),
    ("a long chain", lambda: certificates.read_chain(LEAF * 17), "PEM blocks in the certificate chain .* limit 16"),
    ("a large chain", lambda: certificates.read_chain(b" " * 2**21), "limit 1,048,576"),
    ("a chain that is none", lambda: certificates.read_chain(b" "), "expected PEM of a CERTIFICATE, found none"),
    ("no authority", lambda: certificates.read_certificates(b"# none", what="the roots"), "the roots: expected PEM"),
    ("a broken one", lambda: certificates.read_certificates(LEAF + LEAF[:90], what="x"), "x: a PEM block is malformed"),
]


def elements_of(text: bytes) -> bytes:
    """Return the DER of PEM."""
    (block,) = read_blocks(text, what="x", labels=("CERTIFICATE",), most=1, most_bytes=10**6)
    return block.der


@pytest.mark.parametrize(("call", "reason"), [case[1:] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE])
def test_what_cannot_be_read_is_refused_with_its_reason(call: Callable[[], object], reason: str) -> None:
    """PEM is read strictly: what one reader skips, another might not."""
    with pytest.raises(InvalidSignatureError, match=reason):
        call()


def test_files_of_authorities_may_explain_themselves() -> None:
    """Text between certificates is what tools and people write there; line ends may be those of Windows."""
    text = b"# the root\n" + ROOT.pem.replace(b"\n", b"\r\n") + b"\nSubject: CN=between\n" + BETWEEN.pem + b"end"
    assert certificates.read_certificates(text, what="x") == (ROOT.certificate, BETWEEN.certificate)


def test_no_chain_is_an_empty_one() -> None:
    """An annotation that is not there, or empty, has no certificates in it."""
    assert certificates.read_chain(None) == certificates.read_chain("") == ()


def test_an_authority_has_a_bounded_number_of_certificates() -> None:
    """A thousand, and 4 MiB."""
    with pytest.raises(LimitExceededError, match=r"PEM blocks in x: limit 1,000"):
        certificates.read_certificates(ROOT.pem * 1001, what="x")
    with pytest.raises(LimitExceededError, match=r"bytes of x: limit 4,194,304"):
        certificates.read_certificates(b" " * 2**23, what="x")


def test_names_in_messages_are_short_and_harmless() -> None:
    """The subject of a certificate is whatever somebody wrote there."""
    with pytest.raises(InvalidSignatureError) as caught:
        verify(BETWEEN.issue("\x1b[31m" + "x" * 50, purposes=None), roots=[Authority.root("\n" * 60)])
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.sampled_from(["CERTIFICATE", "PUBLIC KEY"]))
def test_pem_comes_back_as_it_was_written(content: bytes, label: str) -> None:
    """What is written is read, whatever it is."""
    (block,) = read_blocks(write_block(label, content), what="x", labels=(label,), most=1, most_bytes=10**4)
    assert block == (label, content)


@settings(max_examples=200)
@given(st.data())
def test_no_byte_of_what_is_certified_can_be_changed(data: st.DataObject) -> None:
    """A changed certificate is malformed or not signed; nothing else is ever raised."""
    content = bytearray(elements_of(LEAF))
    at = data.draw(st.integers(0, 10_000)) % len(content)
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        found = verify(Unchecked(der=bytes(content), certificate=SIGNER.certificate, key=SIGNER.key))
    except InvalidSignatureError:
        return
    # Bits of the signature's last byte that it is said not to have: what is signed is the same.
    assert found[0].tbs_certificate_bytes == SIGNER.certificate.tbs_certificate_bytes


def test_certificates_live_as_long_as_they_say() -> None:
    """The authorities of these tests live for a year on both sides of the day on which everything happens."""
    assert certificates.read_certificate(ROOT.pem).not_valid_after_utc == NOW + YEAR
