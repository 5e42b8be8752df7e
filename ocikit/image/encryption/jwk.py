"""Keys as JSON (RFC 7517), of the kinds that wrap keys: RSA and elliptic curves (RFC 7518 §6.2, §6.3)."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

from ocikit.errors import EncryptionError, LimitExceededError, ParseError
from ocikit.spec._json import describe, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_RSA_BITS", "base64url", "curve_of", "from_base64url", "point_of", "private_key", "public_key"]

#: What an attacker who chooses a key could make an operation cost.
MOST_RSA_BITS: Final = 16384

# The name of each curve in JSON, its name in cryptography, and the bytes of a coordinate (RFC 7518 §6.2.1).
_CURVES: Final = {"P-256": ("secp256r1", 32), "P-384": ("secp384r1", 48), "P-521": ("secp521r1", 66)}
_NAMES: Final = {name: (curve, size) for curve, (name, size) in _CURVES.items()}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_MOST_BYTES: Final = 64 * 1024


def base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: object, *, what: str) -> bytes:
    """Decode base64url, padded or not.

    Args:
        text: What should be text.
        what: What it is, for messages.

    Raises:
        EncryptionError: It is something else.
    """
    if not isinstance(text, str):
        raise EncryptionError(f"{what}: expected base64url, found {describe(text)}")
    bare = text.rstrip("=")
    if not _BASE64URL.fullmatch(bare) or len(bare) % 4 == 1:
        raise EncryptionError(f"{what}: expected base64url")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def curve_of(key: Any, *, what: str) -> tuple[str, int]:  # noqa: ANN401 - of cryptography
    """Return what RFC 7518 calls the curve of a key, and the bytes of a coordinate.

    Args:
        key: The key, public or private.
        what: What it is, for messages.

    Raises:
        EncryptionError: RFC 7518 has no name for it.
    """
    found = _NAMES.get(key.curve.name)
    if found is None:
        raise EncryptionError(f"{what}: a key on the curve {key.curve.name}; expected {', '.join(_CURVES)}")
    return found


def point_of(members: Mapping[str, Any], *, what: str) -> Any:  # noqa: ANN401 - of cryptography
    """Return the public key that ``crv``, ``x`` and ``y`` are; it is on its curve.

    Args:
        members: The key (RFC 7518 §6.2.1).
        what: What it is, for messages.

    Raises:
        EncryptionError: It is none.
    """
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when first needed

    curve = members.get("crv")
    known = _CURVES.get(curve) if isinstance(curve, str) else None
    if members.get("kty") != "EC" or known is None:
        raise EncryptionError(f"{what}: expected a key of the type EC on {', '.join(_CURVES)}")
    name, size = known
    x, y = (from_base64url(members.get(axis), what=f"{what}: {axis}") for axis in "xy")
    if max(len(x), len(y)) > size:
        raise EncryptionError(f"{what}: expected coordinates of {size} bytes, found {len(x)} and {len(y)}")
    curves: dict[str, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]]
    curves = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1, "secp521r1": ec.SECP521R1}
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curves[name]()).public_key()
    except ValueError as error:
        raise EncryptionError(f"{what}: is no point of the curve {curve}") from error


def public_key(data: bytes, *, what: str) -> tuple[Any, str, str]:
    """Read a public key.

    Args:
        data: The key as JSON.
        what: What it is, for messages.

    Returns:
        The key, and its ``alg`` and ``kid``; empty where it has none.

    Raises:
        EncryptionError: It is malformed, of another kind, or a private one.
    """
    members = _read(data, what)
    if "d" in members or "k" in members:
        raise EncryptionError(f"{what}: expected a public key, found a private one")
    key = point_of(members, what=what) if members.get("kty") == "EC" else _rsa_public(members, what)
    return key, _text(members, "alg"), _text(members, "kid")


def private_key(data: bytes, *, what: str) -> Any:  # noqa: ANN401 - of cryptography
    """Read a private key.

    Args:
        data: The key as JSON.
        what: What it is, for messages.

    Raises:
        EncryptionError: It is malformed, of another kind, or a public one.
    """
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when first needed

    members = _read(data, what)
    if "d" not in members:
        raise EncryptionError(f"{what}: expected a private key, found a public one")
    try:
        if members.get("kty") != "EC":
            return _rsa_private(members, what)
        numbers = point_of(members, what=what).public_numbers()
        return ec.EllipticCurvePrivateNumbers(_number(members, "d", what), numbers).private_key()
    except (ValueError, ArithmeticError) as error:
        if isinstance(error, EncryptionError):
            raise
        raise EncryptionError(f"{what}: the numbers of the key do not belong together") from None


def _rsa_private(members: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - loaded when first needed

    public, exponent = _rsa_numbers(members, what), _number(members, "d", what)
    # Without its factors (RFC 7518 §6.3.2) a key would have to be searched for them, for as long as it takes.
    p, q = _number(members, "p", what), _number(members, "q", what)
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=exponent,
        dmp1=rsa.rsa_crt_dmp1(exponent, p),
        dmq1=rsa.rsa_crt_dmq1(exponent, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=public,
    ).private_key()


def _rsa_public(members: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - of cryptography
    try:
        return _rsa_numbers(members, what).public_key()
    except (ValueError, OverflowError) as error:
        if isinstance(error, EncryptionError):
            raise
        raise EncryptionError(f"{what}: is no key for RSA: {error}") from error


def _rsa_numbers(members: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - of cryptography
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - loaded when first needed

    if members.get("kty") != "RSA":
        raise EncryptionError(f"{what}: expected a key of the type EC or RSA")
    modulus, exponent = _number(members, "n", what), _number(members, "e", what)
    if modulus.bit_length() > MOST_RSA_BITS:
        raise EncryptionError(f"{what}: a key for RSA of more than {MOST_RSA_BITS:,} bits")
    return rsa.RSAPublicNumbers(exponent, modulus)


def _read(data: bytes, what: str) -> dict[str, Any]:
    try:
        members = loads(data, max_bytes=_MOST_BYTES, max_depth=8)
    except (ParseError, LimitExceededError) as error:
        raise EncryptionError(f"{what}: {error}") from None
    if not isinstance(members, dict):
        raise EncryptionError(f"{what}: expected an object, found {describe(members)}")
    return members


def _number(members: Mapping[str, Any], name: str, what: str) -> int:
    return int.from_bytes(from_base64url(members.get(name), what=f"{what}: {name}"))


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""
