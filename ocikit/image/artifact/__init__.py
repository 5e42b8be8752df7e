"""Artifacts: files of any kind kept where images are, by themselves or attached to an image.

An artifact is an image manifest whose layers are files, each with its name in the annotation
``org.opencontainers.image.title`` (image specification 1.1, manifest.md, "Guidelines for artifact usage"); that is how
oras and others write them. One that has a ``subject`` is about another manifest, and is found from there.

* :func:`push` files as an artifact with a name; :func:`attach` them to an image that is there
* :func:`inspect` an artifact; :func:`list_attached` to an image
* :func:`pull` the files into a new directory, or :func:`pull_into_memory`

Everything goes through the interfaces of :mod:`ocikit.image.types`, so that it works wherever images are kept.
"""

from __future__ import annotations

from ocikit.image.artifact.document import Artifact, ArtifactFile, ListedFile
from ocikit.image.artifact.pulling import (
    ArtifactInMemory,
    FileInMemory,
    PulledArtifact,
    PulledFile,
    pull,
    pull_into_memory,
)
from ocikit.image.artifact.pushing import PushedArtifact, attach, push
from ocikit.image.artifact.reading import inspect, list_attached

__all__ = [
    "Artifact",
    "ArtifactFile",
    "ArtifactInMemory",
    "FileInMemory",
    "ListedFile",
    "PulledArtifact",
    "PulledFile",
    "PushedArtifact",
    "attach",
    "inspect",
    "list_attached",
    "pull",
    "pull_into_memory",
    "push",
]
