"""A layout checked from end to end: every reference followed, every blob hashed, each problem named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit._fs import DIRECTORY, TEMPORARY_PREFIX, Descriptor
from ocikit.errors import LayoutError, LimitExceededError, NotSupportedError, ParseError
from ocikit.image.layout.blobs import open_regular, read_document
from ocikit.image.layout.hashing import find_damaged, find_wrong_layers
from ocikit.image.layout.names import is_name
from ocikit.image.layout.opening import layout_path, shared_blobs
from ocikit.image.layout.partial import PartialName, find_partial
from ocikit.image.layout.problems import CheckReport, Problem, ProblemKind, Severity
from ocikit.image.layout.repair import DAMAGED_DIRECTORY, Repairs
from ocikit.image.layout.saved import needed_blobs
from ocikit.image.layout.store import Access, Layout
from ocikit.image.layout.survey import Link, Survey
from ocikit.spec import (
    IMAGE_BLOBS_DIR,
    IMAGE_INDEX_FILE,
    IMAGE_LAYOUT_FILE,
    IMAGE_LAYOUT_VERSION,
    Digest,
    ImageLayout,
    mediatypes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocikit.image.context import SystemContext
    from ocikit.image.layout.blobs import StoredFile
    from ocikit.image.layout.hashing import Fault
    from ocikit.image.layout.index import LayoutIndex

__all__ = ["fsck"]

#: Problems that are listed one by one.
_MOST_PROBLEMS: Final = 10_000
#: What other programs call files on their way, in the directory of the layout.
_TEMPORARIES_OF_OTHERS: Final = ("oci-put-blob", ".umoci-")
_KIND: Final = ProblemKind
_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


def fsck(
    layout: str | os.PathLike[str],
    sys: SystemContext | None = None,
    *,
    diff_ids: bool = False,
    repair: bool = False,
    drop_entries: bool = False,
    threads: int | None = None,
) -> CheckReport:
    """Check a layout: hash every blob, follow every reference from index.json, and name each problem.

    Others may read and write meanwhile, except when it is repaired: then this waits until nobody has it open and
    keeps everybody out. What is repaired loses nothing: a blob that does not have its digest is put aside, into
    ``.ocikit-damaged``, so that a later copy fetches it again; files that a crash has left are removed; a wrong size or
    media type in index.json is corrected; a missing ``oci-layout`` is written. With blobs in a directory that layouts
    share, only what this layout refers to is hashed, and nothing there is touched.

    Args:
        layout: The directory, or a name of it (``oci:/srv/layout``).
        sys: The circumstances: where the blobs are.
        diff_ids: Decompress every layer, too, and hold it against the diffID that its configuration states.
        repair: Repair what can be repaired without loss.
        drop_entries: With ``repair``, remove entries of index.json that lead nowhere: those that are no descriptors,
            and those whose manifest is missing or damaged. None goes when no manifest is there, or no blob at all:
            they may be in a directory that ``sys`` does not name.
        threads: How many blobs are hashed at a time; None for as many as there are processors, up to eight.

    Raises:
        LayoutError: It is no directory; or it is to be repaired, and ``.ocikit-damaged`` is none: nothing was repaired.
        LayoutBusyError: It is to be repaired, and this thread has it open.
        LimitExceededError: It has more than a million references.
        ValueError: Entries are to be dropped, and nothing is to be repaired.
        OSError: It cannot be read, or not be repaired.
    """
    if drop_entries and not repair:
        raise ValueError("drop_entries=True is a repair: pass repair=True, too")
    path, shared = layout_path(layout), shared_blobs(sys)
    findings = _Findings()
    opened = _open(path, shared, findings, repair=repair)
    if opened is None:
        return findings.report(path)
    with opened:
        check = _Check(opened, findings, threads)
        check.run(diff_ids=diff_ids)
        if repair:
            dropping = drop_entries and not check.elsewhere
            findings.replace(Repairs(opened, check.index, drop_entries=dropping).carry_out)
        return evolve(findings.report(path), images=check.images, blobs=check.blobs, size=check.size)


class _Findings:
    """What was found, in the order it was found, up to a bound."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.omitted = 0

    def note(self, problem: Problem) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.omitted += 1

    def replace(self, change: Callable[[list[Problem]], Iterable[Problem]]) -> None:
        self.problems = [*change(self.problems)]

    def report(self, path: str) -> CheckReport:
        problems = sorted(self.problems, key=lambda one: _ORDER[one.severity])
        return CheckReport(path=path, problems=tuple(problems), omitted=self.omitted)


