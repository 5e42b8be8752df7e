"""What can be put right in a layout without losing anything, once it is known what is wrong.

Whoever repairs has the layout to himself. Blobs that do not have their digest are no use to anybody under that name,
and in the way of a copy that would bring the right ones; they are moved and not removed. In index.json only what does
not change a digest is corrected: manifests cannot be.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit._fs import DIRECTORY, Descriptor, fsync_directory, located
from ocikit.errors import LayoutError, LimitExceededError, ManifestError, VerificationError
from ocikit.image.layout.blobs import read_document
from ocikit.image.layout.content import kind_of
from ocikit.image.layout.problems import ProblemKind, Severity
from ocikit.image.manifest import guess_media_type
from ocikit.spec import IMAGE_INDEX_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocikit.image.layout.index import LayoutIndex
    from ocikit.image.layout.problems import Problem
    from ocikit.image.layout.store import Layout
    from ocikit.spec import Descriptor as ContentDescriptor
    from ocikit.spec import Digest

__all__ = ["DAMAGED_DIRECTORY", "Repairs"]

#: Where damaged blobs are put, in the directory of the layout.
DAMAGED_DIRECTORY: Final = ".ocikit-damaged"
_POSITION: Final = re.compile(r"\$\.manifests\[(\d+)\]")
#: What open(2) says of a link, or of anything else that is no directory.
_NO_DIRECTORY: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
_CORRECTED: Final = frozenset({ProblemKind.WRONG_SIZE, ProblemKind.WRONG_MEDIA_TYPE})
_GONE: Final = frozenset({ProblemKind.MISSING_BLOB, ProblemKind.WRONG_DIGEST})


class Repairs:
    """The repairs of a layout that was opened to remove.

    Args:
        layout: The layout.
        index: What was in index.json when it was checked; None when that could not be read.
        drop_entries: Whether entries of index.json that lead nowhere are removed.
    """

    def __init__(self, layout: Layout, index: LayoutIndex | None, *, drop_entries: bool) -> None:
        self._layout = layout
        self._index = index
        self._drop_entries = drop_entries
        self._dropped: set[str] = set()

    def carry_out(self, problems: Sequence[Problem]) -> list[Problem]:
        """Repair what can be repaired; return the problems, those that were repaired with what was done.

        Raises:
            LayoutError: Something else is where damaged blobs would be put; nothing was repaired.
            OSError: The layout cannot be written; what was done by then stays done.
        """
        with contextlib.ExitStack() as stack:
            # First, as it may be refused.
            aside = stack.enter_context(self._open_aside()) if any(map(self._is_damaged, problems)) else None
            done = self._correct_index(problems)
            repaired = []
            for number, one in enumerate(problems):
                if (told := done.get(number)) is not None:
                    repaired.append(evolve(one, repair=told, resolved=True))
                elif aside is not None and one.digest is not None and self._is_damaged(one):
                    repaired.append(self._put_aside(one, one.digest, aside))
                else:
                    repaired.append(one)
            return repaired

    def _is_damaged(self, problem: Problem) -> bool:
        return problem.kind is ProblemKind.WRONG_DIGEST and not self._layout.has_shared_blobs

    def _open_aside(self) -> Descriptor:
        home = self._layout.directory_fd
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(DAMAGED_DIRECTORY, 0o700, dir_fd=home)
            return Descriptor(os.open(DAMAGED_DIRECTORY, DIRECTORY, dir_fd=home))
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                where = f"{self._layout.path}/{DAMAGED_DIRECTORY}"
                raise LayoutError(
                    f"{where}: expected a directory for damaged blobs, found a link or a file; move it away"
                ) from error
            raise located(error, home, DAMAGED_DIRECTORY) from error

    def _put_aside(self, problem: Problem, digest: Digest, aside: Descriptor) -> Problem:
        try:
            name = _free_name(f"{digest.algorithm}-{digest.hex}", aside)
            self._layout.blobs.put_aside(digest, aside.fd, name)
            fsync_directory(aside.fd)
        except OSError as error:
            raise located(error, self._layout.directory_fd, DAMAGED_DIRECTORY) from error
        told = f"it was moved to {self._layout.path}/{DAMAGED_DIRECTORY}/{name}"
        needed = set(problem.images) - self._dropped
        more = f"; copy again what needs it: {', '.join(sorted(needed))}" if needed else ""
        return evolve(problem, repair=f"{told}{more}", resolved=not needed)

    # ---------------------------------------------------------------------------------------------------- index.json

    def _correct_index(self, problems: Sequence[Problem]) -> dict[int, str]:
        """Change index.json in one step; return what was done about which problems, by their number."""
        if self._index is None:
            return {}
        at = {number: position for number, one in enumerate(problems) if (position := self._position(one)) is not None}
        wrong = {position for number, position in at.items() if problems[number].kind in _CORRECTED}
        dropped = self._nowhere(self._index, problems, at) if self._drop_entries else set()
        if not wrong | dropped or not self._change(self._index, wrong - dropped, dropped):
            return {}
        self._dropped = {self._index.label(position) for position in dropped}
        done = {number: "it was corrected in index.json" for number in at if problems[number].kind in _CORRECTED}
        return done | {
            number: "the entry was removed from index.json" for number, position in at.items() if position in dropped
        }

    def _position(self, problem: Problem) -> int | None:
        match = _POSITION.fullmatch(problem.where)
        return int(match[1]) if match and problem.path == f"{self._layout.path}/{IMAGE_INDEX_FILE}" else None

    def _nowhere(self, index: LayoutIndex, problems: Sequence[Problem], at: Mapping[int, int]) -> set[int]:
        """Return the positions of entries that are no descriptors, or whose manifest is not there or damaged."""
        broken = {position for number, position in at.items() if problems[number].kind is ProblemKind.BROKEN_ENTRY}
        gone = {one.digest for one in problems if one.kind in _GONE and one.severity is Severity.ERROR}
        others = [position for position in range(len(index)) if position not in broken]
        return broken | {position for position in others if index.descriptor(position).digest in gone}

    def _change(self, checked: LayoutIndex, wrong: set[int], dropped: set[int]) -> bool:
        with self._layout.changing_index() as index:
            if index.to_bytes() != checked.to_bytes():
                return False  # a program that knows no locks wrote it meanwhile: these are other entries
            for position in wrong:
                descriptor = index.descriptor(position)
                data = self._manifest(descriptor)
                if data is not None:
                    kind = kind_of(data, descriptor.media_type)
                    index.correct(position, media_type=kind, size=len(data))
                else:
                    index.correct(position, size=self._layout.blobs.size(descriptor.digest))
            for position in sorted(dropped, reverse=True):
                index.remove(position)
        return True

    def _manifest(self, descriptor: ContentDescriptor) -> bytes | None:
        """Return what is a manifest, embedded in its descriptor or a blob; None when it is something else."""
        data = None
        with contextlib.suppress(VerificationError):
            data = descriptor.embedded_content()
        try:
            data = data if data is not None else self._read(descriptor.digest)
            guess_media_type(data)
        except (ManifestError, LimitExceededError):
            return None
        return data

    def _read(self, digest: Digest) -> bytes:
        stream, _ = self._layout.open_blob(digest)
        with stream:
            return read_document(stream, str(digest))


def _free_name(name: str, directory: Descriptor) -> str:
    """Return a name, with a number if an earlier blob of the same digest has it: that one may be the better one."""
    free = name
    with contextlib.suppress(FileNotFoundError):
        for number in itertools.count(2):
            os.stat(free, dir_fd=directory.fd, follow_symlinks=False)
            free = f"{name}.{number}"
    return free
