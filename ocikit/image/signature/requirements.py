"""What a policy can require of an image: the kinds of policy.json (containers-policy.json(5)), as data.

Only data and the rules that make it well formed. A requirement made in Python is held to the same rules
as one that was read from a file: the constructors raise :class:`~ocikit.errors.InvalidPolicyError` with
the JSON path of the fault within the requirement. Whether an image meets a requirement is decided in
:mod:`ocikit.image.signature.evaluate`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from attrs import field, frozen

from ocikit.errors import InvalidPolicyError
from ocikit.image.given import is_content
from ocikit.image.signature.identity import DEFAULT_IDENTITY, SignedIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from attrs import Attribute

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
    # What is neither is left to the validators, which know where it was given.
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _paths(value: Iterable[str | os.PathLike[str]] | None) -> tuple[str, ...] | None:
    # A single name is text, and text would become a list of letters.
    if value is None or isinstance(value, str | bytes | os.PathLike):
        return cast("tuple[str, ...] | None", value)
    return tuple(cast("str", _path(one)) for one in value)


def _datas(value: Iterable[bytes] | None) -> tuple[bytes, ...] | None:
    if value is None or isinstance(value, str | bytes | os.PathLike):
        return cast("tuple[bytes, ...] | None", value)
    return tuple(value)


def _one_of(words: str, *kinds: type) -> Callable[[object, Attribute[Any], object], None]:
    """Return what refuses any other value than None and those of some kinds, before it means something else."""

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, kinds):
            raise InvalidPolicyError(_json_key(attribute), f"expected {words}, found {_kind(value)}")
        if isinstance(value, str) and is_content(value):
            raise InvalidPolicyError(_json_key(attribute), f"expected {words}, found PEM")

    return check


def _many_of(words: str, kind: type) -> Callable[[object, Attribute[Any], object], None]:
    one = _one_of(words, kind)

    def check(instance: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, tuple):
            raise InvalidPolicyError(_json_key(attribute), f"expected a list of {words}, found {_kind(value)}")
        for member in value or ():
            one(instance, attribute, member)

    return check


def _json_key(attribute: Attribute[Any]) -> str:
    first, *others = attribute.name.split("_")
    return f"$.{first}{''.join(map(str.capitalize, others))}"


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


_name = _one_of("the name of a file", str)
_names = _many_of("names of files", str)
_data = _one_of("bytes (not base64 of them)", bytes)
_many_data = _many_of("bytes (not base64 of them)", bytes)
_words = _one_of("text", str)


def _is_identity(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, get_args(SignedIdentity)):
        raise InvalidPolicyError(
            _json_key(attribute), f"expected a signed identity, such as MatchRepository(), found {_kind(value)}"
        )


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
    key_path: str | None = field(default=None, converter=_path, validator=_name)
    key_paths: tuple[str, ...] | None = field(default=None, converter=_paths, validator=_names)
    key_data: bytes | None = field(default=None, validator=_data)
    signed_identity: SignedIdentity = field(default=DEFAULT_IDENTITY, validator=_is_identity)

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

    base_layer_identity: SignedIdentity = field(validator=_is_identity)


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

    ca_path: str | None = field(default=None, converter=_path, validator=_name)
    ca_data: bytes | None = field(default=None, validator=_data)
    oidc_issuer: str = field(validator=_words)
    subject_email: str = field(validator=_words)

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

    ca_roots_path: str | None = field(default=None, converter=_path, validator=_name)
    ca_roots_data: bytes | None = field(default=None, validator=_data)
    ca_intermediates_path: str | None = field(default=None, converter=_path, validator=_name)
    ca_intermediates_data: bytes | None = field(default=None, validator=_data)
    subject_email: str | None = field(default=None, validator=_words)
    subject_hostname: str | None = field(default=None, validator=_words)

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

    key_path: str | None = field(default=None, converter=_path, validator=_name)
    key_paths: tuple[str, ...] | None = field(default=None, converter=_paths, validator=_names)
    key_data: bytes | None = field(default=None, validator=_data)
    key_datas: tuple[bytes, ...] | None = field(default=None, converter=_datas, validator=_many_data)
    fulcio: Fulcio | None = field(default=None, validator=_one_of("Fulcio(…)", Fulcio))
    pki: Pki | None = field(default=None, validator=_one_of("Pki(…)", Pki))
    rekor_public_key_path: str | None = field(default=None, converter=_path, validator=_name)
    rekor_public_key_paths: tuple[str, ...] | None = field(default=None, converter=_paths, validator=_names)
    rekor_public_key_data: bytes | None = field(default=None, validator=_data)
    rekor_public_key_datas: tuple[bytes, ...] | None = field(default=None, converter=_datas, validator=_many_data)
    signed_identity: SignedIdentity = field(default=DEFAULT_IDENTITY, validator=_is_identity)

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
