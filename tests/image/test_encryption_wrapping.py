"""Keys of layers in JWE and PKCS #7: what others write is read, and whatever is wrong is refused for its reason."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st
from recipients import CURVES, certificate, key, private_pem, public_pem

from ocikit.errors import EncryptionError
from ocikit.image.encryption import DecryptConfig, EncryptConfig
from ocikit.image.encryption import jwe as our_jwe
from ocikit.image.encryption import pkcs7 as our_pkcs7

SECRET = b'{"symkey": "secret"}'
RSA = DecryptConfig.from_private_key(private_pem("rsa"))
EC = DecryptConfig.from_private_key(private_pem("P-384"))
CERTIFIED = RSA.combined(DecryptConfig.from_certificate(certificate("rsa")))


def b64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    """Return a number as a coordinate."""
    return b64(value.to_bytes(size, "big"))


# JWE, made here with nothing of ours


def content(enc: str, cek: bytes, aad: bytes) -> tuple[bytes, bytes, bytes]:
    """Encrypt the secret; return the initialisation vector, the ciphertext and the tag."""
    if enc.endswith("GCM"):
        iv = os.urandom(12)
        sealed = AESGCM(cek).encrypt(iv, SECRET, aad)
        return iv, sealed[:-16], sealed[-16:]
    iv, half = os.urandom(16), len(cek) // 2
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(cek[half:]), modes.CBC(iv)).encryptor()
    text = cipher.update(padder.update(SECRET) + padder.finalize()) + cipher.finalize()
    mac = hmac.new(cek[:half], aad + iv + text + (8 * len(aad)).to_bytes(8, "big"), f"sha{len(cek) * 8}")
    return iv, text, mac.digest()[:half]


SIZES = {"A128GCM": 16, "A192GCM": 24, "A256GCM": 32, "A128CBC-HS256": 32, "A192CBC-HS384": 48, "A256CBC-HS512": 64}


def wrapped(alg: str, cek: bytes, name: str) -> tuple[dict[str, Any], bytes]:
    """Wrap a key; return the header and the wrapped key."""
    theirs = key(name).public_key()
    if isinstance(theirs, rsa.RSAPublicKey):
        kind = SHA256 if alg.endswith("256") else SHA1
        return {"alg": alg}, theirs.encrypt(cek, padding.OAEP(padding.MGF1(kind()), kind(), None))
    own = ec.generate_private_key(theirs.curve)
    point, size = own.public_key().public_numbers(), (theirs.curve.key_size + 7) // 8
    bits = int(alg.removeprefix("ECDH-ES+A").removesuffix("KW"))
    about = b"".join(len(one).to_bytes(4, "big") + one for one in (alg.encode(), b"Alice", b"Bob"))
    derived = ConcatKDFHash(SHA256(), bits // 8, about + bits.to_bytes(4, "big"))
    epk = {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size)}
    header = {"alg": alg, "epk": epk, "apu": b64(b"Alice"), "apv": b64(b"Bob")}
    return header, aes_key_wrap(derived.derive(own.exchange(ec.ECDH(), theirs)), cek)


def message(
    alg: str = "RSA-OAEP", enc: str = "A256GCM", name: str = "rsa", *, form: str = "flattened", **header: Any
) -> bytes:
    """Return a JWE of one of its forms."""
    cek = os.urandom(SIZES[enc])
    own, encrypted_key = wrapped(alg, cek, name)
    protected = header | ({"enc": enc} if form == "general" else {"enc": enc} | own)
    text = b64(json.dumps(protected).encode())
    iv, sealed, tag = content(enc, cek, text.encode())
    if form == "compact":
        return ".".join([text, *map(b64, (encrypted_key, iv, sealed, tag))]).encode()
    shared = {"protected": text, "iv": b64(iv), "ciphertext": b64(sealed), "tag": b64(tag)}
    if form == "flattened":
        return json.dumps(shared | {"encrypted_key": b64(encrypted_key)}).encode()
    stranger = {"header": {"alg": "dir", "kid": "of somebody else"}}
    recipients = [stranger, {"header": own, "encrypted_key": b64(encrypted_key)}]
    return json.dumps(shared | {"recipients": recipients, "encrypted_key": "AAAA"}).encode()


@pytest.mark.parametrize("form", ["compact", "flattened", "general"])
@pytest.mark.parametrize("enc", SIZES)
@pytest.mark.parametrize(
    ("alg", "name"),
    [
        *(("RSA-OAEP", "rsa"), ("RSA-OAEP-256", "rsa"), ("ECDH-ES+A128KW", "P-384")),
        *(("ECDH-ES+A192KW", "P-384"), ("ECDH-ES+A256KW", "P-384")),
    ],
)
def test_every_jwe_is_read(alg: str, name: str, enc: str, form: str) -> None:
    """All ways that ocicrypt accepts, in all forms of RFC 7516, also when another recipient is of an unknown kind."""
    config = RSA if name == "rsa" else EC
    assert our_jwe.unwrap_key(message(alg, enc, name, form=form), config.private_keys) == SECRET


def changed(**changes: Any) -> bytes:
    """Return a flattened JWE with members changed, or left out."""
    document = json.loads(message()) | changes
    return json.dumps({name: value for name, value in document.items() if value != "-"}).encode()


def headed(**header: Any) -> bytes:
    """Return a JWE with another protected header, which is rightly vouched for."""
    return message(form="general", **header)


OTHER_POINT = {"kty": "EC", "crv": "P-384", "x": b64(bytes(48)), "y": b64(bytes(48))}
WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "expected an object, or five parts"),
    "four parts": (b"a.b.c.d", "expected an object, or five parts"),
    "not ASCII": (b"\xff.b.c.d.e", "expected an object, or five parts"),
    "an array": (b" [1]", "expected an object, or five parts"),
    "not JSON": (b"{", "not JSON"),
    "key twice": (b'{"iv": "", "iv": ""}', "iv"),
    "deep": (b'{"a": ' + b"[" * 5000, "limit|deep|nested"),
    "large": (b"{" + b" " * (1 << 20), "at most 1,048,576 are read"),
    "no header": (changed(protected="-"), "alg: expected a string"),
    "header is a number": (changed(protected=1), "protected and aad: expected text"),
    "header is no base64": (changed(protected="a+b/"), "protected: expected base64url"),
    "header is odd": (changed(protected="abcde"), "protected: expected base64url"),
    "header is an array": (changed(protected=b64(b"[]")), "expected an object"),
    "header is no JSON": (changed(protected=b64(b"\xff")), "protected"),
    "aad is a number": (changed(aad=1), "protected and aad: expected text"),
    "aad is not vouched for": (changed(aad="more"), "the tag does not fit"),
    "in two headers": (changed(unprotected={"enc": "A256GCM"}), "'enc' is in two headers"),
    "crit": (headed(crit=["x"]), "crit: is not understood"),
    "zip": (headed(zip="DEF"), "zip: is not understood"),
    "recipients are none": (changed(recipients=[]), "recipients: expected an array of 1 to 1,024"),
    "recipients are many": (changed(recipients=[{}] * 1025), "recipients: expected an array of 1 to 1,024"),
    "recipients are text": (changed(recipients="me"), "recipients: expected an array"),
    "a recipient is text": (changed(recipients=["me"]), "recipients: expected an object"),
    "key is a number": (changed(encrypted_key=7), "encrypted_key: expected base64url"),
    "no key": (changed(encrypted_key="-"), "is for another key"),
    "no tag": (changed(tag="-"), "tag: expected 16 bytes, found 0"),
    "iv": (changed(iv=b64(bytes(11))), "iv: expected 12 bytes, found 11"),
    "content": (changed(ciphertext=b64(b"x")), "the tag does not fit"),
    "no content": (changed(ciphertext="-"), "the tag does not fit"),
    "RSA1_5": (changed(protected=b64(b'{"alg":"RSA1_5","enc":"A256GCM"}')), "alg: expected .*found 'RSA1_5'"),
    "dir": (changed(protected=b64(b'{"alg":"dir","enc":"A256GCM"}')), "alg: expected .*found 'dir'"),
    "enc": (changed(protected=b64(b'{"alg":"RSA-OAEP","enc":"ROT13"}')), "enc: expected .*found 'ROT13'"),
    "another enc": (changed(protected=b64(b'{"alg":"RSA-OAEP","enc":"A128GCM"}')), "key: expected 16 bytes, found 32"),
    "two ways": (
        changed(
            protected="-", recipients=[{"header": {"alg": "RSA-OAEP", "enc": enc}} for enc in ("A128GCM", "A256GCM")]
        ),
        "expected one way to encrypt",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_jwe(name: str) -> None:
    """Everything that is wrong is told from everything else, by one kind of error."""
    data, reason = WRONG[name]
    with pytest.raises(EncryptionError, match=reason):
        our_jwe.unwrap_key(data, RSA.private_keys)


POINTS: dict[str, tuple[Any, str]] = {
    "none": (None, "expected the key of the sender"),
    "text": ("P-384", "expected the key of the sender"),
    "another curve": ({**OTHER_POINT, "crv": "P-999"}, "expected a key of the type EC"),
    "no curve": ({**OTHER_POINT, "crv": ["P-384"]}, "expected a key of the type EC"),
    "a key for RSA": ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "expected a key of the type EC"),
    "not on the curve": (OTHER_POINT, "is no point of the curve P-384"),
    "too long": ({**OTHER_POINT, "x": b64(bytes(49))}, "expected coordinates of 48 bytes"),
    "coordinates are numbers": ({**OTHER_POINT, "x": 1}, "x: expected base64url"),
    "on another curve": (None, "is for a key on another curve"),
}


@pytest.mark.parametrize("name", POINTS)
def test_points_of_an_attacker(name: str) -> None:
    """The key of a sender is a point of the very curve that our key is on, or nothing is computed with it."""
    epk, reason = POINTS[name]
    document = json.loads(message("ECDH-ES+A256KW", "A256GCM", "P-384"))
    header = json.loads(base64.urlsafe_b64decode(document["protected"] + "=="))
    if name == "on another curve":
        epk = header_of("P-256")
    document["protected"] = b64(json.dumps(header | {"epk": epk}).encode())
    with pytest.raises(EncryptionError, match=reason):
        our_jwe.unwrap_key(json.dumps(document).encode(), EC.private_keys)


def header_of(curve: str) -> dict[str, str]:
    """Return a point of a curve."""
    point = ec.generate_private_key(CURVES[curve]).public_key().public_numbers()
    size = (CURVES[curve].key_size + 7) // 8
    return {"kty": "EC", "crv": curve, "x": number(point.x, size), "y": number(point.y, size)}


NAMES = ("rsa", "rsa/2", *CURVES)
OWNERS = {name: DecryptConfig.from_private_key(private_pem(name)) for name in NAMES}


@settings(max_examples=30)
@given(secret=st.binary(max_size=300), names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
def test_whoever_it_is_for_reads_it(secret: bytes, names: list[str]) -> None:
    """Any secret comes back from what was written for any recipients, to each of them and to nobody else."""
    first, *others = [EncryptConfig.from_public_key(public_pem(name)) for name in names]
    data = our_jwe.wrap_keys(first.combined(*others).jwe, secret)
    assert ("recipients" in json.loads(data)) is (len(names) > 1)
    for name in NAMES:
        keys = OWNERS[name].private_keys
        if name in names:
            assert our_jwe.unwrap_key(data, keys) == secret
        else:
            with pytest.raises(EncryptionError, match="JWE"):
                our_jwe.unwrap_key(data, keys)


# PKCS #7


@pytest.mark.parametrize("cipher", [algorithms.AES128, algorithms.AES256])
def test_pkcs7_of_others(cipher: type[algorithms.AES128 | algorithms.AES256]) -> None:
    """EnvelopedData with AES-CBC, as cryptography writes it, is read with a certificate and without one."""
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(SECRET).set_content_encryption_algorithm(cipher)
    for name in ("rsa/2", "rsa"):
        builder = builder.add_recipient(x509.load_pem_x509_certificate(certificate(name)))
    data = builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    for config in (RSA, CERTIFIED):
        assert our_pkcs7.unwrap_key(data, config.private_keys, config.certificates) == SECRET


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return an element of DER."""
    data = b"".join(parts)
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + data


