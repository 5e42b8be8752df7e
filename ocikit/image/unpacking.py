"""An image becomes a root file system: every layer verified and applied, the result visible when all of it is right.

    result = unpack("oci:/var/lib/app/images:latest", "/var/lib/app/private/rootfs")

Here image, layers, applier and place come together; what each of them does is said in its own file
(:mod:`~ocikit.image.opened`, :mod:`~ocikit.image.verified`, :mod:`~ocikit.image.apply`,
:mod:`~ocikit.image.place`).
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import CompressionError, LayerError
from ocikit.image.apply import Applier
from ocikit.image.limits import DEFAULT_LIMITS, Limits
from ocikit.image.opened import OpenedImage, open_image
from ocikit.image.place import new_directory
from ocikit.image.verified import VerifiedLayer

if TYPE_CHECKING:
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Digest, Image

__all__ = ["UnpackResult", "unpack", "unpack_into"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class UnpackResult:
    """What was unpacked.

    Attributes:
        path: Where it is.
        digest: The digest of the manifest of the image.
        config: The configuration of the image.
        layers: How many layers it has.
        entries: How many entries they have.
        total_bytes: The size of all files in them, holes included.
        skipped: What was left out, each with its path and the reason: attributes that the file system cannot
            store, and with ``rootless`` what needs root.
    """

    path: str
    digest: Digest
    config: Image
    layers: int
    entries: int
    total_bytes: int
    skipped: tuple[str, ...]


def unpack(
    image: str | ImageReference,
    path: str | os.PathLike[str],
    *,
    policy: PolicyRules | PolicyContext | None = None,
    sys: SystemContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
    rootless: bool = False,
) -> UnpackResult:
    """Unpack all layers of an image into a new directory.

    The policy is asked first. Every layer is verified while it is applied: the blob by its digest and size,
    the plain bytes by the diffID of the config. The directory appears when everything is right; before that, and
    when anything is wrong, there is nothing.

    Args:
        image: The image, a reference or a name such as ``"oci:/var/lib/app/images:latest"``.
        path: The directory; it does not exist, or is empty. What is unpacked is as dangerous as a program of
            unknown origin, so a directory above it must keep other users out; missing ones are made with
            mode 0700.
        policy: Which images may be used; None for the policy of the system (:meth:`Policy.default`).
        sys: The circumstances; of an index they choose the platform.
        limits: The bounds on what the image may hold.
        rootless: Leave every file to the calling user, and leave out what needs root: devices, and attributes
            such as ``security.capability``. Without it unpacking needs root.

    Returns:
        What was unpacked.

    Raises:
        PolicyNotFoundError: No policy was given and the system has none.
        PolicyRequirementError: The policy does not allow the image.
        ImageNotFoundError: There is no such image, or none for the platform.
        VerificationError: Manifest, config or a layer are not what they are claimed to be.
        ManifestError: The image is malformed, or is not one that can be unpacked.
        LayerError: A layer is malformed or asks for what is never done.
        CompressionError: The compressed data of a layer is damaged.
        LimitExceededError: The image holds more than the limits allow.
        UnpackError: The place is not safe or taken, or the file system refused.
    """
    name = os.fspath(path)
    with open_image(image, policy=policy, sys=sys) as opened, new_directory(name, keeps_others_out=False) as fd:
        return unpack_into(opened, fd, name, limits=limits, rootless=rootless)


def unpack_into(
    image: OpenedImage, root_fd: int, path: str, *, limits: Limits = DEFAULT_LIMITS, rootless: bool = False
) -> UnpackResult:
    """Unpack all layers of an opened image into an empty directory; when this raises, what is in it is to be removed.

    Args:
        image: The image.
        root_fd: The directory, as :class:`~ocikit.image.apply.Applier` wants it.
        path: What the directory will be called.
        limits: As for :func:`unpack`.
        rootless: As for :func:`unpack`.

    Raises:
        OCIKitError: As :func:`unpack`.
    """
    if len(image.layers) > limits.layers:
        raise limits.exceeded("layers", f"layers of {image.source.reference}", len(image.layers))
    total = 0
    with Applier(root_fd, limits=limits, rootless=rootless) as applier:
        for layer in image.layers:
            what = f"layer {layer.number} of {image.source.reference}"
            stream = image.open_layer(layer)
            with VerifiedLayer(
                stream, layer.blob, diff_id=layer.diff_id, limits=limits, before=total, what=what
            ) as plain:
                _apply(applier, plain, what)
                total = plain.total_bytes
        applier.finish()
    for skipped in applier.skipped:
        _log.info("%s: left out: %s", image.source.reference, skipped)
    return UnpackResult(
        path=path,
        digest=image.digest,
        config=image.config,
        layers=len(image.layers),
        entries=applier.entries,
        total_bytes=applier.total_bytes,
        skipped=applier.skipped,
    )


def _apply(applier: Applier, plain: VerifiedLayer, what: str) -> None:
    try:
        applier.apply(plain, what=what)
    except (LayerError, CompressionError):
        # Of a blob that is not the right one, that is what is to be said, and not what is wrong with it.
        plain.verify_blob()
        raise
    plain.verify()
