"""Statements about artifacts (in-toto attestation framework, Statement): what a bundle says of which manifests.

A statement is read only after its signature was verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import InvalidDigestError, InvalidSignatureError
from ocikit.image.signature.sigstore.members import Members
from ocikit.spec import Digest
from ocikit.spec._json import describe, dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COSIGN_SIGN", "IN_TOTO", "BundleClaim", "SignedSubject", "read_statement", "write_statement"]

#: The type of a payload that is a statement.
IN_TOTO: Final = "application/vnd.in-toto+json"
#: What cosign signs an image by: a statement of this type says nothing but that its subjects are signed.
COSIGN_SIGN: Final = "https://sigstore.dev/cosign/sign/v1"

_STATEMENTS: Final = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
# The digests that name manifests. Others, such as that of a commit, are about something else.
_ALGORITHMS: Final = ("sha256", "sha512")
_MOST_SUBJECTS: Final = 1024
_MOST_SHOWN: Final = 5


@frozen(kw_only=True)
class SignedSubject:
    """One of the things that a statement is about.

    Attributes:
        digests: Its digests; each names the same bytes.
        docker_reference: What the signer calls it (``name``); None when there is no name, as cosign leaves it.
    """

    digests: tuple[Digest, ...]
    docker_reference: str | None


@frozen(kw_only=True)
class BundleClaim:
    """What a bundle says, verified.

    Attributes:
        subjects: What it is about.
        payload_type: The type of what was signed; None for a signature over the bytes of the subject themselves.
        predicate_type: What is said of the subjects; None likewise.
    """

    subjects: tuple[SignedSubject, ...]
    payload_type: str | None
    predicate_type: str | None

    def docker_references_of(self, digest: Digest) -> tuple[str, ...]:
        """Return what the signer calls a manifest; nothing when the bundle has no name for it, as cosign leaves it.

        Args:
            digest: The digest of the manifest.

        Raises:
            InvalidSignatureError: The bundle is about others.
        """
        about = [one for one in self.subjects if digest in one.digests]
        if about:
            return tuple(one.docker_reference for one in about if one.docker_reference is not None)
        found = [str(one) for subject in self.subjects for one in subject.digests]
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise InvalidSignatureError(
            f"the bundle is about another manifest: expected {digest}, found {', '.join(found[:_MOST_SHOWN])}{more}"
        )


def read_statement(payload: bytes) -> BundleClaim:
    """Read a statement; its bytes were verified before.

    Args:
        payload: The document.

    Raises:
        InvalidSignatureError: It is malformed, or about no manifest.
    """
    statement = Members.read(payload, "the signed statement")
    statement.exactly("_type", *_STATEMENTS)
    subjects = tuple(
        subject for one in statement.objects("subject", _MOST_SUBJECTS) if (subject := _subject(one)) is not None
    )
    if not subjects:
        raise statement.fault("subject", f"expected a subject with a digest by {' or '.join(_ALGORITHMS)}, found none")
    return BundleClaim(subjects=subjects, payload_type=IN_TOTO, predicate_type=statement.text("predicateType"))


def write_statement(
    digest: Digest, docker_reference: str | None, annotations: Mapping[str, str] | None = None
) -> bytes:
    """Write the statement by which cosign signs an image.

    Args:
        digest: The digest of the manifest.
        docker_reference: What the image is called; None to leave it open, as cosign does.
        annotations: What else is said of it.
    """
    subject: dict[str, object] = {"name": docker_reference} if docker_reference is not None else {}
    subject["digest"] = {digest.algorithm: digest.hex}
    if annotations:
        subject["annotations"] = dict(annotations)
    return dumps({"_type": _STATEMENTS[0], "subject": [subject], "predicateType": COSIGN_SIGN, "predicate": {}})


def _subject(subject: Members) -> SignedSubject | None:
    if not subject.has("digest"):
        return None
    stated = subject.object("digest")
    digests = tuple(_digest(stated, algorithm) for algorithm in _ALGORITHMS if stated.has(algorithm))
    name = subject.values.get("name") or None
    if name is not None and not isinstance(name, str):
        raise subject.fault("name", f"expected a string, found {describe(name)}")
    return SignedSubject(digests=digests, docker_reference=name) if digests else None


def _digest(stated: Members, algorithm: str) -> Digest:
    try:
        return Digest(f"{algorithm}:{stated.text(algorithm)}")
    except InvalidDigestError as error:
        raise stated.fault(algorithm, str(error)) from error
