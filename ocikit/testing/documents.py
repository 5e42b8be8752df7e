"""What a registry reads in manifests: what they refer to, and what they say of themselves. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import InvalidDigestError, ManifestError
from ocikit.spec import Digest, mediatypes

__all__ = ["Manifest", "ManifestDocument", "read_manifest"]

#: Layers that may be somewhere else.
_FOREIGN: Final = frozenset(
    {
        mediatypes.DOCKER_FOREIGN_LAYER,
        mediatypes.DOCKER_FOREIGN_LAYER_GZIP,
        mediatypes.IMAGE_LAYER_NONDISTRIBUTABLE,
        mediatypes.IMAGE_LAYER_NONDISTRIBUTABLE_GZIP,
        mediatypes.IMAGE_LAYER_NONDISTRIBUTABLE_ZSTD,
    }
)


class Manifest(NamedTuple):
    """A manifest as it is kept: its bytes, and the type it came with."""

    digest: str
    media_type: str
    data: bytes


class ManifestDocument(NamedTuple):
    """What a registry reads in a manifest."""

    media_type: str | None = None
    #: Digests of blobs that it needs.
    blobs: tuple[str, ...] = ()
    #: Digests of manifests that it lists.
    manifests: tuple[str, ...] = ()
    subject: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, Any] | None = None


def read_manifest(data: bytes) -> ManifestDocument:
    """Read a manifest or an index.

    Raises:
        ManifestError: It is not a JSON object, or what refers to something in it is no descriptor.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"expected a manifest in JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"expected a manifest that is a JSON object, found {type(document).__name__}")
    config = _descriptors(document, "config")
    layers = [one for one in _descriptors(document, "layers") if _text(one.get("mediaType")) not in _FOREIGN]
    config_type = config[0].get("mediaType") if config else None
    subjects = _descriptors(document, "subject")
    annotations = document.get("annotations")
    return ManifestDocument(
        media_type=_text(document.get("mediaType")),
        blobs=tuple(one["digest"] for one in [*config, *layers]),
        manifests=tuple(one["digest"] for one in _descriptors(document, "manifests")),
        subject=subjects[0]["digest"] if subjects else None,
        artifact_type=_text(document.get("artifactType")) or _text(config_type),
        annotations=annotations if isinstance(annotations, dict) else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _descriptors(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the descriptors below a key, one or a list, each with a digest that is one."""
    value = document.get(key)
    found = [] if value is None else value if isinstance(value, list) else [value]
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("digest"), str):
            raise ManifestError(f"$.{key}: expected a descriptor with a digest, found {str(one)[:80]!r}")
        try:
            Digest(one["digest"])
        except InvalidDigestError as error:
            raise ManifestError(f"$.{key}: {error}") from error
    return found
