"""The database of images that an OCI layout is (image specification, image-layout.md), as a directory or an archive.

To care for one in a directory: :func:`fsck`, :func:`gc`, :func:`stat`, :func:`tag`, :func:`untag`. Underneath:

* :mod:`~ocikit.image.layout.index`: index.json as data: look up, add, remove; what is not ours stays as it is.
* :mod:`~ocikit.image.layout.names`: what an image may be called there.
* :mod:`~ocikit.image.layout.blobs`: content that is verified while it arrives and is there whole or not at all.
* :mod:`~ocikit.image.layout.linking`: one file for two layouts.
* :mod:`~ocikit.image.layout.locks`: who waits for whom.
* :mod:`~ocikit.image.layout.temporary`: files on their way, and what a crash left of them.
* :mod:`~ocikit.image.layout.store`: a layout in a directory, with all of the above.
* :mod:`~ocikit.image.layout.referrers`: which manifests are about which others.
* :mod:`~ocikit.image.layout.signature_entries`, :mod:`~ocikit.image.layout.signatures` and
  :mod:`~ocikit.image.layout.attaching`: signatures, found and added.
* :mod:`~ocikit.image.layout.documents`: manifests and configurations in it, verified.
* :mod:`~ocikit.image.layout.reachability`, :mod:`~ocikit.image.layout.removal` and
  :mod:`~ocikit.image.layout.garbage`: what is needed, and what goes.
* :mod:`~ocikit.image.layout.problems`, :mod:`~ocikit.image.layout.survey`, :mod:`~ocikit.image.layout.hashing` and
  :mod:`~ocikit.image.layout.repair`: what can be wrong, how it is found, and put right.
* :mod:`~ocikit.image.layout.archive`: a layout in a tar file, read in place or in one pass, written in one go.
* :mod:`~ocikit.image.layout.removal`: which blobs go with an image that is deleted.
* :mod:`~ocikit.image.layout.archive`: a layout in a tar file, on :mod:`ocikit.image.archive`.

Nothing here knows transports or references; those are made from this in :mod:`ocikit.image.transports`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit._faces import face

if TYPE_CHECKING:
    from ocikit.image.layout.checking import fsck
    from ocikit.image.layout.garbage import CollectedBlob, CollectionReport, gc
    from ocikit.image.layout.problems import CheckReport, Problem, ProblemKind, Severity
    from ocikit.image.layout.sizes import ImageStat, stat
    from ocikit.image.layout.tagging import tag, untag

__all__ = [
    "CheckReport",
    "CollectedBlob",
    "CollectionReport",
    "ImageStat",
    "Problem",
    "ProblemKind",
    "Severity",
    "fsck",
    "gc",
    "stat",
    "tag",
    "untag",
]

# Each public name and the module of this room that holds it.
_HOMES = {
    "CheckReport": "problems",
    "CollectedBlob": "garbage",
    "CollectionReport": "garbage",
    "ImageStat": "sizes",
    "Problem": "problems",
    "ProblemKind": "problems",
    "Severity": "problems",
    "fsck": "checking",
    "gc": "garbage",
    "stat": "sizes",
    "tag": "tagging",
    "untag": "tagging",
}

__getattr__, __dir__ = face(__name__, _HOMES)