def _open(path: str, shared: str | None, findings: _Findings, *, repair: bool) -> Layout | None:
    """Open a layout; when it is none, say why and return None."""
    access = Access.REMOVE if repair else Access.READ
    try:
        return Layout(path, access, shared_blobs=shared)
    except LayoutError as error:
        if not os.path.isdir(path):
            raise  # a file is not a layout that has a problem
        with Descriptor(os.open(path, DIRECTORY)) as directory:
            problem = _explained(path, directory.fd, error)
            mendable = problem.kind is _KIND.NO_LAYOUT and IMAGE_INDEX_FILE in os.listdir(directory.fd)
    if repair and mendable:
        try:
            Layout(path, Access.WRITE, shared_blobs=shared).close()
            opened = Layout(path, access, shared_blobs=shared)
        except LayoutError:
            pass
        else:
            findings.note(evolve(problem, repair="what was missing was made", resolved=True))
            return opened
    findings.note(problem)
    return None


def _explained(path: str, directory_fd: int, error: LayoutError) -> Problem:
    where = f"{path}/{IMAGE_LAYOUT_FILE}"
    try:
        file, _ = open_regular(directory_fd, IMAGE_LAYOUT_FILE, where)
        with file:
            version = ImageLayout.from_json(read_document(file, where)).image_layout_version
    except (FileNotFoundError, LayoutError, ParseError, LimitExceededError):
        version = ""
    kind = _KIND.UNKNOWN_VERSION if version not in {"", IMAGE_LAYOUT_VERSION} else _KIND.NO_LAYOUT
    return Problem.of(kind, str(error), where)


