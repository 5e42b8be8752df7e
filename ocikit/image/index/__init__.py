"""Lists of images for several platforms: made of images from anywhere, and edited.

* As data, :mod:`.editing`: :func:`empty`, :func:`add`, :func:`remove`, :func:`annotate`, :func:`set_platform` take an
  :class:`~ocikit.spec.Index` or a :class:`~ocikit.spec.DockerManifestList` and return another one. What they do not
  know stays as it is.
* Where images are kept, :mod:`.storing`: :func:`create` an index of images, :func:`edit` one that is there. The
  images are copied to it by :mod:`ocikit.image.copy`, with everything that holds for copies.
"""

from __future__ import annotations

from ocikit.image.index.editing import add, annotate, empty, remove, set_platform
from ocikit.image.index.members import Member, MemberSelection
from ocikit.image.index.storing import create, edit

__all__ = [
    "Member",
    "MemberSelection",
    "add",
    "annotate",
    "create",
    "edit",
    "empty",
    "remove",
    "set_platform",
]
