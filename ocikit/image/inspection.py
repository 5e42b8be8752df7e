"""Look at an image without using it: what it says of itself.

Everything that is shown was verified against the digest it is listed by. Whether the image is to be trusted is
another question, which a policy answers when the image is used: what it says of itself proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from ocikit.image.config import read_config
from ocikit.image.history import HistoryLine, history_lines, whole_size
from ocikit.image.transports import as_reference
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.manifest import AnyIndex, ImageManifest
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Descriptor, Digest, Image, Platform, Timestamp

__all__ = ["ImageInspection", "inspect"]


@frozen(kw_only=True)
class ImageInspection:
    """What an image says of itself; shown as a table, in a terminal and in a notebook.

    Attributes:
        reference: What was asked for.
        digest: The digest of the manifest or index that the reference names.
        media_type: Its media type.
        raw_manifest: Its exact bytes.
        index: The index, when that is what the reference names.
        manifest: The manifest of the image; of an index the one for the platform.
        manifest_digest: The digest of that manifest.
        manifest_size: The size of that manifest in bytes.
        config: The configuration; None for an artifact that is no image.
    """

    reference: ImageReference
    digest: Digest
    media_type: str
    raw_manifest: bytes = field(repr=False)
    index: AnyIndex | None
    manifest: ImageManifest
    manifest_digest: Digest
    manifest_size: int
    config: Image | None

    @property
    def created(self) -> Timestamp | None:
        """When the image was made."""
        return self.config.created if self.config is not None else None

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.config.config.labels if self.config is not None else {}

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """Its layers, the lowest first."""
        return self.manifest.layers

    @property
    def layers_with_history(self) -> tuple[HistoryLine, ...]:
        """Every step in its making, the first one first, each with the layer that it made; steps without one, too."""
        return history_lines(self.config, self.layers)

    @property
    def platform(self) -> Platform | None:
        """What it needs to run; None for an artifact that is no image."""
        return self.config.platform if self.config is not None else None

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that the index names, in its order, without attestations; of an image its own."""
        if self.index is None:
            return (self.platform,) if self.platform is not None else ()
        named = (entry.platform for entry in self.index.manifests if entry.platform is not None)
        return tuple(one for one in named if "unknown" not in {one.os, one.architecture})

    @property
    def env(self) -> tuple[str, ...]:
        """The variables that its containers have, each as ``NAME=value``."""
        return self.config.config.env if self.config is not None else ()

    @property
    def size(self) -> int:
        """Bytes of manifest, configuration and layers as they are stored, a layer that is there twice counted once."""
        return self.manifest_size + whole_size((self.manifest.config, *self.layers))

    def __str__(self) -> str:
        from ocikit.image.display.inspection import inspection_text  # noqa: PLC0415 - for those who show it

        return inspection_text(self)

    def _repr_html_(self) -> str:
        """Return the tables for a notebook."""
        from ocikit.image.display.inspection import inspection_html  # noqa: PLC0415 - for notebooks

        return inspection_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it, with the keys that ``skopeo inspect`` has and a few more."""
        platform = self.platform
        return {
            "Name": str(self.reference),
            "Digest": self.digest,
            "MediaType": self.media_type,
            "ManifestDigest": self.manifest_digest,
            "Created": self.created,
            "Labels": dict(self.labels) or None,
            "Architecture": platform.architecture if platform is not None else "",
            "Variant": platform.variant if platform is not None else "",
            "Os": platform.os if platform is not None else "",
            "Layers": [layer.digest for layer in self.layers],
            "LayersData": [_layer_data(layer) for layer in self.layers],
            "Env": [*self.env] or None,
            "Size": self.size,
            "History": [line.to_dict() for line in self.layers_with_history],
            "Platforms": [one.to_dict() for one in self.platforms],
        }


def _layer_data(layer: Descriptor) -> dict[str, Any]:
    return {
        "MIMEType": layer.media_type,
        "Digest": layer.digest,
        "Size": layer.size,
        "Annotations": dict(layer.annotations) or None,
    }


def inspect(image: str | ImageReference, sys: SystemContext | None = None) -> ImageInspection:
    """Say what an image says of itself.

    Args:
        image: A reference, or an image name such as ``oci:/srv/layout:1.2``.
        sys: The circumstances; of an index they choose the platform.

    Raises:
        ImageNotFoundError: There is no such image, or none for the platform.
        AmbiguousImageError: The reference fits more than one image.
        VerificationError: A manifest or the configuration is not what it is listed as.
        ManifestError: One of them is malformed.
        LimitExceededError: One of them is larger than 4 MiB.
        OCIKitError: As the transport gives it.
    """
    reference = as_reference(image)
    with reference.new_image_source(sys) as source:
        top = UnparsedImage(source)
        data, media_type = top.manifest()
        chosen = top.for_platform(sys)
        manifest = chosen.image_manifest()
        return ImageInspection(
            reference=reference,
            digest=top.digest(),
            media_type=media_type,
            raw_manifest=data,
            index=top.index() if top.is_index() else None,
            manifest=manifest,
            manifest_digest=chosen.digest(),
            manifest_size=len(chosen.manifest()[0]),
            config=read_config(source, manifest.config, chosen.description),
        )
