"""What a document or layer is by its content, held against what is said of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from ocikit.errors import LimitExceededError, ManifestError, ParseError
from ocikit.image.compression import detect
from ocikit.image.config import parse_config
from ocikit.image.conversion.layers import is_encrypted, is_layer, layer_compression
from ocikit.image.layout.problems import ProblemKind
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.spec import mediatypes
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.compression import Compression
    from ocikit.spec import Digest, Platform

__all__ = ["ImageCheck", "compression_fault", "is_json", "kind_of", "same_kind"]


def is_json(data: bytes) -> bool:
    """Tell whether a document is JSON, whatever it says."""
    try:
        loads(data)
    except (ParseError, LimitExceededError):
        return False
    return True


def kind_of(data: bytes, stated: str) -> str:
    """Return the media type of a manifest by its content; where that says nothing, what is stated if that fits.

    Args:
        data: The manifest.
        stated: The media type that a descriptor states.

    Raises:
        ManifestError: It is no manifest, or could be two things.
        LimitExceededError: It is larger than 4 MiB, or nested too deeply.
    """
    guessed = guess_media_type(data)
    document = loads(data)
    if guessed != stated and isinstance(document, dict) and not document.get("mediaType"):
        try:
            parse_manifest(data, stated)
        except ManifestError:
            return guessed
        return stated
    return guessed


def same_kind(found: str, stated: str) -> bool:
    """Tell whether a manifest that was found to be of one media type may be listed as of another."""
    schema1 = {mediatypes.DOCKER_MANIFEST_SCHEMA1, mediatypes.DOCKER_MANIFEST_SCHEMA1_SIGNED}
    return found == stated or {found, stated} <= schema1


def compression_fault(media_type: str, head: bytes) -> str:
    """Say how the compression of a layer is another than its media type says; empty when it is not.

    Args:
        media_type: What a descriptor states.
        head: The first bytes of the layer.
    """
    if not is_layer(media_type) or is_encrypted(media_type) or not head:
        return ""
    stated, found = layer_compression(media_type), detect(head)
    if stated is found:
        return ""
    return f"{media_type!r} is {_called(stated)}, the content is {_called(found)}"


def _called(compression: Compression | None) -> str:
    return f"compressed by {compression.value.lower()}" if compression is not None else "not compressed"


@frozen(kw_only=True)
class ImageCheck:
    """What of a configuration is held against manifests.

    Attributes:
        diff_ids: The layers, decompressed.
        history: How many lines of the history have a layer; None when there is no history.
        platform: What the image is for.
    """

    diff_ids: tuple[Digest, ...]
    history: int | None
    platform: Platform

    @classmethod
    def of(cls, data: bytes) -> ImageCheck:
        """Read a configuration.

        Raises:
            ManifestError: It is malformed.
            LimitExceededError: It is nested too deeply.
        """
        config = parse_config(data, "config")
        if config.rootfs.type not in {"", "layers"}:
            raise ManifestError(f"config: $.rootfs.type: expected 'layers', found {config.rootfs.type!r}")
        layers = sum(not line.empty_layer for line in config.history) if config.history else None
        return cls(diff_ids=config.rootfs.diff_ids, history=layers, platform=config.platform)

    def faults(self, layers: int, platform: Platform | None) -> Iterator[tuple[ProblemKind, str]]:
        """Yield what does not fit.

        Args:
            layers: How many the manifest has.
            platform: What the index says of the manifest; None when it says nothing.
        """
        if len(self.diff_ids) != layers:
            yield ProblemKind.LAYER_COUNT, f"{layers} layers in the manifest, {len(self.diff_ids)} in the config"
        elif self.history not in {None, layers}:
            yield ProblemKind.HISTORY_COUNT, f"{layers} layers in the manifest, {self.history} in the history"
        if platform is not None and "unknown" not in {platform.os, platform.architecture}:
            stated, found = (platform.os, platform.architecture), (self.platform.os, self.platform.architecture)
            if stated != found:
                yield ProblemKind.WRONG_PLATFORM, f"listed for {'/'.join(stated)}, the config says {'/'.join(found)}"
