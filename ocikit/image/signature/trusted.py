"""The keys and certificates of a policy, read from its files: what signatures are held against.

A key that cannot be read fails its whole requirement, also where another key would do: whoever keeps a second key for
bad days learns of its damage on a good one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ocikit.errors import InvalidSignatureError, LimitExceededError, PolicyRequirementError
from ocikit.image.signature.openpgp.keyring import Keyring
from ocikit.image.signature.sigstore.certificates import read_certificates
from ocikit.image.signature.sigstore.keys import PublicKey
from ocikit.image.signature.sigstore.trust import FulcioTrust, PkiTrust, Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.signature.requirements import Fulcio, Pki, SignedBy, SigstoreSigned

__all__ = ["read_keyring", "read_trust"]

T = TypeVar("T")

#: The size of a file with keys, in bytes: the keyring of a distribution has some hundred kilobytes.
_MOST_BYTES: Final = 16 * 1024 * 1024


def read_keyring(requirement: SignedBy) -> Keyring:
    """Read the keyrings of a requirement as one.

    Args:
        requirement: The requirement.

    Raises:
        PolicyRequirementError: One cannot be read, is malformed, or has no key in it.
    """
    sources = _sources("keyData", (requirement.key_path, *(requirement.key_paths or ())), (requirement.key_data,))
    return Keyring.joined(_parsed(what, data, Keyring.read) for what, data in sources)


def read_trust(requirement: SigstoreSigned) -> Trust:
    """Read the keys and the certificates of a requirement.

    Args:
        requirement: The requirement.

    Raises:
        PolicyRequirementError: Something of it cannot be read, is malformed, or is not of the kind that is needed.
    """
    keys = _keys(
        "keyData",
        (requirement.key_path, *(requirement.key_paths or ())),
        (requirement.key_data, *(requirement.key_datas or ())),
    )
    log_keys = _keys(
        "rekorPublicKeyData",
        (requirement.rekor_public_key_path, *(requirement.rekor_public_key_paths or ())),
        (requirement.rekor_public_key_data, *(requirement.rekor_public_key_datas or ())),
    )
    for key in log_keys:
        if not key.is_ecdsa:
            raise PolicyRequirementError(f"the key {key} of the transparency log is none for ECDSA")
    return Trust(
        keys=keys,
        fulcio=_fulcio(requirement.fulcio) if requirement.fulcio is not None else None,
        pki=_pki(requirement.pki) if requirement.pki is not None else None,
        log_keys=log_keys,
    )


def _fulcio(fulcio: Fulcio) -> FulcioTrust:
    (what, pem) = next(_sources("fulcio.caData", (fulcio.ca_path,), (fulcio.ca_data,)))
    return FulcioTrust(
        roots=_parsed(what, pem, read_certificates),
        oidc_issuer=fulcio.oidc_issuer,
        subject_email=fulcio.subject_email,
    )


def _pki(pki: Pki) -> PkiTrust:
    (what, pem) = next(_sources("pki.caRootsData", (pki.ca_roots_path,), (pki.ca_roots_data,)))
    between = _sources("pki.caIntermediatesData", (pki.ca_intermediates_path,), (pki.ca_intermediates_data,))
    return PkiTrust(
        roots=_parsed(what, pem, read_certificates),
        intermediates=tuple(one for what, pem in between for one in _parsed(what, pem, read_certificates)),
        subject_email=pki.subject_email,
        subject_hostname=pki.subject_hostname,
    )


def _keys(name: str, paths: tuple[str | None, ...], datas: tuple[bytes | None, ...]) -> tuple[PublicKey, ...]:
    return tuple(_parsed(what, pem, PublicKey.read) for what, pem in _sources(name, paths, datas))


def _sources(name: str, paths: tuple[str | None, ...], datas: tuple[bytes | None, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield what a policy gives in files and in itself, each with what to call it."""
    for path in filter(None, paths):
        yield path, _read(path)
    for data in datas:
        if data is not None:
            yield f"the policy's {name}", data


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = "" if Path(path).is_absolute() else f" in {Path.cwd()}"
        raise PolicyRequirementError(f"{path} cannot be read{where}: {reason}") from error
    if len(data) > _MOST_BYTES:
        raise PolicyRequirementError(f"{path} has more than {_MOST_BYTES:,} bytes")
    return data


def _parsed(what: str, data: bytes, parse: Callable[..., T]) -> T:
    try:
        return parse(data, what=what)
    except (InvalidSignatureError, LimitExceededError) as error:
        raise PolicyRequirementError(str(error)) from error
