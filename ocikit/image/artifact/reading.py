"""Look at artifacts without pulling them: every manifest verified, and nothing of what they say believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import ManifestError
from ocikit.image.artifact.document import read_manifest
from ocikit.image.subject import walk_referrers
from ocikit.image.transports import as_reference
from ocikit.image.unparsed import UnparsedImage, find_manifest
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from ocikit.image.artifact.document import Artifact
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Digest

__all__ = ["describe", "inspect", "list_attached"]


def describe(image: UnparsedImage) -> Artifact:
    """Parse the manifest of an artifact.

    Args:
        image: The artifact.

    Raises:
        ManifestError: It is malformed, or none that an artifact is kept in.
        OCIKitError: As the source gives it.
    """
    data, media_type = image.manifest()
    if media_type != mediatypes.IMAGE_MANIFEST:
        raise ManifestError(
            f"{image.description}: expected an artifact, in a manifest of type {mediatypes.IMAGE_MANIFEST}, found "
            f"{media_type}"
        )
    return read_manifest(image.image_manifest(), image.reference, image.digest(), data)


def inspect(image: str | ImageReference, *, digest: Digest | None = None, sys: SystemContext | None = None) -> Artifact:
    """Say what an artifact says of itself. Every image is one, too: its layers are its files, and have no titles.

    Args:
        image: A reference, or an image name such as ``oci:/srv/layout:report``.
        digest: The digest of another manifest in the same place, such as one that is attached to the image.
        sys: The circumstances; of an index they choose the platform.

    Raises:
        ImageNotFoundError: There is no such image.
        BlobNotFoundError: There is no manifest of that digest.
        VerificationError: The manifest is not the one that was asked for.
        ManifestError: It is malformed, or one of Docker's.
        OCIKitError: As the transport gives it.
    """
    with as_reference(image).new_image_source(sys) as source:
        return describe(find_manifest(source, digest).for_platform(sys))


def list_attached(
    image: str | ImageReference,
    artifact_type: str | None = None,
    *,
    digest: Digest | None = None,
    sys: SystemContext | None = None,
) -> tuple[Artifact, ...]:
    """List the artifacts that are attached to an image: those that have its manifest as their subject.

    In contrast to :func:`ocikit.image.referrers` each of them is read and verified.

    Args:
        image: A reference, or an image name. What it leads to is the subject, the index itself where it leads to one.
        artifact_type: Only those of this type.
        digest: Another subject in the same place, such as the manifest of one platform.
        sys: The circumstances.

    Returns:
        The artifacts, in the order of the place; indexes that refer to the image are none.

    Raises:
        ImageNotFoundError: There is no such image.
        VerificationError: One of them is not what it is listed as.
        ManifestError: One of them is malformed.
        LimitExceededError: There are more than 1,000.
        OCIKitError: As the transport gives it.
    """
    with as_reference(image).new_image_source(sys) as source:
        subject = digest if digest is not None else UnparsedImage(source).digest()
        found = (one.image for one in walk_referrers(source, subject, max_depth=1))
        described = [describe(one) for one in found if not one.is_index()]
    return tuple(one for one in described if artifact_type is None or one.artifact_type == artifact_type)
