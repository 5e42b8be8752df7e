"""The manifest of an image, from Docker's schema 2 to OCI and back.

The configuration stays byte for byte: only the type that the manifest states for it changes. So an image keeps its
ID, and Docker's own fields (``Healthcheck``, ``OnBuild``, ``Shell``) survive an OCI manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import ManifestTypeRejectedError
from ocikit.image.conversion.documents import EMPTY, Converted, Raw, arranged, counted, losses, read, write
from ocikit.image.conversion.layers import Family, converted, family_of, is_layer
from ocikit.image.manifest import parse_manifest
from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CONFIG_TYPES", "IMAGES", "convert_manifest"]

#: The types of manifests that are converted into each other.
IMAGES: Final = (mediatypes.IMAGE_MANIFEST, mediatypes.DOCKER_MANIFEST)
#: The type of a configuration in the manifests of each family.
CONFIG_TYPES: Final = {Family.OCI: mediatypes.IMAGE_CONFIG, Family.DOCKER: mediatypes.DOCKER_CONFIG}

_MANIFEST: Final = frozenset({"schemaVersion", "mediaType", "config", "layers"})
_DESCRIPTOR: Final = frozenset({"mediaType", "size", "digest", "urls"})


def convert_manifest(data: bytes, media_type: str, to: str) -> Converted:
    """Convert the manifest of an image into another type.

    Blobs stay what they are, the configuration included. From Docker to OCI nothing is lost.

    Args:
        data: The manifest.
        media_type: Its type: Docker's schema 2 or OCI.
        to: The type it shall have, one of the same; its own is no change at all.

    Returns:
        The manifest, and what Docker's type has no words for.

    Raises:
        ManifestError: The manifest is malformed.
        ManifestTypeRejectedError: It cannot be said in that type: it is an index or an artifact, or has layers in zstd
            or encrypted ones, for which Docker has no type.
        LimitExceededError: It is larger than 4 MiB, or would be.
    """
    if media_type not in IMAGES or to not in IMAGES:
        raise ManifestTypeRejectedError(
            f"the manifest of an image ({' or '.join(IMAGES)}) can be converted into the other type; asked for was "
            f"{media_type} as {to}"
        )
    if media_type == to:
        return Converted(data=data, media_type=media_type)
    _, document = read(data, media_type)
    _check_image(document, to)
    family = family_of(to)
    result = {
        "schemaVersion": 2,
        "mediaType": to,
        "config": arranged(document["config"], family, CONFIG_TYPES[family]),
        "layers": [arranged(layer, family, converted(layer["mediaType"], to)) for layer in document["layers"]],
    }
    lost: tuple[str, ...] = ()
    if family is Family.OCI:
        result |= {key: value for key, value in document.items() if key not in _MANIFEST}
    else:
        lost = counted(_lost(document))
    written = write(result)
    parse_manifest(written, to)
    return Converted(data=written, media_type=to, lost=lost)


def _check_image(document: Raw, to: str) -> None:
    """Refuse artifacts: in a type that knows images only they would be something else."""
    reason = next(_signs_of_an_artifact(document), None)
    if reason is not None:
        raise ManifestTypeRejectedError(
            f"this is an artifact and no image, {reason}; it cannot be converted to {to}, only copied as it is"
        )


def _signs_of_an_artifact(document: Raw) -> Iterator[str]:
    if document.get("subject") not in EMPTY:
        yield "it says something about another manifest ($.subject)"
    if document.get("artifactType") not in EMPTY:
        yield f"it has the artifact type {str(document['artifactType'])[:160]!r}"
    if (config := document["config"]["mediaType"]) not in CONFIG_TYPES.values():
        yield f"its config is of type {config[:160]!r}"
    for number, layer in enumerate(document["layers"]):
        if not is_layer(layer["mediaType"]):
            yield f"layer {number} is of type {layer['mediaType'][:160]!r}"


def _lost(document: Raw) -> Iterator[tuple[str, int]]:
    yield from losses("the manifest", [document], _MANIFEST)
    yield from losses("the config", [document["config"]], _DESCRIPTOR)
    yield from losses("the layers", document["layers"], _DESCRIPTOR)
