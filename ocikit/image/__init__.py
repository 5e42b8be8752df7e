"""Images: read, verify, copy and unpack them, wherever they are kept.

The names here are loaded when they are first used; nothing heavy is imported before.

* names and places: :func:`parse_image_name`, :func:`image_name`, :mod:`ocikit.image.transports`; open file objects
  as places: :func:`archive_reference`
* the interfaces: :mod:`ocikit.image.types`
* looking at them: :func:`inspect`, :func:`list_images`, :func:`identify`; getting rid of them: :func:`delete`
* what is kept about them: :func:`referrers`; files of any kind as images: :mod:`ocikit.image.artifact`
* lists of images for several platforms, made and edited: :mod:`ocikit.image.index`
* which images are allowed: :class:`Policy`; who signed them: :func:`verify`; signing them: :func:`sign`, with what is
  in :mod:`ocikit.image.signature`
* from one place to another: :func:`ocikit.image.copy.image`; a directory full of them: :func:`import_directory`;
  all of a place: :func:`sync`
* registries, beside their images: :mod:`ocikit.image.docker`
* encrypted layers: :mod:`ocikit.image.encryption`
* a directory of them, kept in order: :mod:`ocikit.image.layout`
* files of ``docker save`` with several images: :mod:`ocikit.image.docker_archive`
* registries as they are configured: :mod:`ocikit.image.registries`, :mod:`ocikit.image.credentials`
* as a root file system: :func:`unpack`, within :class:`Limits`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image import (
        artifact,
        copy,
        credentials,
        docker,
        docker_archive,
        encryption,
        index,
        layout,
        registries,
        signature,
        transports,
    )
    from ocikit.image.context import DockerAuthConfig, ShortNameMode, SystemContext
    from ocikit.image.found import FoundImage, PlaceTransport
    from ocikit.image.history import HistoryLine
    from ocikit.image.identification import Identification, identify
    from ocikit.image.importing import ImportedImage, ImportReport, import_directory
    from ocikit.image.inspection import ImageInspection, inspect
    from ocikit.image.limits import Limits
    from ocikit.image.listing import ListedImage, ListedImages, list_images
    from ocikit.image.policy import Policy
    from ocikit.image.referring import referrers
    from ocikit.image.signature import PolicyContext
    from ocikit.image.signing import SignResult, sign
    from ocikit.image.syncing import SyncedImage, SyncOutcome, SyncReport, sync
    from ocikit.image.transports import archive_reference, delete, image_name, parse_image_name
    from ocikit.image.types import (
        BlobInfo,
        ByteStream,
        ImageDestination,
        ImageReference,
        ImageSource,
        ImageTransport,
        LayerCompression,
        PartialBlob,
    )
    from ocikit.image.unpacking import UnpackResult, unpack
    from ocikit.image.verification import Verification, VerifiedImage, verify

__all__ = [
    "BlobInfo",
    "ByteStream",
    "DockerAuthConfig",
    "FoundImage",
    "HistoryLine",
    "Identification",
    "ImageDestination",
    "ImageInspection",
    "ImageReference",
    "ImageSource",
    "ImageTransport",
    "ImportReport",
    "ImportedImage",
    "LayerCompression",
    "Limits",
    "ListedImage",
    "ListedImages",
    "PartialBlob",
    "PlaceTransport",
    "Policy",
    "PolicyContext",
    "ShortNameMode",
    "SignResult",
    "SyncOutcome",
    "SyncReport",
    "SyncedImage",
    "SystemContext",
    "UnpackResult",
    "Verification",
    "VerifiedImage",
    "archive_reference",
    "artifact",
    "copy",
    "credentials",
    "delete",
    "docker",
    "docker_archive",
    "encryption",
    "identify",
    "image_name",
    "import_directory",
    "index",
    "inspect",
    "layout",
    "list_images",
    "parse_image_name",
    "referrers",
    "registries",
    "sign",
    "signature",
    "sync",
    "transports",
    "unpack",
    "verify",
]

# Each public name and the module of this room that holds it; a name that is a module of its own maps to itself.
_HOMES = {
    "BlobInfo": "types",
    "ByteStream": "types",
    "DockerAuthConfig": "context",
    "FoundImage": "found",
    "HistoryLine": "history",
    "Identification": "identification",
    "ImageDestination": "types",
    "ImageInspection": "inspection",
    "ImageReference": "types",
    "ImageSource": "types",
    "ImageTransport": "types",
    "ImportReport": "importing",
    "ImportedImage": "importing",
    "LayerCompression": "types",
    "Limits": "limits",
    "ListedImage": "listing",
    "ListedImages": "listing",
    "PartialBlob": "types",
    "PlaceTransport": "found",
    "Policy": "policy",
    "PolicyContext": "signature",
    "ShortNameMode": "context",
    "SignResult": "signing",
    "SyncOutcome": "syncing",
    "SyncReport": "syncing",
    "SyncedImage": "syncing",
    "SystemContext": "context",
    "UnpackResult": "unpacking",
    "Verification": "verification",
    "VerifiedImage": "verification",
    "archive_reference": "transports",
    "artifact": "artifact",
    "copy": "copy",
    "credentials": "credentials",
    "delete": "transports",
    "docker": "docker",
    "docker_archive": "docker_archive",
    "encryption": "encryption",
    "identify": "identification",
    "image_name": "transports",
    "import_directory": "importing",
    "index": "index",
    "inspect": "inspection",
    "layout": "layout",
    "list_images": "listing",
    "parse_image_name": "transports",
    "referrers": "referring",
    "registries": "registries",
    "sign": "signing",
    "signature": "signature",
    "sync": "syncing",
    "transports": "transports",
    "unpack": "unpacking",
    "verify": "verification",
}

__getattr__, __dir__ = face(__name__, _HOMES)
