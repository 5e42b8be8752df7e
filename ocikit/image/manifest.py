"""Manifests as bytes: what kind they are, and the one meaning they have.

Whoever can choose between two readings of the same bytes can sign one and ship the other
(CVE-2021-41190). So a type is taken from the place that served the bytes, the bytes must agree with it,
and a document that fits two types is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import LimitExceededError, ManifestError, NotSupportedError, ParseError
from ocikit.spec import DockerManifest, DockerManifestList, Index, Manifest, mediatypes
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from ocikit.spec import Descriptor

__all__ = [
    "LIMIT",
    "AnyIndex",
    "AnyManifest",
    "ImageManifest",
    "check_size",
    "guess_media_type",
    "normalise_media_type",
    "parse_manifest",
]

#: The size up to which manifests, image configurations and the documents of a layout are read, in bytes.
LIMIT: Final = 4 * 1024 * 1024

#: The manifest of one image or artifact.
ImageManifest = Manifest | DockerManifest
#: A list of manifests.
AnyIndex = Index | DockerManifestList
AnyManifest = ImageManifest | AnyIndex

_CLASSES: Final[dict[str, type[Manifest | DockerManifest | Index | DockerManifestList]]] = {
    cls.MEDIA_TYPE: cls for cls in (Manifest, DockerManifest, Index, DockerManifestList)
}
_SCHEMA1: Final = frozenset({mediatypes.DOCKER_MANIFEST_SCHEMA1, mediatypes.DOCKER_MANIFEST_SCHEMA1_SIGNED})

# What servers and file systems say when they do not know what they serve.
_SAYS_NOTHING: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


def check_size(data: bytes, what: str) -> None:
    """Refuse a manifest or configuration larger than 4 MiB.

    Args:
        data: The bytes.
        what: What they are, for the message.

    Raises:
        LimitExceededError: They are too many.
    """
    if len(data) > LIMIT:
        raise LimitExceededError(f"{what} bytes", LIMIT, len(data))


def normalise_media_type(served: str, data: bytes) -> str:
    """Return the type of a manifest that was served as ``served``.

    Args:
        served: The type that the place states, with or without parameters; may say nothing.
        data: The manifest; looked into only when the place says nothing.

    Raises:
        ManifestError: The place says nothing and the manifest does not either.
    """
    stated = served.partition(";")[0].strip().lower()
    return guess_media_type(data) if stated in _SAYS_NOTHING else stated


def guess_media_type(data: bytes) -> str:
    """Return the type of a manifest from its content alone.

    Args:
        data: The manifest.

    Raises:
        ManifestError: It is not JSON, or does not say what it is, or could be two things.
        LimitExceededError: It is larger than 4 MiB.
    """
    check_size(data, "manifest")
    try:
        document = loads(data)
    except ParseError as error:
        raise ManifestError(f"not a manifest: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError("not a manifest: $: expected an object")
    stated = document.get("mediaType")
    if isinstance(stated, str) and stated:
        return stated
    if document.get("schemaVersion") == 1:
        return mediatypes.DOCKER_MANIFEST_SCHEMA1_SIGNED
    return _guess_by_keys(document)


def _guess_by_keys(document: dict[str, object]) -> str:
    lists, layers = "manifests" in document, "layers" in document or "config" in document
    if lists and layers:
        raise ManifestError(
            "ambiguous: both a list of manifests and a manifest with layers, and no mediaType says which"
        )
    if lists:
        return mediatypes.IMAGE_INDEX
    if not layers:
        raise ManifestError("not a manifest: it has no mediaType, and neither manifests nor layers")
    config = document.get("config")
    docker = isinstance(config, dict) and config.get("mediaType") == mediatypes.DOCKER_CONFIG
    return mediatypes.DOCKER_MANIFEST if docker else mediatypes.IMAGE_MANIFEST


def parse_manifest(data: bytes, media_type: str) -> AnyManifest:
    """Parse a manifest of a known type.

    Args:
        data: The manifest; verified before by whoever calls this.
        media_type: Its type, as :func:`normalise_media_type` gives it.

    Returns:
        A :class:`~ocikit.spec.Manifest`, :class:`~ocikit.spec.Index` or one of Docker's two.

    Raises:
        ManifestError: It is not what its type says, or fits another type as well, or has negative sizes.
        NotSupportedError: The type is Docker's schema 1.
        LimitExceededError: It is larger than 4 MiB, or nested too deeply.
    """
    if media_type in _SCHEMA1:
        raise NotSupportedError(f"{media_type}: an image in Docker's schema 1 cannot be listed or looked at by itself")
    cls = _CLASSES.get(media_type)
    if cls is None:
        raise ManifestError(f"{media_type!r} is not the type of a manifest; known are {', '.join(sorted(_CLASSES))}")
    check_size(data, "manifest")
    try:
        manifest = cls.from_json(data)
    except ParseError as error:
        raise ManifestError(f"not a manifest of type {media_type}: {error}") from error
    if manifest.media_type not in {"", media_type}:
        raise ManifestError(f"served as {media_type}, but says of itself that it is {manifest.media_type!r}")
    if manifest.schema_version != 2:
        raise ManifestError(f"$.schemaVersion: expected 2, found {manifest.schema_version}")
    for path, descriptor in _descriptors(manifest):
        if descriptor.size < 0:
            raise ManifestError(f"{path}.size: expected a size, found {descriptor.size}")
    return manifest


def _descriptors(manifest: AnyManifest) -> list[tuple[str, Descriptor]]:
    if isinstance(manifest, Index | DockerManifestList):
        return [(f"$.manifests[{number}]", entry) for number, entry in enumerate(manifest.manifests)]
    layers = [(f"$.layers[{number}]", layer) for number, layer in enumerate(manifest.layers)]
    return [("$.config", manifest.config), *layers]
