"""Copying images: :func:`image`, what it may be told and what it tells.

* :mod:`.reading`: every manifest, verified and allowed
* :mod:`.decisions`: what becomes of each, and of its layers
* :mod:`.transfers`: the blobs that this takes, each once
* :mod:`.referring`: what refers to the image, and goes with it
* :mod:`.blobs`, :mod:`.recompression`, :mod:`.foreign`: the bytes
* :mod:`.rewriting`, :mod:`.writing`: the manifests as they are in the end
* :mod:`.engine`: the whole of it; :mod:`.preview`: the same without copying
* :mod:`.options`, :mod:`.results`, :mod:`.progress`: choices, results and events, only data
* :mod:`.telling`, :mod:`.tally`, :mod:`.showing`: events told, counted and shown
"""

from __future__ import annotations

from ocikit.image.copy.engine import image
from ocikit.image.copy.options import CompressionVariant, CopyOptions, ImageListSelection, SparseManifestListAction
from ocikit.image.copy.preview import CopyPlan, PlannedBlob, PlannedManifest, plan
from ocikit.image.copy.progress import (
    ArtifactDone,
    ArtifactFailed,
    ArtifactRead,
    ArtifactSkipped,
    ArtifactsPlanned,
    NewArtifact,
    ProgressEvent,
)
from ocikit.image.copy.results import BlobOutcome, CopiedBlob, CopyResult
from ocikit.image.copy.showing import ProgressBars, progress_lines, progress_rich, progress_tqdm
from ocikit.image.copy.tally import BlobProgress, ProgressTally

__all__ = [
    "ArtifactDone",
    "ArtifactFailed",
    "ArtifactRead",
    "ArtifactSkipped",
    "ArtifactsPlanned",
    "BlobOutcome",
    "BlobProgress",
    "CompressionVariant",
    "CopiedBlob",
    "CopyOptions",
    "CopyPlan",
    "CopyResult",
    "ImageListSelection",
    "NewArtifact",
    "PlannedBlob",
    "PlannedManifest",
    "ProgressBars",
    "ProgressEvent",
    "ProgressTally",
    "SparseManifestListAction",
    "image",
    "plan",
    "progress_lines",
    "progress_rich",
    "progress_tqdm",
]
