"""Stores of containers/storage, where podman, buildah and CRI-O keep images: found, listed, read, never written.

* :mod:`~ocikit.image.storage.conf`: where the store of this machine or user is (storage.conf)
* :mod:`~ocikit.image.storage.records`: what images.json and layers.json say
* :mod:`~ocikit.image.storage.store`: one open store, consistent while it is open
* :mod:`~ocikit.image.storage.tar_split`: the exact tar stream of a layer, from its files and its tar-split

A store may belong to somebody else. Everything below its root is opened by descriptor, no name in it leads out of it,
and nothing of it is believed: whoever reads compares digests, as with every source.
"""

from __future__ import annotations
