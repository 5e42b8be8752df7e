"""Timestamps of authorities (RFC 3161): which vouch for a time, and why others do not."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from authorities import CODE_SIGNING, MINUTE, NOW, YEAR, Log, der, new_key
from bundle_logs import b64, hashedrekord_v2, make_bundle, statement
from bundle_trusts import FULCIO, by_fulcio, verify
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from timestamp_makers import (
    CONTENT_TYPE,
    EC,
    ED25519,
    MD5,
    MESSAGE_DIGEST,
    RSA,
    RSA_SHA256,
    SHA256,
    SHA512,
    SIGNED_DATA,
    TIME_STAMPING,
    TST_INFO,
    VERSION_3,
    Stamp,
    timestamp_authority,
    written,
)

from ocikit.errors import InvalidSignatureError
from ocikit.image.signature.sigstore.timestamps import verify_timestamps

if TYPE_CHECKING:
    from pathlib import Path

    from authorities import Certified

SIGNATURE = b"a signature"
TSA = timestamp_authority()
GOOD = Stamp(by=TSA, signature=SIGNATURE)
# Made once: each signature by ECDSA is another one.
ONE = GOOD.to_der()


def times(*stamps: bytes, by: Certified = TSA) -> tuple[dt.datetime, ...]:
    """Verify timestamps of one authority."""
    return verify_timestamps(stamps, SIGNATURE, (by.certificate,))


def test_a_timestamp_says_when() -> None:
    """Each timestamp of an authority that is trusted counts, whatever comes along with it."""
    other = Stamp(by=timestamp_authority("other"), signature=b"something else").to_der()
    more = evolve(
        GOOD, at=written(NOW - MINUTE)[:-1] + b".5Z", certificates=der(0xA0, b"junk"), more=b"\x01\x01\xff\x02\x01\x07"
    )
    assert times(GOOD.to_der(), other, more.to_der()) == (NOW, NOW - MINUTE)
    assert times(other) == ()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (new_key(), EC),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), RSA),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), RSA_SHA256),
        (ed25519.Ed25519PrivateKey.generate(), ED25519),
    ],
    ids=["ECDSA", "RSA", "RSA and SHA-256", "Ed25519"],
)
def test_authorities_sign_by_any_algorithm(key: Any, algorithm: bytes) -> None:
    """The hash of a signature is in the name of its algorithm, or beside it."""
    by = timestamp_authority(key=key)
    assert times(evolve(GOOD, by=by, algorithm=algorithm).to_der(), by=by) == (NOW,)


def test_an_authority_can_be_named_by_its_key() -> None:
    """The identifier of the key does for issuer and serial number."""
    key = new_key()
    extension = x509.SubjectKeyIdentifier(hashlib.sha1(b"x", usedforsecurity=False).digest())
    by = timestamp_authority(key=key, extensions=[extension])
    stamp = evolve(GOOD, by=by, identifier=der(0x80, extension.digest))
    assert times(stamp.to_der(), by=by) == (NOW,)
    assert times(stamp.to_der()) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": der(0x30, b"\x02\x01\x02")}, "was not granted: its status is 2"),
        ({"after": b"\x05\x00"}, "2 bytes more than it should"),
        ({"outer_type": TST_INFO}, "expected signed data"),
        ({"inner_type": SIGNED_DATA}, "expected a timestamp"),
        ({"signers": 0}, "expected a signer, tag 0x30, found nothing"),
        ({"signers": 2}, "bytes more than it should"),
        ({"version": VERSION_3}, "is of version 3, expected 1"),
        ({"signature": b"another"}, "is about another signature"),
        ({"imprint": b""}, "is about another signature"),
        ({"imprint_hash": SHA512}, "is about another signature"),
        ({"imprint_hash": MD5}, "has a hash that is not known"),
        ({"digest_algorithm": MD5}, "has a hash that is not known"),
        ({"digest_algorithm": SHA512}, "its message digest differs"),
        ({"message_digest": b"x" * 32}, "its message digest differs"),
        ({"content_type": SIGNED_DATA}, "is signed as content of another type"),
        ({"attributes": b""}, "is signed as content of another type"),
        ({"attributes": der(0x30, CONTENT_TYPE, der(0x31, TST_INFO))}, "its message digest differs"),
        ({"attributes": der(0x30, CONTENT_TYPE, der(0x31, TST_INFO)) * 2}, "an attribute twice"),
        ({"attributes": der(0x30, CONTENT_TYPE, der(0x31, TST_INFO, TST_INFO))}, "content of another type"),
        ({"attributes": der(0x30, MESSAGE_DIGEST, der(0x04, b""))}, "expected the value of an attribute"),
        ({"key": new_key()}, "was not signed by the authority 'CN=tsa'"),
        ({"algorithm": RSA_SHA256}, "is signed by rsa, for which 'CN=tsa' has no key"),
        ({"algorithm": ED25519}, "is signed by ed25519, for which"),
        ({"algorithm": SHA256}, "is signed by an algorithm that is not known"),
        ({"at": written(NOW + 2 * YEAR)}, "the certificate of the authority 'CN=tsa' is valid from"),
        ({"at": written(NOW - 2 * YEAR)}, "the certificate of the authority 'CN=tsa' is valid from"),
        ({"at": b"20240230000000Z"}, "has a malformed time"),
        ({"at": b"20240601120000"}, "has a malformed time"),
        ({"at": b"20240601120000+0100"}, "has a malformed time"),
        ({"at": b"\xff" * 15}, "has a malformed time"),
        ({"more": der(0xA1, b"")}, "has extensions"),
        ({"more": b"\x01"}, "ends too early"),
        ({"status": b"\x30\x80"}, "no definite length"),
        ({"status": b"\x30\x81\x03\x02\x01\x00"}, "not in its shortest form"),
        ({"status": b"\x30\x82\x00\x03\x02\x01\x00"}, "not in its shortest form"),
        ({"status": b"\x1f\x03\x02\x01\x00"}, "expected a status, tag 0x30, found tag 0x1f"),
        ({"certificates": b"\x5f\x01\x00"}, "expected signers"),
        ({"more": b"\x1f\x01\x00"}, "a tag of several bytes"),
    ],
)  # fmt: skip
def test_timestamps_that_vouch_for_nothing(changes: dict[str, Any], reason: str) -> None:
    """Whatever is wrong with a timestamp of a trusted authority, it is refused for that."""
    with pytest.raises(InvalidSignatureError, match=f"^timestamp 1: .*{reason}"):
        times(GOOD.to_der(), evolve(GOOD, **changes).to_der())


@pytest.mark.parametrize("purposes", [None, (CODE_SIGNING,), (TIME_STAMPING, CODE_SIGNING)])
def test_certificates_for_other_purposes_sign_no_timestamps(purposes: Any) -> None:
    """The certificate of an authority is for timestamps, and for nothing else."""
    by = timestamp_authority(purposes=purposes)
    with pytest.raises(InvalidSignatureError, match="'CN=tsa' is not for signing timestamps"):
        times(evolve(GOOD, by=by).to_der(), by=by)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_timestamps_are_refused(data: st.DataObject) -> None:
    """However a timestamp is damaged, it is refused as such or says the same."""
    good = ONE
    at = data.draw(st.integers(0, len(good) - 1))
    end = data.draw(st.integers(at, min(len(good), at + 4)))
    damaged = good[:at] + data.draw(st.binary(max_size=4)) + good[end:]
    try:
        found: object = times(damaged)
    except InvalidSignatureError as error:
        found = str(error)[:13]
    assert found in {(NOW,), (), "timestamp 0: "}


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    """What is no timestamp is malformed, and nothing else happens."""
    with pytest.raises(InvalidSignatureError, match=r"^timestamp 0: "):
        times(data)


CONFIGURATION = """
[tsa]
default_tsa = one
[one]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.5
digests = sha256, sha512
ess_cert_id_alg = sha256
"""


@pytest.mark.parametrize("embedded", [True, False], ids=["with certificate", "without"])
def test_timestamps_of_openssl_are_verified(tmp_path: Path, *, embedded: bool) -> None:
    """An authority that somebody else wrote vouches for the present."""
    now = dt.datetime.now(dt.UTC)
    usage = x509.ExtendedKeyUsage([TIME_STAMPING])
    key = ec.generate_private_key(ec.SECP384R1())
    options: dict[str, Any] = {"purposes": None, "critical": [usage], "begins": now - YEAR, "ends": now + YEAR}
    by = timestamp_authority(key=key, **options)
    files = {
        "signature": SIGNATURE,
        "key.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "tsa.pem": by.pem,
        "openssl.cnf": CONFIGURATION.encode(),
        "serial": b"01\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    asked = ["-data", "signature", "-sha512", "-out", "query", *(["-cert"] if embedded else [])]
    answered = ["-config", "openssl.cnf", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "key.pem"]
    for command in (["-query", *asked], ["-reply", *answered, "-out", "reply"]):
        subprocess.run(["openssl", "ts", *command], cwd=tmp_path, capture_output=True, check=True)
    (found,) = times((tmp_path / "reply").read_bytes(), by=by)
    assert abs(found - now) < dt.timedelta(hours=1)


def stamped(*stamps: Stamp, log: Log) -> dict[str, Any]:
    """Make a bundle of a signer with a short-lived certificate and a log without times."""
    bundle = make_bundle(statement(), FULCIO, logs=[log], kind=hashedrekord_v2, promise=False)
    (signature,) = bundle["dsseEnvelope"]["signatures"]
    found = [evolve(one, signature=base64.b64decode(signature["sig"])) for one in stamps]
    answers = [{"signedTimestamp": b64(one.to_der())} for one in found]
    bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": answers}
    return bundle


def test_a_timestamp_vouches_for_a_certificate() -> None:
    """Where the log keeps no times, a trusted authority says when the certificate of Fulcio was used."""
    log = Log(ed25519.Ed25519PrivateKey.generate(), origin="log2.example.com")
    trust = evolve(by_fulcio(log), timestamp_authorities=(TSA.certificate,))
    assert verify(stamped(GOOD, log=log), trust)[0].entry is None
    late = evolve(GOOD, at=written(NOW + dt.timedelta(hours=1)))
    for stamps in ((late,), (GOOD, late)):
        with pytest.raises(InvalidSignatureError, match="no longer valid"):
            verify(stamped(*stamps, log=log), trust)
    untrusted = evolve(GOOD, by=timestamp_authority("other"))
    with pytest.raises(InvalidSignatureError, match="its 1 timestamps are by authorities that nobody trusts"):
        verify(stamped(untrusted, log=log), trust)
    with pytest.raises(InvalidSignatureError, match="nobody vouches for the time"):
        verify(stamped(log=log), trust)
