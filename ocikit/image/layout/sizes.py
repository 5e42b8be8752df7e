"""What an image in a layout is made of: each step of its history, with the layer that it made and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from ocikit.image.history import HistoryLine, history_lines, whole_size
from ocikit.image.layout.documents import image_for_platform, read_config_of
from ocikit.image.layout.opening import open_layout
from ocikit.image.layout.signatures import SignatureFinder
from ocikit.image.layout.store import Access

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from ocikit.image.context import SystemContext
    from ocikit.spec import Digest, Platform

__all__ = ["ImageStat", "stat"]


@frozen(kw_only=True)
class ImageStat:
    """An image step by step: a sequence of :class:`~ocikit.image.history.HistoryLine`, shown as a table.

    Attributes:
        name: What the image was asked for by; None for the only one.
        digest: The digest that index.json lists: that of the manifest, or of an index.
        manifest_digest: The digest of the manifest; of an index, of the one for the platform.
        config_digest: The digest of the configuration.
        platform: What the image is for; None when it is no image but some artifact.
        history: Every step, the first one first.
        size: Bytes of the manifest, the configuration and all layers, a layer that is there twice counted once.
        signatures: How many signatures the layout keeps of the image, and of the index that it is from; nothing of
            them was verified.
    """

    name: str | None
    digest: Digest
    manifest_digest: Digest
    config_digest: Digest
    platform: Platform | None
    history: tuple[HistoryLine, ...]
    size: int
    signatures: int = 0

    def __iter__(self) -> Iterator[HistoryLine]:
        return iter(self.history)

    def __len__(self) -> int:
        return len(self.history)

    def __str__(self) -> str:
        from ocikit.image.display.layouts import stat_text  # noqa: PLC0415 - for those who show it

        return stat_text(self)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from ocikit.image.display.layouts import stat_html  # noqa: PLC0415 - for notebooks

        return stat_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "name": self.name,
            "digest": self.digest,
            "manifestDigest": self.manifest_digest,
            "configDigest": self.config_digest,
            "platform": self.platform.to_dict() if self.platform is not None else None,
            "size": self.size,
            "signatures": self.signatures,
            "history": [line.to_dict() for line in self.history],
        }


def stat(layout: str | os.PathLike[str], image: str | None = None, sys: SystemContext | None = None) -> ImageStat:
    """Return what an image in a layout is made of, step by step, with sizes.

    The documents are verified; layers are not read.

    Args:
        layout: The directory, or a name of it (``oci:/srv/layout``).
        image: Its name, its position as ``@0``, or the digest of its manifest; None for the only one.
        sys: The circumstances: where the blobs are, and of an index the platform.

    Raises:
        ImageNotFoundError: There is no such image, or none for the platform.
        AmbiguousImageError: Several images fit.
        VerificationError: A document is not what it is listed as.
        ManifestError: A document is malformed.
        BlobNotFoundError: A document is not there.
        LayoutError: The directory is no layout, or index.json is damaged.
        OSError: It cannot be read.
    """
    with open_layout(layout, Access.READ, sys) as opened:
        index = opened.index()
        top = index.descriptor(index.find(None, None) if image is None else index.lookup(image))
        what = f"{opened.path}:{image}" if image is not None else opened.path
        descriptor, manifest = image_for_platform(opened, top, sys, what)
        config = read_config_of(opened, manifest, what)
        finder = SignatureFinder(opened, index, opened.path)
        return ImageStat(
            name=image,
            digest=top.digest,
            manifest_digest=descriptor.digest,
            config_digest=manifest.config.digest,
            platform=config.platform if config is not None else None,
            history=history_lines(config, manifest.layers),
            size=whole_size((descriptor, manifest.config, *manifest.layers)),
            signatures=sum(len(finder.of(digest)) for digest in {top.digest, descriptor.digest}),
        )
