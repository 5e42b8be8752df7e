"""Manifests from one type into another, as bytes and descriptors: nothing here reads or writes an image.

* :mod:`~ocikit.image.conversion.layers`: what the media types of layers say, and which says the same elsewhere.
* :mod:`~ocikit.image.conversion.manifests`: the manifest of an image, between Docker's schema 2 and OCI.
* :mod:`~ocikit.image.conversion.indexes`: an index, between Docker's list and OCI.
* :mod:`~ocikit.image.conversion.edits`: a manifest or index with other descriptors in it, and nothing else changed.
* :mod:`~ocikit.image.conversion.variants`: which entries of an index are the same image in another compression.
* :mod:`~ocikit.image.conversion.digests`: the digest that a manifest goes by, that of signed ones included.
* :mod:`~ocikit.image.conversion.schema1`: Docker's schema 1, read and turned into either of the others.
* :mod:`~ocikit.image.conversion.documents`: manifests as plain data, for all of the above.

Configurations are never changed: between schema 2 and OCI only the media type that a manifest states for them is,
so that Docker's own fields stay, and with them the ID of the image. Whatever the other type has no words for is
either a reason to refuse, or is counted in :attr:`~ocikit.image.conversion.documents.Converted.lost`.
"""

from __future__ import annotations

__all__: list[str] = []
