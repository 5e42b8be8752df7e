"""All images of a place brought to another: :func:`sync`, and what it tells.

* :mod:`.sources`: which images there are
* :mod:`.naming`: which of them are wanted, and what they are to be called
* :mod:`.destinations`: where they go, what is there too much, and how that goes
* :mod:`.belonging`: what is in a place of one image, and whether that changed
* :mod:`.places`: that no image comes from where it goes
* :mod:`.lending`: archives that several images come from
* :mod:`.presence`: what is there already, and whether it is whole
* :mod:`.engine`: the whole of it
* :mod:`.results`, :mod:`.display`: the report, and how it shows itself

Nothing in here copies a byte: each image is copied by :func:`ocikit.image.copy.image`, under the same policy.
"""

from __future__ import annotations

from ocikit.image.syncing.engine import sync
from ocikit.image.syncing.results import SyncedImage, SyncOutcome, SyncReport

__all__ = ["SyncOutcome", "SyncReport", "SyncedImage", "sync"]
