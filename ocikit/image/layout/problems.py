"""What can be wrong with a layout: a closed set of kinds, each with how bad it is and what to do. Pure."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.spec import Digest

__all__ = ["CheckReport", "Problem", "ProblemKind", "Severity"]


class Severity(enum.StrEnum):
    """How bad a problem is."""

    #: Something in the layout cannot be used, or is not what it should be.
    ERROR = "error"
    #: Everything can be used here; another program may refuse it, or takes it for something else.
    WARNING = "warning"
    #: Nothing is wrong; it takes room, or is worth knowing.
    INFO = "info"


class ProblemKind(enum.StrEnum):
    """What is wrong. The values stay the same from version to version."""

    #: ``oci-layout``, ``index.json`` or ``blobs`` is missing or malformed in a way that hides everything else.
    NO_LAYOUT = "no-layout"
    #: ``oci-layout`` states a version that is not known.
    UNKNOWN_VERSION = "unknown-version"
    #: index.json is missing or is no index.
    BROKEN_INDEX = "broken-index"
    #: An entry of index.json is no descriptor.
    BROKEN_ENTRY = "broken-entry"
    #: Several entries of index.json have one name.
    DUPLICATE_NAME = "duplicate-name"
    #: A name is outside the grammar, so that nobody can ask for the image by it.
    ODD_NAME = "odd-name"
    #: A blob that something refers to is not there.
    MISSING_BLOB = "missing-blob"
    #: No manifest that index.json lists is there, or no blob at all: they may be in another directory.
    BLOBS_ELSEWHERE = "blobs-elsewhere"
    #: A blob that something refers to is a link, or something else that is no regular file.
    IRREGULAR_BLOB = "irregular-blob"
    #: What a manifest is about is not there, which the specification allows.
    MISSING_SUBJECT = "missing-subject"
    #: A blob does not have the digest that it is called by.
    WRONG_DIGEST = "wrong-digest"
    #: A blob cannot be read.
    UNREADABLE = "unreadable"
    #: A digest is of an algorithm that cannot be computed here.
    UNKNOWN_ALGORITHM = "unknown-algorithm"
    #: A descriptor states another size than the content has.
    WRONG_SIZE = "wrong-size"
    #: A descriptor states another media type than the document has.
    WRONG_MEDIA_TYPE = "wrong-media-type"
    #: The content embedded in a descriptor is not the content that it describes.
    WRONG_DATA = "wrong-data"
    #: A layer is compressed in another way than its media type says.
    WRONG_COMPRESSION = "wrong-compression"
    #: A manifest or configuration is no JSON.
    NOT_JSON = "not-json"
    #: A manifest is malformed, or could be two things.
    BROKEN_MANIFEST = "broken-manifest"
    #: A manifest is of a type that is not read here.
    UNSUPPORTED_MANIFEST = "unsupported-manifest"
    #: A configuration is malformed.
    BROKEN_CONFIG = "broken-config"
    #: A document is larger, or indexes are nested deeper, than anybody reads.
    TOO_LARGE = "too-large"
    #: Manifest and configuration have another number of layers.
    LAYER_COUNT = "layer-count"
    #: The history has another number of layers than the manifest.
    HISTORY_COUNT = "history-count"
    #: An index says that an image is for another platform than its configuration does.
    WRONG_PLATFORM = "wrong-platform"
    #: A layer does not have the diffID that the configuration states.
    WRONG_DIFF_ID = "wrong-diff-id"
    #: A layer cannot be decompressed.
    DAMAGED_LAYER = "damaged-layer"
    #: Something in ``blobs`` is no blob.
    STRAY_FILE = "stray-file"
    #: A file that a crash has left.
    STALE_TEMPORARY = "stale-temporary"
    #: A part of a blob, for the next copy to go on with.
    PARTIAL_BLOB = "partial-blob"
    #: A blob that nothing refers to.
    UNREFERENCED_BLOB = "unreferenced-blob"


_COPY: Final = "copy the image again from where it came"
_REMAKE: Final = "the image was made like this; make it anew"
_KIND: Final = ProblemKind
_ERROR, _WARNING, _INFO = Severity

#: Each kind with how bad it is, and what to do about it.
_RULES: Final[dict[ProblemKind, tuple[Severity, str]]] = {
    _KIND.NO_LAYOUT: (_ERROR, "repair=True writes a missing oci-layout file; else copy the images into a new layout"),
    _KIND.UNKNOWN_VERSION: (_ERROR, "use the program that made it"),
    _KIND.BROKEN_INDEX: (_ERROR, "put index.json back from a backup, or copy the images into a new layout"),
    _KIND.BROKEN_ENTRY: (_ERROR, "correct index.json, or drop the entry: repair=True, drop_entries=True"),
    _KIND.DUPLICATE_NAME: (_WARNING, "give one of them another name: layout.tag, by its position"),
    _KIND.ODD_NAME: (_INFO, "give it another name: layout.tag"),
    _KIND.MISSING_BLOB: (_ERROR, _COPY),
    _KIND.BLOBS_ELSEWHERE: (
        _ERROR,
        f"name the directory that they are in: SystemContext(oci_shared_blob_dir_path=…); if they are lost, {_COPY}",
    ),
    _KIND.IRREGULAR_BLOB: (
        _ERROR,
        "put a copy of the file there: `cp -RL` copies a layout with files in place of links",
    ),
    _KIND.MISSING_SUBJECT: (_INFO, "copy what it is about, if that is wanted"),
    _KIND.WRONG_DIGEST: (_ERROR, f"repair=True puts it aside; then {_COPY}"),
    _KIND.UNREADABLE: (_ERROR, "look at the file and at the disk"),
    _KIND.UNKNOWN_ALGORITHM: (_WARNING, "verify it with a program that knows the algorithm"),
    _KIND.WRONG_SIZE: (_ERROR, f"in index.json repair=True corrects it; else {_REMAKE}"),
    _KIND.WRONG_MEDIA_TYPE: (_ERROR, f"in index.json repair=True corrects it; else {_REMAKE}"),
    _KIND.WRONG_DATA: (_ERROR, _REMAKE),
    _KIND.WRONG_COMPRESSION: (_WARNING, _REMAKE),
    _KIND.NOT_JSON: (_ERROR, _REMAKE),
    _KIND.BROKEN_MANIFEST: (_ERROR, _REMAKE),
    _KIND.UNSUPPORTED_MANIFEST: (_WARNING, "pull the image anew: registries convert it"),
    _KIND.BROKEN_CONFIG: (_ERROR, _REMAKE),
    _KIND.TOO_LARGE: (_ERROR, _REMAKE),
    _KIND.LAYER_COUNT: (_ERROR, _REMAKE),
    _KIND.HISTORY_COUNT: (_INFO, "it is only shown"),
    _KIND.WRONG_PLATFORM: (_WARNING, _REMAKE),
    _KIND.WRONG_DIFF_ID: (_ERROR, _REMAKE),
    _KIND.DAMAGED_LAYER: (_ERROR, _REMAKE),
    _KIND.STRAY_FILE: (_WARNING, "remove it, if nobody needs it"),
    _KIND.STALE_TEMPORARY: (_INFO, "repair=True removes it, as does the next writer"),
    _KIND.PARTIAL_BLOB: (_INFO, "copy the image again, which goes on there; layout.gc removes it"),
    _KIND.UNREFERENCED_BLOB: (_INFO, "layout.gc removes it"),
}


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong with a layout.

    Attributes:
        kind: What it is.
        severity: How bad it is.
        message: What was expected and what was found.
        path: The file that it was found in, below the layout or as a path of its own.
        where: The place in that file, as a JSON path; empty for the file as a whole.
        digest: The blob that it is about; None for none.
        images: The images that need that blob, by name or position; at most twenty.
        remedy: What to do.
        repair: What was done about it; empty when nothing was.
        resolved: Whether that was all there is to do. A damaged blob that was put aside is still to be fetched again.
    """

    kind: ProblemKind
    severity: Severity
    message: str
    path: str
    where: str = ""
    digest: Digest | None = None
    images: tuple[str, ...] = ()
    remedy: str = ""
    repair: str = ""
    resolved: bool = False

    @classmethod
    def of(
        cls,
        kind: ProblemKind,
        message: str,
        path: str,
        *,
        where: str = "",
        digest: Digest | None = None,
        severity: Severity | None = None,
    ) -> Problem:
        """Return a problem with the severity and the remedy that its kind has.

        Args:
            kind: What it is.
            message: What was expected and what was found.
            path: The file.
            where: The place in the file.
            digest: The blob it is about.
            severity: Another severity than that of the kind.
        """
        usual, remedy = _RULES[kind]
        return cls(
            kind=kind,
            severity=severity if severity is not None else usual,
            message=message,
            path=path,
            where=where,
            digest=digest,
            remedy=remedy,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as JSON has it."""
        return {
            "kind": str(self.kind),
            "severity": str(self.severity),
            "message": self.message,
            "path": self.path,
            "where": self.where,
            "digest": self.digest,
            "images": [*self.images],
            "remedy": self.remedy,
            "repair": self.repair,
            "resolved": self.resolved,
        }


@frozen(kw_only=True)
class CheckReport:
    """What a check of a layout found: a sequence of problems, shown as a table.

    Attributes:
        path: The layout.
        problems: Everything that was found, the worst first.
        omitted: How many more there are than are listed.
        images: How many entries index.json has.
        blobs: How many blobs were hashed.
        size: How many bytes they have.
    """

    path: str
    problems: tuple[Problem, ...] = ()
    omitted: int = 0
    images: int = 0
    blobs: int = 0
    size: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is no error, or every one was repaired."""
        left = (one for one in self.problems if one.severity is Severity.ERROR and not one.resolved)
        return not self.omitted and not any(left)

    def of_kind(self, kind: ProblemKind) -> tuple[Problem, ...]:
        """Return the problems of one kind."""
        return tuple(one for one in self.problems if one.kind is kind)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)

    def __len__(self) -> int:
        return len(self.problems)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        from ocikit.image.display.layouts import check_text  # noqa: PLC0415 - for those who show it

        return check_text(self)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from ocikit.image.display.layouts import check_html  # noqa: PLC0415 - for notebooks

        return check_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "path": self.path,
            "ok": self.ok,
            "images": self.images,
            "blobs": self.blobs,
            "size": self.size,
            "omitted": self.omitted,
            "problems": [one.to_dict() for one in self.problems],
        }
