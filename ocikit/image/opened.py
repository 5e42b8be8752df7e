"""An image opened for use: allowed by the policy, chosen for the platform, its manifest and config verified.

What unpacking starts from. Layers are not touched here; which there are, and what they must be, is known.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import ManifestError, NotSupportedError
from ocikit.image.config import CONFIGS, read_config
from ocikit.image.conversion.layers import is_encrypted, is_layer
from ocikit.image.policy import policy_context
from ocikit.image.transports import as_reference
from ocikit.image.types import BlobInfo
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.manifest import ImageManifest
    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ByteStream, ImageReference, ImageSource, SystemContext
    from ocikit.spec import Digest, Image

__all__ = ["Layer", "OpenedImage", "open_image"]


@frozen(kw_only=True)
class Layer:
    """One layer of an image.

    Attributes:
        number: Its place, from 0 for the lowest.
        blob: The stored bytes; not verified.
        diff_id: The digest that the uncompressed bytes must have.
        content: The stored bytes themselves when the manifest has them in it, verified.
    """

    number: int
    blob: BlobInfo
    diff_id: Digest
    content: bytes | None = None


@frozen(kw_only=True)
class OpenedImage:
    """An image whose manifest and config are verified.

    Attributes:
        source: Where it is; open as long as the context of :func:`open_image`.
        digest: The digest of its manifest.
        manifest: The manifest.
        config: The configuration.
        layers: The layers, the lowest first.
    """

    source: ImageSource
    digest: Digest
    manifest: ImageManifest
    config: Image
    layers: tuple[Layer, ...]

    def open_layer(self, layer: Layer) -> ByteStream:
        """Open the stored bytes of a layer, **not verified**; the caller closes the stream.

        Raises:
            BlobNotFoundError: The source does not have it.
        """
        if layer.content is not None:
            return io.BytesIO(layer.content)
        stream, _ = self.source.get_blob(layer.blob)
        return stream


@contextlib.contextmanager
def open_image(
    image: str | ImageReference, *, policy: PolicyRules | PolicyContext | None, sys: SystemContext | None
) -> Iterator[OpenedImage]:
    """Open an image for use.

    Args:
        image: A reference, or an image name such as ``"oci:/var/lib/app/images:latest"``.
        policy: Which images may be used; None for the policy of the system.
        sys: The circumstances; of an index they choose the platform.

    Raises:
        PolicyNotFoundError: No policy was given and the system has none.
        PolicyRequirementError: The policy does not allow the image.
        ImageNotFoundError: There is no such image, or none for the platform.
        VerificationError: Manifest or config are not what they are claimed to be.
        ManifestError: They are malformed, or no image that can be unpacked.
        OCIKitError: As the source gives it.
    """
    with policy_context(policy, sys) as context, as_reference(image).new_image_source(sys) as source:
        chosen = UnparsedImage(source).for_platform(sys)
        context.is_running_image_allowed(chosen)
        manifest = chosen.image_manifest()
        config = read_config(source, manifest.config, chosen.description)
        if config is None:
            raise ManifestError(
                f"{chosen.description}: its config is of type {manifest.config.media_type!r}; an image that can be "
                f"unpacked has {' or '.join(sorted(CONFIGS))}, this is some other kind of artifact"
            )
        layers = tuple(_layers(source, chosen, manifest, config))
        yield OpenedImage(source=source, digest=chosen.digest(), manifest=manifest, config=config, layers=layers)


def _layers(source: ImageSource, chosen: UnparsedImage, manifest: ImageManifest, config: Image) -> Iterator[Layer]:
    what, diff_ids = chosen.description, config.rootfs.diff_ids
    if config.rootfs.type not in {"", "layers"}:
        raise ManifestError(f"config of {what}: $.rootfs.type: expected 'layers', found {config.rootfs.type!r}")
    if len(manifest.layers) != len(diff_ids):
        raise ManifestError(f"{what}: {len(manifest.layers)} layers in the manifest, {len(diff_ids)} in the config")
    # A source may keep a layer in another form than the manifest says; the diffID holds for every form.
    infos = source.layer_infos_for_copy(chosen.instance)
    if infos is not None and len(infos) != len(diff_ids):
        raise ManifestError(f"{what}: {len(infos)} layers in the source, {len(diff_ids)} in the config")
    for number, (descriptor, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True)):
        media_type = descriptor.media_type
        if is_encrypted(media_type):
            raise NotSupportedError(
                f"{what}: layer {number} is encrypted ({media_type}); decrypt the image first: "
                "copy it with CopyOptions(oci_decrypt_config=…)"
            )
        if not is_layer(media_type):
            raise ManifestError(f"{what}: layer {number} is of the unknown type {media_type!r}")
        blob = infos[number] if infos is not None else BlobInfo.from_descriptor(descriptor)
        content = descriptor.embedded_content() if infos is None else None
        yield Layer(number=number, blob=blob, diff_id=diff_id, content=content)
