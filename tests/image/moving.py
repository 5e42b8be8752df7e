"""Move an image from a source to a destination, without the engine that does so for everybody else."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from ocikit.image import BlobInfo, parse_image_name
from ocikit.spec import Digest

if TYPE_CHECKING:
    from ocikit.image import ImageDestination, ImageSource, SystemContext


def move(source: str, destination: str, sys: SystemContext | None = None) -> str:
    """Copy an image with all its instances; return the digest of what it begins with."""
    with (
        parse_image_name(source).new_image_source(sys) as reading,
        parse_image_name(destination).new_image_destination(sys) as writing,
    ):
        manifest, _ = reading.get_manifest()
        _parts(reading, writing, json.loads(manifest))
        writing.put_manifest(manifest)
        if writing.supports_signatures:
            writing.put_signatures(reading.get_signatures())
        writing.commit()
        return str(Digest.from_bytes(manifest))


def _parts(reading: ImageSource, writing: ImageDestination, document: dict[str, Any]) -> None:
    for entry in document.get("manifests", []):
        digest = Digest(entry["digest"])
        manifest, _ = reading.get_manifest(digest)
        _parts(reading, writing, json.loads(manifest))
        writing.put_manifest(manifest, digest)
    for entry in [document["config"], *document["layers"]] if "layers" in document else []:
        info = info_of(entry)
        if writing.try_reusing_blob(info) is None:
            stream, size = reading.get_blob(info)
            with stream:
                assert size == info.size
                assert writing.put_blob(stream, info, is_config=entry is document["config"]) == info


def info_of(entry: dict[str, Any]) -> BlobInfo:
    """Return what a descriptor says."""
    return BlobInfo(digest=Digest(entry["digest"]), size=entry["size"], media_type=entry["mediaType"])


def put(writing: ImageDestination, content: bytes, **known: Any) -> BlobInfo:
    """Put some bytes as a blob."""
    return writing.put_blob(io.BytesIO(content), BlobInfo(**known))


def get(reading: ImageSource, digest: str) -> bytes:
    """Return all of a blob."""
    stream, _ = reading.get_blob(BlobInfo(digest=Digest(digest)))
    with stream:
        return stream.read()
