"""The signatures of a copy: those of the source that are kept, and those that are added.

Who signs is made ready before anything is copied, so that a wrong passphrase costs no download; of gpg, which asks for
it by itself, that it has the key. What is signed is what
was written, digest and all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.image.signature.signing import identity_of, signatures_by
from ocikit.image.stored_signature import signature_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocikit.image.copy.decisions import Decision
    from ocikit.image.copy.options import CopyOptions
    from ocikit.image.copy.writing import WrittenManifest
    from ocikit.image.reference import Named
    from ocikit.image.signature.signer import Signer
    from ocikit.image.types import ImageDestination, ImageReference
    from ocikit.spec import Digest

__all__ = ["Signing", "kept_signatures", "prepare_signing", "put_signatures"]


@frozen(kw_only=True)
class Signing:
    """Who signs what is written, and what they call it.

    Attributes:
        signers: Who signs.
        identity: What they call it.
    """

    signers: tuple[Signer, ...]
    identity: Named


def prepare_signing(options: CopyOptions, destination: ImageReference) -> Signing | None:
    """Make ready whoever signs; None when nothing is to be signed.

    Args:
        options: What was asked for.
        destination: Where the image goes.

    Raises:
        SigningError: A key is not there, or a passphrase is wrong; or nothing says what the image is to be called.
    """
    if not options.signs:
        return None
    identity = identity_of(options.sign_identity, destination)
    signers = list(options.signers)
    if options.sign_by is not None:
        from ocikit.image.signature.simple_signing import SimpleSigner  # noqa: PLC0415 - only who signs needs it

        signers.append(SimpleSigner(key_fingerprint=options.sign_by, passphrase=options.sign_passphrase))
    if options.sign_by_sigstore_private_key_file is not None:
        from ocikit.image.signature.sigstore.signing import SigstoreSigner  # noqa: PLC0415 - likewise

        signers.append(
            SigstoreSigner.from_private_key_file(
                options.sign_by_sigstore_private_key_file, options.sign_sigstore_private_key_passphrase
            )
        )
    for signer in signers:
        # Whoever has something to look after first.
        if callable(prepare := getattr(signer, "prepare", None)):
            prepare()
    return Signing(signers=tuple(signers), identity=identity)


def kept_signatures(decisions: Iterable[Decision]) -> tuple[Digest, ...]:
    """Return the digests of the signatures that the copies of manifests keep.

    Args:
        decisions: What becomes of the manifests.
    """
    kept = (blob for one in decisions if one.variant is None for blob in one.manifest.signatures)
    return tuple(dict.fromkeys(map(signature_digest, kept)))


def put_signatures(
    manifests: Sequence[WrittenManifest], destination: ImageDestination, signing: Signing | None
) -> tuple[Digest, ...]:
    """Store the signatures of manifests that were put: first those that are kept, then those that are added.

    Args:
        manifests: The manifests as they were stored.
        destination: Where they are.
        signing: Who signs them.

    Returns:
        The digests of all of them.

    Raises:
        SigningError: A signature cannot be made.
    """
    found: dict[Digest, None] = {}
    for manifest in manifests:
        kept = manifest.decision.manifest.signatures if manifest.decision.variant is None else ()
        added = signatures_by(signing.signers, manifest.digest, signing.identity) if signing is not None else ()
        if kept or added:
            destination.put_signatures((*kept, *added), manifest.instance)
            found |= dict.fromkeys(map(signature_digest, (*kept, *added)))
    return tuple(found)
