"""Copying images: :func:`image`, what it may be told and what it tells.

* :mod:`.plan`: what is to be copied, verified and allowed before anything is written
* :mod:`.blobs`: the bytes
* :mod:`.engine`: the whole of it
* :mod:`.options`, :mod:`.progress`: choices, results and events, only data
"""

from __future__ import annotations

from ocikit.image.copy.engine import image
from ocikit.image.copy.options import BlobOutcome, CopiedBlob, CopyOptions, CopyResult, ImageListSelection
from ocikit.image.copy.progress import ArtifactDone, ArtifactRead, ArtifactSkipped, NewArtifact, ProgressEvent

__all__ = [
    "ArtifactDone",
    "ArtifactRead",
    "ArtifactSkipped",
    "BlobOutcome",
    "CopiedBlob",
    "CopyOptions",
    "CopyResult",
    "ImageListSelection",
    "NewArtifact",
    "ProgressEvent",
    "image",
]