class _Check:
    """One check of an open layout."""

    def __init__(self, layout: Layout, findings: _Findings, threads: int | None) -> None:
        self._layout = layout
        self._findings = findings
        self._threads = threads
        self._index_path = f"{layout.path}/{IMAGE_INDEX_FILE}"
        self._names: list[str] = []
        #: What is in index.json; None when that cannot be read.
        self.index: LayoutIndex | None = None
        self.images = self.blobs = self.size = 0
        #: Whether what is missing may only be in another directory, so that no entry is known to lead nowhere.
        self.elsewhere = False

    def run(self, *, diff_ids: bool) -> None:
        self._leftovers()
        survey = Survey(self._layout, self._findings.note, self._index_path)
        stored = [] if self._layout.has_shared_blobs else [*self._layout.blobs.files()]
        own = {one.digest for one in stored if one.digest is not None}
        entries = self._entries()
        self._look_elsewhere(survey, entries, empty=not own and not self._layout.has_shared_blobs)
        survey.follow(entries)
        wanted = survey.digests if self._layout.has_shared_blobs else own
        faults, self.blobs, self.size = find_damaged(self._layout, sorted(filter(_computable, wanted)), self._threads)
        self._say_damaged(faults)
        self._say_doubts(survey, faults)
        self._say_stored(stored, survey)
        if diff_ids:
            self._say_layers(survey, faults)
        self._findings.replace(lambda found: [self._with_images(one, survey) for one in found])

    def _say(
        self, kind: ProblemKind, message: str, path: str, *, where: str = "", digest: Digest | None = None
    ) -> None:
        self._findings.note(Problem.of(kind, message, path, where=where, digest=digest))

    def _blob(self, digest: Digest) -> str:
        return f"{self._layout.blobs.where}/{digest.algorithm}/{digest.hex}"

    # ---------------------------------------------------------------------------------------------------- index.json

    def _entries(self) -> list[Link]:
        try:
            index = self.index = self._layout.index()
        except (LayoutError, LimitExceededError) as error:
            self._say(_KIND.BROKEN_INDEX, str(error), self._index_path)
            return []
        self.images = len(index)
        links, named = [], dict[str, list[int]]()
        for position in range(len(index)):
            name = index.name(position)
            self._names.append(index.label(position))
            try:
                descriptor = index.descriptor(position)
            except LayoutError as error:
                self._say(_KIND.BROKEN_ENTRY, str(error), self._index_path, where=f"$.manifests[{position}]")
                continue
            if name is not None and descriptor.media_type in mediatypes.MANIFESTS:
                named.setdefault(name, []).append(position)
            links.append(Link(descriptor, position, f"$.manifests[{position}]", "manifest", 0))
        for name, positions in named.items():
            self._say_name(index, name, positions)
        return links

    def _look_elsewhere(self, survey: Survey, entries: list[Link], *, empty: bool) -> None:
        missing = sum(survey.leads_nowhere(link.target) for link in entries)
        self.elsewhere = bool(missing) and (empty or missing == len(entries))
        if self.elsewhere:
            where = self._layout.blobs.where
            message = f"{missing:,} of {len(entries):,} manifests that {IMAGE_INDEX_FILE} lists are not there"
            self._say(_KIND.BLOBS_ELSEWHERE, f"{message}{', nor is any blob' if empty else ''}", where)

    def _say_name(self, index: LayoutIndex, name: str, positions: list[int]) -> None:
        where = f"$.manifests[{positions[-1]}]"
        if not is_name(name):
            self._say(
                _KIND.ODD_NAME, f"nobody can ask for an image by the name {name!r}", self._index_path, where=where
            )
        if len(positions) == 1:
            return
        images = len({index.descriptor(position).digest for position in positions})
        which = ", ".join(f"@{position}" for position in positions[:10])
        what = f"{images} different images have" if images > 1 else "one image several times has"
        problem = Problem.of(_KIND.DUPLICATE_NAME, f"{what} the name {name!r}: {which}", self._index_path, where=where)
        self._findings.note(evolve(problem, severity=Severity.ERROR) if images > 1 else problem)

    # --------------------------------------------------------------------------------------------------------- blobs

    def _say_damaged(self, faults: dict[Digest, Fault]) -> None:
        for digest in sorted(faults):
            fault = faults[digest]
            if fault.reason:
                self._say(_KIND.UNREADABLE, fault.reason, self._blob(digest), digest=digest)
            else:
                message = f"expected digest {digest}, found {fault.actual} of {fault.size:,} bytes"
                self._say(_KIND.WRONG_DIGEST, message, self._blob(digest), digest=digest)

    def _say_doubts(self, survey: Survey, faults: dict[Digest, Fault]) -> None:
        for link, kind, message in survey.doubts:
            if link.target.digest not in faults:
                self._say(kind, message, survey.source_path(link), where=link.where, digest=link.target.digest)

    def _say_layers(self, survey: Survey, faults: dict[Digest, Fault]) -> None:
        claims = [claim for claim in survey.layer_claims if claim.digest not in faults]
        for claim, fault in sorted(find_wrong_layers(self._layout, claims, self._threads)):
            path = survey.layer_claims[claim]
            if fault.reason:
                self._say(_KIND.DAMAGED_LAYER, fault.reason, path, digest=claim.digest)
            else:
                message = f"layer {claim.digest}: the config says {claim.diff_id}, it is {fault.actual}"
                self._say(_KIND.WRONG_DIFF_ID, message, path, digest=claim.digest)

    def _say_stored(self, stored: Iterable[StoredFile], survey: Survey) -> None:
        needed = self._needed(survey)
        known = {self._blob(digest) for digest in survey.irregular}
        for one in stored:
            path = f"{self._layout.blobs.where}/{one.path}"
            if one.digest is None:
                if path not in known:
                    self._say(_KIND.STRAY_FILE, "its name and kind are not those of a blob", path)
            elif needed is not None and one.digest not in needed:
                self._say(_KIND.UNREFERENCED_BLOB, f"{one.size:,} bytes", path, digest=one.digest)

    def _needed(self, survey: Survey) -> set[Digest] | None:
        """Return what may be referred to; None when that cannot be known."""
        if self.index is None or self._layout.has_shared_blobs:
            return None
        try:
            return needed_blobs(self._layout, self.index)
        except LimitExceededError as error:
            self._say(_KIND.TOO_LARGE, str(error), self._layout.blobs.where)
            return None
        except LayoutError as error:
            if not survey.irregular:  # only mentioned somewhere, so that no reference was followed to it
                self._say(_KIND.IRREGULAR_BLOB, str(error), self._layout.blobs.where)
            return None

    # --------------------------------------------------------------------------------------------------- other files

    def _leftovers(self) -> None:
        """Say what is in the directory that does not belong there; what others keep there is their business."""
        for one in self._layout.tidied:
            problem = Problem.of(_KIND.STALE_TEMPORARY, f"{one.size:,} bytes", f"{self._layout.path}/{one.name}")
            self._findings.note(evolve(problem, repair="it was removed", resolved=True))
        stale = self._layout.leftovers()
        for one in stale:
            self._say(_KIND.STALE_TEMPORARY, f"{one.size:,} bytes", f"{self._layout.path}/{one.name}")
        self._partial_blobs({one.name for one in stale})
        ours = {IMAGE_BLOBS_DIR, IMAGE_INDEX_FILE, IMAGE_LAYOUT_FILE, DAMAGED_DIRECTORY}
        for name in sorted(os.listdir(self._layout.directory_fd)):
            if name not in ours and name.startswith(_TEMPORARIES_OF_OTHERS) and not name.startswith(TEMPORARY_PREFIX):
                message = "another program called a file so while it wrote it; it may still do so"
                self._say(_KIND.STRAY_FILE, message, f"{self._layout.path}/{name}")

    def _partial_blobs(self, stale: set[str]) -> None:
        for one in find_partial(self._layout.blobs, min_age=0) if not self._layout.has_shared_blobs else ():
            name = PartialName.parse(one.name)
            if name is not None and one.name not in stale:
                message = f"{one.size:,} bytes have come"
                self._say(_KIND.PARTIAL_BLOB, message, f"{self._layout.path}/{one.name}", digest=name.digest)

    def _with_images(self, problem: Problem, survey: Survey) -> Problem:
        if problem.digest is None or problem.kind is _KIND.UNREFERENCED_BLOB:
            return problem
        return evolve(problem, images=tuple(self._names[number] for number in survey.images_of(problem.digest)))


def _computable(digest: Digest) -> bool:
    try:
        digest.hasher()
    except NotSupportedError:
        return False
    return True
