"""Signing an image where it is: signatures are added, and nothing else is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import NotSupportedError
from ocikit.image.signature.signing import check_signers, identity_of, signatures_by
from ocikit.image.transports import as_reference
from ocikit.image.unparsed import UnparsedImage, walk_manifests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.reference import Named
    from ocikit.image.signature.signer import Signer
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Digest

__all__ = ["SignResult", "sign"]

# Asked before anybody signs: what is in the way of writing there would be the answer else, and the wrong one.
_KEEP_NONE: Final = frozenset({"docker-archive", "docker-daemon", "tarball"})


_NONE_KEPT: Final = "{}: no signatures are kept there; copy the image to oci:, oci-archive: or dir: and sign the copy"


@frozen(kw_only=True)
class SignResult:
    """What was signed.

    ``print`` shows it, a notebook as a table.

    Attributes:
        reference: The image.
        identity: What the signatures call it.
        digests: The digests of the manifests that have new signatures: the images of an index, then the index.
    """

    reference: ImageReference
    identity: Named
    digests: tuple[Digest, ...]

    def __str__(self) -> str:
        from ocikit._display import text  # noqa: PLC0415 - only what is shown needs it

        return "\n".join(f"{name:<9} {text.printable(value, text.LONGEST_LINE)}" for name, value in self._rows())

    def _repr_html_(self) -> str:
        from ocikit._display import html, text  # noqa: PLC0415 - only what is shown needs it

        rows = [(name, html.code(value, text.LONGEST_LINE)) for name, value in self._rows()]
        return html.facts(rows, caption="signed")

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "image", str(self.reference)
        yield "as", str(self.identity)
        for digest in self.digests:
            yield "manifest", str(digest)


def sign(
    reference: str | ImageReference,
    *signers: Signer,
    identity: str | Named | None = None,
    sys: SystemContext | None = None,
) -> SignResult:
    """Sign an image where it is, and of an index every image that is there, and the index.

    The signatures that are there stay. Signing a copy is one step with it: ``CopyOptions(signers=…)``.

    Args:
        reference: The image, a reference or an image name; in a place that keeps signatures and to which something can
            be added (``docker``, ``oci``, ``dir``).
        signers: Who signs.
        identity: What the signatures call the image, with a tag or a digest; None for the name that its place gives it.
        sys: The circumstances.

    Returns:
        What was signed.

    Raises:
        ValueError: There is no signer.
        TypeError: Something was given that is no signer, or no name.
        SigningError: A signature cannot be made, or nothing says what the image is called.
        InvalidReferenceError: ``reference`` or ``identity`` is no name.
        ImageNotFoundError: There is no such image, or another one took its place meanwhile.
        VerificationError: A manifest is not what it is claimed to be.
        NotSupportedError: No signatures are kept there, or none can be added to what is there.
        OSError: The place cannot be read or written.
    """
    place = as_reference(reference)
    if not signers:
        raise ValueError(f"{place}: nobody is to sign it; give at least one signer")
    check_signers(signers)
    called = identity_of(identity, place)
    if place.transport.name in _KEEP_NONE:
        raise NotSupportedError(_NONE_KEPT.format(place))
    with place.new_image_source(sys) as source:
        found = [(one.instance, one.digest(), one.signatures()) for one in walk_manifests(UnparsedImage(source))]
    new = {digest: signatures_by(signers, digest, called) for _, digest, _ in found}
    with place.new_image_destination(sys) as destination:
        if not destination.supports_signatures:
            raise NotSupportedError(_NONE_KEPT.format(place))
        destination.require_manifest(found[-1][1])
        for instance, digest, there in found:
            destination.put_signatures((*there, *new[digest]), instance)
        destination.commit()
    return SignResult(reference=place, identity=called, digests=tuple(new))
