"""The database of images that an OCI layout is (image specification, image-layout.md), as a directory or an archive.

* :mod:`~ocikit.image.layout.index`: index.json as data: look up, add, remove; what is not ours stays as it is.
* :mod:`~ocikit.image.layout.blobs`: content that is verified while it arrives and is there whole or not at all.
* :mod:`~ocikit.image.layout.linking`: one file for two layouts.
* :mod:`~ocikit.image.layout.locks`: who waits for whom.
* :mod:`~ocikit.image.layout.temporary`: files on their way, and what a crash left of them.
* :mod:`~ocikit.image.layout.store`: a layout in a directory, with all of the above.
* :mod:`~ocikit.image.layout.referrers`: which manifests are about which others.
* :mod:`~ocikit.image.layout.removal`: which blobs go with an image that is deleted.
* :mod:`~ocikit.image.layout.archive`: a layout in a tar file, on :mod:`ocikit.image.archive`.

Nothing here knows transports or references; those are made from this in :mod:`ocikit.image.transports`.
"""

from __future__ import annotations

__all__: list[str] = []
