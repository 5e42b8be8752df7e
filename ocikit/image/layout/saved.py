"""Bundles that `cosign save` writes into a layout, and that its index.json does not list.

They are found as long as index.json says that cosign has saved the image. Nothing refers to them: whoever removes what
nothing refers to asks here first, and whoever gives the image a name lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.image.layout.index import SUBJECT_HINT
from ocikit.image.layout.reachability import reachable
from ocikit.image.layout.signatures import SignatureFinder

if TYPE_CHECKING:
    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.layout.store import Layout
    from ocikit.spec import Digest

__all__ = ["list_bundles", "needed_blobs"]


def needed_blobs(layout: Layout, index: LayoutIndex) -> set[Digest]:
    """Return everything that a layout needs: what can be reached, and bundles of what cosign has saved.

    Args:
        layout: The layout.
        index: Its index.json.

    Raises:
        LayoutError: As :func:`~ocikit.image.layout.reachability.reachable`.
        LimitExceededError: Likewise.
        OSError: Likewise.
    """
    found = reachable(layout, index.to_bytes())
    for bundle in SignatureFinder(layout, index, layout.path, most_unlisted=None).unlisted():
        found |= reachable(layout, bundle.digest.encode(), found)
    return found


def list_bundles(layout: Layout, index: LayoutIndex, subject: Digest) -> None:
    """List the bundles of a manifest that cosign has saved, before its entry says something else.

    Args:
        layout: The layout.
        index: Its index.json; changed.
        subject: The digest of the manifest.
    """
    if not index.is_saved(subject):
        return
    for bundle in SignatureFinder(layout, index, layout.path).unlisted(subject):
        index.put_referrer(evolve(bundle, annotations={SUBJECT_HINT: str(subject)}))
