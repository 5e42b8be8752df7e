"""The configuration of an image: read from where the image is, verified, parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import LimitExceededError, ManifestError, ParseError
from ocikit.image.layout.blobs import read_document
from ocikit.image.manifest import LIMIT
from ocikit.image.types import BlobInfo
from ocikit.spec import Image, mediatypes

if TYPE_CHECKING:
    from ocikit.image.types import ImageSource
    from ocikit.spec import Descriptor

__all__ = ["CONFIGS", "check_config", "parse_config", "read_config"]

#: The types of configurations; an artifact with another one is no image.
CONFIGS: Final = frozenset({mediatypes.IMAGE_CONFIG, mediatypes.DOCKER_CONFIG})


def check_config(descriptor: Descriptor, image: str) -> None:
    """Refuse a configuration that nobody would read.

    Args:
        descriptor: What the manifest says of it.
        image: The image, for messages.

    Raises:
        LimitExceededError: It is larger than 4 MiB.
    """
    if descriptor.media_type in CONFIGS and descriptor.size > LIMIT:
        raise LimitExceededError(f"config of {image}: bytes of a configuration", LIMIT, descriptor.size)


def read_config(source: ImageSource, descriptor: Descriptor, image: str) -> Image | None:
    """Return the configuration of an image; None when the manifest is that of an artifact which is no image.

    Args:
        source: Where the image is.
        descriptor: What the manifest says of the configuration.
        image: The image, for messages.

    Raises:
        VerificationError: It is not what the manifest says.
        ManifestError: It is malformed.
        BlobNotFoundError: The source does not have it.
        LimitExceededError: It is larger than 4 MiB.
    """
    if descriptor.media_type not in CONFIGS:
        return None
    what = f"config of {image}"
    check_config(descriptor, image)
    data = descriptor.embedded_content()
    if data is None:
        stream, _ = source.get_blob(BlobInfo.from_descriptor(descriptor))
        with stream:
            data = read_document(stream, what)
        descriptor.verify(data, what=what)
    return parse_config(data, what)


def parse_config(data: bytes, what: str) -> Image:
    """Parse the configuration of an image.

    Args:
        data: The configuration; verified before by whoever calls this.
        what: What it is, for messages.

    Raises:
        ManifestError: It is malformed.
        LimitExceededError: It is nested too deeply.
    """
    try:
        return Image.from_json(data)
    except ParseError as error:
        raise ManifestError(f"{what}: {error}") from error
    except LimitExceededError as error:
        raise error.within(what) from error
