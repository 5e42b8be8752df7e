"""Archives of ``docker save`` with several images in them, which share layers.

    with docker_archive.Writer("all.tar") as writer:
        copy.image(policy, dest=writer.reference("app:1"), src="oci:/srv/app:1")
        copy.image(policy, dest=writer.reference("db:1"), src="oci:/srv/db:1")

One image is written by its name, ``docker-archive:app.tar:app:1``, and several are read by theirs;
:func:`ocikit.image.list_images` says what there is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import evolve

from ocikit.image.transports._archive_file import opened, place
from ocikit.image.transports._docker_image import parse_tagged
from ocikit.image.transports.docker_archive import DockerArchiveReference

if TYPE_CHECKING:
    from typing import Self

    from ocikit.image.types import ImageReference, SystemContext

__all__ = ["Writer"]


class Writer:
    """An archive that several images are copied into; it appears, whole, at :meth:`commit`.

    At the end of a ``with`` block it is committed, or given up when the block is left by an exception.

    Args:
        file: The path, ``-`` for standard output, or an open file object. A path must lead to nothing, to an empty
            file, or to a pipe.
        sys: The circumstances.

    Raises:
        InvalidReferenceError: The path leads nowhere.
        LayoutError: There is something that is not empty.
        OSError: It cannot be written.
    """

    def __init__(self, file: str | os.PathLike[str] | object, sys: SystemContext | None = None) -> None:
        where = place(os.fspath(file), os.fspath(file)) if isinstance(file, str | os.PathLike) else opened(file)
        self._reference = DockerArchiveReference(**where)
        self._writer = self._reference.new_writer(sys)

    def reference(self, name: str | None = None) -> ImageReference:
        """Return the reference to copy an image to.

        Args:
            name: Its name, with ``latest`` where there is no tag; None for none.

        Raises:
            InvalidReferenceError: The name is outside the grammar.
        """
        named = parse_tagged(name) if name is not None else None
        return evolve(self._reference, named=named, writer=self._writer)

    def commit(self) -> None:
        """Finish the archive and have it appear, with every image that was committed.

        Raises:
            LayoutError: There is none.
            OSError: It cannot be written; what was there before is still there.
        """
        self._writer.commit()

    def close(self) -> None:
        """Give up what was not committed; closing twice is nothing."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exc_type is None:
                self.commit()
        finally:
            self.close()
