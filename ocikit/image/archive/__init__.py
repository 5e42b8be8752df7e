"""Tar files that images are kept in, whatever is in them: read where they lie, written in one piece.

* :mod:`~ocikit.image.archive.regions`: parts of open files, and the anonymous file for what has to be put aside.
* :mod:`~ocikit.image.archive.members`: what is in a tar file, by name; links between members followed inside it.
* :mod:`~ocikit.image.archive.writer`: a tar file on its way: each blob written once, into its place, in parallel.
* :mod:`~ocikit.image.archive.target`: where it goes: a file that appears whole, or a stream.
* :mod:`~ocikit.image.archive.patience`: file objects of others, non-blocking ones included.
* :mod:`~ocikit.image.archive.docker`: the documents of ``docker save``, as data.

Nothing is unpacked: names in an archive are only ever compared. Layouts in archives are
:mod:`ocikit.image.layout.archive`; nothing here knows transports or references.
"""

from __future__ import annotations

__all__: list[str] = []
