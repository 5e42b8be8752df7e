"""What is kept beside an image about it: signatures, bills of materials, attestations, by the name of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.image.transports import as_reference
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Descriptor, Digest

__all__ = ["referrers"]


def referrers(
    image: str | ImageReference,
    artifact_type: str | None = None,
    *,
    digest: Digest | None = None,
    sys: SystemContext | None = None,
) -> tuple[Descriptor, ...]:
    """List the manifests that have an image as their subject (image specification, manifest.md).

    Args:
        image: A reference, or an image name such as ``oci:/srv/layout:1.2``. What it leads to is the subject, the
            index itself where it leads to one.
        artifact_type: Only those of this type.
        digest: Another subject in the same place, such as the manifest of one platform.
        sys: The circumstances.

    Returns:
        A descriptor for each, in the order of the place, with ``artifact_type`` and the annotations of the manifest as
        the place states them; what they say proves nothing. Those that are about one of these are not included.

    Raises:
        ImageNotFoundError: There is no such image.
        VerificationError: The image, or a manifest that was looked at for its subject, is not what it is listed as.
        LimitExceededError: There is too much to look through.
        OCIKitError: As the transport gives it.
    """
    with as_reference(image).new_image_source(sys) as source:
        subject = digest if digest is not None else UnparsedImage(source).digest()
        found = source.get_referrers(subject)
    return tuple(one for one in found if artifact_type is None or one.artifact_type == artifact_type)