OIDS = {
    "data": "2a864886f70d010701",
    "enveloped": "2a864886f70d010703",
    "rsa": "2a864886f70d010101",
    "oaep": "2a864886f70d010107",
    "mgf1": "2a864886f70d010108",
    "sha256": "608648016503040201",
    "gcm128": "608648016503040106",
    "gcm256": "60864801650304012e",
    "cbc128": "608648016503040102",
    "des": "2a864886f70d0307",
}


def oid(name: str) -> bytes:
    """Return the name of an algorithm."""
    return tlv(6, bytes.fromhex(OIDS[name]))


KEY, NONCE = bytes(range(16)), bytes(range(12))
SEALED = AESGCM(KEY).encrypt(NONCE, SECRET, None)
STANDARD = tlv(0x30, tlv(4, NONCE), b"\x02\x01\x10")
QUIRK = tlv(0x10, tlv(0x30, tlv(0x84, NONCE), b"\x02\x01\x10"))
ALGORITHM = tlv(0x30, oid("gcm128"), STANDARD)


def info(key: bytes = KEY, *, who: bytes | None = None, way: bytes | None = None) -> bytes:
    """Return KeyTransRecipientInfo for our key."""
    known = x509.load_pem_x509_certificate(certificate("rsa"))
    public = known.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    encrypted = public.encrypt(key, padding.PKCS1v15())
    if way is not None:
        encrypted = public.encrypt(key, padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
    identifier = known.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    who = who if who is not None else tlv(0x80, identifier)
    return tlv(0x30, b"\x02\x01\x02", who, way or tlv(0x30, oid("rsa"), b"\x05\x00"), tlv(4, encrypted))


def envelope(*infos: bytes, algorithm: bytes = ALGORITHM, sealed: bytes | None = None) -> bytes:
    """Return ContentInfo around EnvelopedData."""
    sealed = sealed if sealed is not None else tlv(0x80, SEALED)
    about = tlv(0x30, oid("data"), algorithm, sealed)
    return tlv(0x30, oid("enveloped"), tlv(0xA0, tlv(0x30, b"\x02\x01\x02", tlv(0x31, *(infos or [info()])), about)))


SHA_256 = tlv(0x30, oid("sha256"))
OAEP = tlv(0x30, oid("oaep"), tlv(0x30, tlv(0xA0, SHA_256), tlv(0xA1, tlv(0x30, oid("mgf1"), SHA_256))))
READ = {
    "by its key": envelope(),
    "as ocicrypt writes it": envelope(algorithm=tlv(0x30, oid("gcm128"), QUIRK)),
    "in pieces": envelope(sealed=tlv(0xA0, tlv(4, SEALED[:20]), tlv(4, SEALED[20:]))),
    "OAEP": envelope(info(way=OAEP)),
    "beside others": envelope(tlv(0xA1, b"\x02\x01\x03"), info()),
}


@pytest.mark.parametrize("name", READ)
def test_forms_of_pkcs7(name: str) -> None:
    """What RFC 5652 and ocicrypt do differently is read, whichever way it is."""
    for config in (RSA, CERTIFIED):
        assert our_pkcs7.unwrap_key(READ[name], config.private_keys, config.certificates) == SECRET


def parameters(*parts: bytes, name: str = "gcm128", tag: int = 0x30) -> bytes:
    """Return an algorithm for the content."""
    return tlv(0x30, oid(name), tlv(tag, *parts))


SIXTEEN = b"\x02\x01\x10"
UNREAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "expected one element 0x30, found nothing"),
    "ends early": (envelope()[:-1], "are left"),
    "ends in a length": (b"\x30\x82\x01", "ends within an element"),
    "ends in a tag": (b"\x30", "ends within an element"),
    "without a length": (b"\x30\x80\x00\x00", "expected a definite length"),
    "a long length": (b"\x30\x85\x00\x00\x00\x00\x01\x00", "expected a definite length"),
    "a long tag": (b"\x3f\x81\x01\x00", "a tag of more than one byte"),
    "more behind it": (envelope() + b"\x05\x00", "expected one element 0x30"),
    "large": (bytes(1 << 21), "at most 1,048,576 are read"),
    "many elements": (tlv(0x30, b"\x05\x00" * 12_000), "more than 10,000 elements"),
    "data": (tlv(0x30, oid("data"), tlv(0xA0, b"")), "expected EnvelopedData"),
    "no name": (tlv(0x30, tlv(4, b"x"), tlv(0xA0, b"")), "expected an object identifier"),
    "endless name": (tlv(0x30, tlv(6, b"\xff" * 9), tlv(0xA0, b"")), "expected an object identifier"),
    "long name": (tlv(0x30, tlv(6, b"\x01" * 99), tlv(0xA0, b"")), "expected an object identifier"),
    "no recipients": (tlv(0x30, oid("enveloped"), tlv(0xA0, tlv(0x30, b"\x02\x01\x00"))), "expected recipients"),
    "recipient of two": (envelope(tlv(0x30, b"\x05\x00\x05\x00")), "KeyTransRecipientInfo: expected 4 elements"),
    "recipient by name": (envelope(info(who=tlv(12, b"me"))), "expected a recipient by its certificate"),
    "many recipients": (envelope(*[tlv(0xA1, b"")] * 1025), "at most 1,024 are read"),
    "another way to wrap": (envelope(info(way=tlv(0x30, oid("des")))), "expected a key wrapped for RSA"),
    "an unknown hash": (
        envelope(info(way=tlv(0x30, oid("oaep"), tlv(0x30, tlv(0xA0, tlv(0x30, oid("des"))))))),
        "RSAES-OAEP-params: .* is not understood",
    ),
    "no content": (envelope(sealed=tlv(0x80)), "the tag does not fit"),
    "content of integers": (envelope(sealed=tlv(0xA0, b"\x02\x01\x00")), "expected encrypted content"),
    "content is an integer": (envelope(sealed=b"\x02\x01\x00"), "expected encrypted content"),
    "content is changed": (envelope(sealed=tlv(0x80, b"x" + SEALED[1:])), "the tag does not fit"),
    "3DES": (envelope(algorithm=parameters(b"", name="des")), "AES-GCM and AES-CBC are read"),
    "no parameters": (envelope(algorithm=tlv(0x30, oid("gcm128"))), "without parameters"),
    "no algorithm": (envelope(algorithm=tlv(0x30)), "expected an algorithm"),
    "a short nonce": (envelope(algorithm=parameters(tlv(4, b"x"), SIXTEEN)), "expected a nonce of 12 bytes"),
    "a short tag": (envelope(algorithm=parameters(tlv(4, NONCE), b"\x02\x01\x04")), "expected tags of 16 bytes"),
    "a tag by default": (envelope(algorithm=parameters(tlv(4, NONCE))), "expected tags of 16 bytes"),
    "another size of key": (envelope(algorithm=parameters(tlv(4, NONCE), SIXTEEN, name="gcm256")), "another key"),
    "a short vector": (envelope(algorithm=tlv(0x30, oid("cbc128"), tlv(4, b"x"))), "initialisation vector of 16"),
    "wrong padding": (envelope(algorithm=tlv(0x30, oid("cbc128"), tlv(4, bytes(16)))), "the padding is wrong"),
    "a key that is short": (envelope(info(key=b"")), "another key"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_no_pkcs7(name: str) -> None:
    """Everything that is wrong is told from everything else, by one kind of error."""
    data, reason = UNREAD[name]
    with pytest.raises(EncryptionError, match=reason):
        our_pkcs7.unwrap_key(data, RSA.private_keys, ())


@settings(max_examples=30)
@given(secret=st.binary(max_size=70_000), names=st.lists(st.sampled_from(NAMES[:2]), min_size=1, max_size=3))
def test_certificates_read_it(secret: bytes, names: list[str]) -> None:
    """Any secret comes back from what was written for any certificates, to each of them and to nobody else."""
    first, *others = [EncryptConfig.from_certificate(certificate(name)) for name in names]
    data = our_pkcs7.wrap_keys(first.combined(*others).pkcs7, secret)
    for name in NAMES[:2]:
        config = OWNERS[name].combined(DecryptConfig.from_certificate(certificate(name)))
        if name in names:
            assert our_pkcs7.unwrap_key(data, config.private_keys, config.certificates) == secret
        else:
            with pytest.raises(EncryptionError, match=r"none of the .* recipients has the certificate"):
                our_pkcs7.unwrap_key(data, config.private_keys, config.certificates)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_bit_matters(at: int, bit: int) -> None:
    """A bit that is changed in what is wrapped gives the same secret or an error, never another secret."""
    for data, unwrap in ((_JWE, our_jwe.unwrap_key), (_PKCS7, lambda one, keys: our_pkcs7.unwrap_key(one, keys, ()))):
        damaged = bytearray(data)
        damaged[at % len(data)] ^= 1 << bit
        with contextlib.suppress(EncryptionError):
            assert unwrap(bytes(damaged), RSA.private_keys) == SECRET


_JWE = our_jwe.wrap_keys(EncryptConfig.from_public_key(public_pem("rsa")).jwe, SECRET)
_PKCS7 = our_pkcs7.wrap_keys(EncryptConfig.from_certificate(certificate("rsa")).pkcs7, SECRET)
