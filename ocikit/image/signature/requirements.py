"""What a policy can require of an image: the kinds of policy.json (containers-policy.json(5)), as data.

Only data and the rules that make it well formed. A requirement made in Python is held to the same rules
as one that was read from a file: the constructors raise :class:`~ocikit.errors.InvalidPolicyError` with
the JSON path of the fault within the requirement. Whether an image meets a requirement is decided in
:mod:`ocikit.image.signature.evaluate`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidPolicyError
from ocikit.image.signature.identity import DEFAULT_IDENTITY, SignedIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "KEY_TYPES",
    "Fulcio",
    "InsecureAcceptAnything",
    "Pki",
    "Reject",
    "Requirement",
    "SignedBaseLayer",
    "SignedBy",
    "SigstoreSigned",
]

#: Every ``keyType`` of the grammar. Only the first can ever be met; the others are reserved and deny.
KEY_TYPES: Final = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")


def _path(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else os.fspath(value)


def _paths(value: Iterable[str | os.PathLike[str]] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(os.fspath(one) for one in value)


def _datas(value: Iterable[bytes] | None) -> tuple[bytes, ...] | None:
    return None if value is None else tuple(value)


def _check_sources(sources: dict[str, Any], *, at_least: int = 1, at_most: int = 1) -> str | None:
    """Check alternatives of which a bounded number may be given; None is "not given", empty is an error."""
    for key, value in sources.items():
        if value is not None and not value:
            raise InvalidPolicyError(f"$.{key}", "must not be empty")
        if isinstance(value, tuple):
            for index, member in enumerate(value):
                if not member:
                    raise InvalidPolicyError(f"$.{key}[{index}]", "must not be empty")
    given = [key for key, value in sources.items() if value is not None]
    if at_least <= len(given) <= at_most:
        return given[0] if given else None
    wanted = {(1, 1): "exactly one", (0, 1): "at most one", (0, 0): "none"}.get((at_least, at_most), "at least one")
    found = " and ".join(given) if given else "none"
    raise InvalidPolicyError("$", f"{wanted} of {', '.join(sources)} must be given, found {found}")


@frozen(kw_only=True)
class InsecureAcceptAnything:
    """Every image is allowed to run. Says nothing about who made it."""


@frozen(kw_only=True)
class Reject:
    """No image is allowed."""


@frozen(kw_only=True)
class SignedBy:
    """A simple signature (OpenPGP) by one of the given keys.

    Exactly one of ``key_path``, ``key_paths`` and ``key_data`` is given.

    Attributes:
        key_type: One of :data:`KEY_TYPES`; only ``GPGKeys`` can ever be met.
        key_path: A keyring file.
        key_paths: Keyring files; a key of any of them will do.
        key_data: A keyring.
        signed_identity: What the signature must call the image.
    """

    key_type: str = "GPGKeys"
    key_path: str | None = field(default=None, converter=_path)
    key_paths: tuple[str, ...] | None = field(default=None, converter=_paths)
    key_data: bytes | None = None
    signed_identity: SignedIdentity = DEFAULT_IDENTITY

    def __attrs_post_init__(self) -> None:
        if self.key_type not in KEY_TYPES:
            raise InvalidPolicyError("$.keyType", f"expected one of {', '.join(KEY_TYPES)}, found {self.key_type!r}")
        _check_sources({"keyPath": self.key_path, "keyPaths": self.key_paths, "keyData": self.key_data})


@frozen(kw_only=True)
class SignedBaseLayer:
    """The image is made on a signed base. In the grammar, never implemented by anybody: always denies.

    Attributes:
        base_layer_identity: What the base must be called.
    """

    base_layer_identity: SignedIdentity


@frozen(kw_only=True)
class Fulcio:
    """Who may have been given the short-lived certificate that made the signature (``fulcio``).

    Exactly one of ``ca_path`` and ``ca_data`` is given.

    Attributes:
        ca_path: A file with the certificates of the authority, PEM.
        ca_data: Those certificates, PEM.
        oidc_issuer: The URL of the identity provider.
        subject_email: The mail address of the signer.
    """

    ca_path: str | None = field(default=None, converter=_path)
    ca_data: bytes | None = None
    oidc_issuer: str
    subject_email: str

    def __attrs_post_init__(self) -> None:
        _check_sources({"caPath": self.ca_path, "caData": self.ca_data})
        _check_sources({"oidcIssuer": self.oidc_issuer})
        _check_sources({"subjectEmail": self.subject_email})


@frozen(kw_only=True)
class Pki:
    """Who may have been given the certificate of one's own authority that made the signature (``pki``).

    Exactly one of ``ca_roots_path`` and ``ca_roots_data`` is given, at most one of ``ca_intermediates_path``
    and ``ca_intermediates_data``, at least one of ``subject_email`` and ``subject_hostname``.

    Attributes:
        ca_roots_path: A file with the root certificates, PEM.
        ca_roots_data: Those certificates, PEM.
        ca_intermediates_path: A file with intermediate certificates, PEM.
        ca_intermediates_data: Those certificates, PEM.
        subject_email: The mail address in the certificate.
        subject_hostname: The host name in the certificate.
    """

    ca_roots_path: str | None = field(default=None, converter=_path)
    ca_roots_data: bytes | None = None
    ca_intermediates_path: str | None = field(default=None, converter=_path)
    ca_intermediates_data: bytes | None = None
    subject_email: str | None = None
    subject_hostname: str | None = None

    def __attrs_post_init__(self) -> None:
        _check_sources({"caRootsPath": self.ca_roots_path, "caRootsData": self.ca_roots_data})
        intermediates = {
            "caIntermediatesPath": self.ca_intermediates_path,
            "caIntermediatesData": self.ca_intermediates_data,
        }
        _check_sources(intermediates, at_least=0)
        _check_sources(
            {"subjectEmail": self.subject_email, "subjectHostname": self.subject_hostname}, at_least=1, at_most=2
        )


@frozen(kw_only=True)
class SigstoreSigned:
    """A sigstore signature by a key, or by whoever a certificate authority vouched for.

    Exactly one of ``key_path``, ``key_paths``, ``key_data``, ``key_datas``, ``fulcio`` and ``pki`` is given,
    and at most one of the four keys of the transparency log (Rekor): one with ``fulcio``, none with ``pki``.

    Attributes:
        key_path: A public key file, PEM.
        key_paths: Public key files; any of them will do.
        key_data: A public key, PEM.
        key_datas: Public keys; any of them will do.
        fulcio: A certificate authority that gives short-lived certificates to known identities.
        pki: A certificate authority of one's own.
        rekor_public_key_path: The file with the log's public key, PEM.
        rekor_public_key_paths: Files with public keys; any of them will do.
        rekor_public_key_data: The log's public key, PEM.
        rekor_public_key_datas: Public keys; any of them will do.
        signed_identity: What the signature must call the image.
    """

    key_path: str | None = field(default=None, converter=_path)
    key_paths: tuple[str, ...] | None = field(default=None, converter=_paths)
    key_data: bytes | None = None
    key_datas: tuple[bytes, ...] | None = field(default=None, converter=_datas)
    fulcio: Fulcio | None = None
    pki: Pki | None = None
    rekor_public_key_path: str | None = field(default=None, converter=_path)
    rekor_public_key_paths: tuple[str, ...] | None = field(default=None, converter=_paths)
    rekor_public_key_data: bytes | None = None
    rekor_public_key_datas: tuple[bytes, ...] | None = field(default=None, converter=_datas)
    signed_identity: SignedIdentity = DEFAULT_IDENTITY

    def __attrs_post_init__(self) -> None:
        keys = {
            "keyPath": self.key_path,
            "keyPaths": self.key_paths,
            "keyData": self.key_data,
            "keyDatas": self.key_datas,
            "fulcio": self.fulcio,
            "pki": self.pki,
        }
        rekor = {
            "rekorPublicKeyPath": self.rekor_public_key_path,
            "rekorPublicKeyPaths": self.rekor_public_key_paths,
            "rekorPublicKeyData": self.rekor_public_key_data,
            "rekorPublicKeyDatas": self.rekor_public_key_datas,
        }
        source = _check_sources(keys)
        log_key = _check_sources(rekor, at_least=0)
        if source == "fulcio" and log_key is None:
            raise InvalidPolicyError("$", f"fulcio needs one of {', '.join(rekor)}: its certificates are short-lived")
        if source == "pki" and log_key is not None:
            raise InvalidPolicyError(f"$.{log_key}", "must not be given together with pki")


Requirement = InsecureAcceptAnything | Reject | SignedBy | SignedBaseLayer | SigstoreSigned
