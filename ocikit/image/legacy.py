"""Images in Docker's schema 1, seen as schema 2: what all others here understand.

Schema 1 names compressed layers only; a configuration needs diffIDs. So every layer is read once, verified, and the
configuration made from the history that the manifest has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import CompressionError, ManifestError
from ocikit.image.checked import CheckedStream
from ocikit.image.compression import DecompressedStream
from ocikit.image.conversion.layers import Family, layer_media_type
from ocikit.image.conversion.schema1 import schema1_layers, schema1_to_schema2
from ocikit.image.limits import DEFAULT_LIMITS
from ocikit.image.types import BlobInfo
from ocikit.spec import Descriptor, Digest, DockerManifest, mediatypes

if TYPE_CHECKING:
    from ocikit.image.types import ImageSource

__all__ = ["as_schema2"]

_PIECE: Final = 1 << 20


def as_schema2(source: ImageSource, data: bytes, image: str) -> tuple[bytes, DockerManifest]:
    """Return what a manifest of schema 1 would be as one of schema 2.

    Args:
        source: Where the layers are; all of them are read.
        data: The manifest; verified before by whoever calls this.
        image: The image, for messages.

    Returns:
        The manifest, and the same parsed, with the configuration embedded in its descriptor: it is nowhere else.

    Raises:
        ManifestError: The manifest is malformed.
        VerificationError: A layer is not the one that the manifest names.
        BlobNotFoundError: A layer is not there.
        CompressionError: A layer is damaged.
        LimitExceededError: The manifest is larger than 4 MiB, or more comes out of a layer than an image may have.
    """
    try:
        digests = schema1_layers(data)
        known = {digest: _layer(source, digest, image) for digest in dict.fromkeys(digests)}
        layers = [known[digest] for digest in digests]
        config, manifest = schema1_to_schema2(data, [diff_id for _, diff_id in layers], [layer for layer, _ in layers])
    except ManifestError as error:
        raise ManifestError(f"manifest of {image}: {error}") from error
    parsed = DockerManifest.from_json(manifest)
    return manifest, evolve(parsed, config=evolve(parsed.config, data=config))


def _layer(source: ImageSource, digest: Digest, image: str) -> tuple[Descriptor, Digest]:
    """Read a layer; return its descriptor and its diffID."""
    what = f"layer {digest} of {image}"
    info = BlobInfo(digest=digest, media_type=mediatypes.DOCKER_LAYER_GZIP)
    stream, size = source.get_blob(info)
    with CheckedStream(stream, digest, size, what) as stored:
        plain = DecompressedStream(stored, limits=DEFAULT_LIMITS.expansion, what=what)
        hasher = Digest.from_bytes(b"").hasher()
        try:
            while piece := plain.read(_PIECE):
                hasher.update(piece)
        except CompressionError:
            stored.verify()  # when it is the wrong layer, that is the error to report
            raise
        media_type = layer_media_type(Family.DOCKER, plain.compression)
        return Descriptor(media_type=media_type, digest=digest, size=stored.size), Digest.from_hasher(hasher)
