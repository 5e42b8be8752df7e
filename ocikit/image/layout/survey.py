"""Every reference in a layout followed, from index.json on, and what each says held against what is there.

A document is read once, however many descriptors lead to it, and followed only when it has the digest that it is called
by. What must be found out from whole blobs (digests, diffIDs) is only collected here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._tuples import NamedTuple
from ocikit.errors import (
    BlobNotFoundError,
    ImageError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
    VerificationError,
)
from ocikit.image.config import CONFIGS
from ocikit.image.conversion.layers import is_encrypted
from ocikit.image.layout.blobs import read_document
from ocikit.image.layout.content import ImageCheck, compression_fault, is_json, kind_of, same_kind
from ocikit.image.layout.hashing import LayerClaim
from ocikit.image.layout.problems import Problem, ProblemKind, Severity
from ocikit.image.manifest import parse_manifest
from ocikit.image.unparsed import MAX_DEPTH
from ocikit.spec import DockerManifestList, Index, mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.layout.store import Layout
    from ocikit.image.manifest import AnyManifest, ImageManifest
    from ocikit.spec import Descriptor, Digest

__all__ = ["Doubt", "Link", "Survey"]

#: References that are followed in one layout, in all.
_MOST_LINKS: Final = 1_000_000
_HEAD: Final = 512
_COMPUTABLE: Final = frozenset({"sha256", "sha512"})
_IMAGES_NAMED: Final = 20
_MOST_STEPS: Final = 1000
_KIND: Final = ProblemKind


class Link(NamedTuple):
    """A descriptor, and where it stands."""

    #: The descriptor.
    target: Descriptor
    #: The document that it stands in: a digest, or a position in index.json.
    source: Digest | int
    #: Where in that document, as a JSON path.
    where: str
    #: What it leads to: ``manifest``, ``subject``, ``config`` or ``layer``.
    role: str
    #: How many indexes are around it.
    depth: int


class Doubt(NamedTuple):
    """What a reference seems to say wrongly; when the blob is damaged, that is what is wrong."""

    #: The reference.
    link: Link
    #: What it seems to be.
    kind: ProblemKind
    #: What was expected and what was found.
    message: str


class Survey:
    """What the references in a layout lead to.

    Args:
        layout: The layout.
        note: Called with every problem.
        index_path: What index.json is called in problems.
    """

    def __init__(self, layout: Layout, note: Callable[[Problem], None], index_path: str) -> None:
        self._layout = layout
        self._note = note
        self._index_path = index_path
        self._links = 0
        self._sizes: dict[Digest, int | None] = {}
        self._kinds: dict[Digest, str] = {}
        self._configs: dict[Digest, ImageCheck | None] = {}
        self._sources: dict[Digest, set[Digest | int]] = {}
        #: What is no regular file, and what is said of it.
        self.irregular: dict[Digest, str] = {}
        #: What is wrong if the blobs have their digests.
        self.doubts: list[Doubt] = []
        #: Layers, and what configurations say of them.
        self.layer_claims: dict[LayerClaim, str] = {}

    @property
    def digests(self) -> set[Digest]:
        """Everything that was referred to."""
        return set(self._sources)

    def follow(self, entries: list[Link]) -> None:
        """Follow references, and those in what they lead to.

        Raises:
            LimitExceededError: There are too many.
            OSError: A directory cannot be read.
        """
        waiting = entries[::-1]
        while waiting:
            link = waiting.pop()
            self._links += 1
            if self._links > _MOST_LINKS:
                raise LimitExceededError(f"{self._layout.path}: references in a layout", _MOST_LINKS)
            waiting += reversed([*self._look(link)])

    def images_of(self, digest: Digest) -> tuple[int, ...]:
        """Return the positions in index.json of entries that lead to a blob; at most twenty, and the nearest."""
        found: set[int] = set()
        seen, waiting = {digest}, [digest]
        while waiting and len(found) < _IMAGES_NAMED and len(seen) < _MOST_STEPS:
            for source in self._sources.get(waiting.pop(), ()):
                if isinstance(source, int):
                    found.add(source)
                elif source not in seen:
                    seen.add(source)
                    waiting.append(source)
        return tuple(sorted(found)[:_IMAGES_NAMED])

    def leads_nowhere(self, target: Descriptor) -> bool:
        """Return whether a blob is neither in the layout nor embedded in what refers to it."""
        there = self._size(target.digest) is not None or target.digest in self.irregular
        return not there and self._embedded_quietly(target) is None

    # ------------------------------------------------------------------------------------------------- one reference

    def _look(self, link: Link) -> Iterator[Link]:
        target = link.target
        self._sources.setdefault(target.digest, set()).add(link.source)
        if target.digest.algorithm not in _COMPUTABLE:
            self._say(_KIND.UNKNOWN_ALGORITHM, link, f"{target.digest}: nothing of it is verified")
            return
        embedded = self._embedded(link)
        size = self._size(target.digest)
        if size is None:
            self._missing(link, embedded)
        elif size != target.size:
            message = f"the descriptor says {target.size:,} bytes, {target.digest} has {size:,}"
            self.doubts.append(Doubt(link, _KIND.WRONG_SIZE, message))
        if link.role in {"manifest", "subject"} and target.media_type in mediatypes.MANIFESTS:
            yield from self._document(link, embedded)
        elif link.role == "layer" and size is not None:
            self._check_compression(link)

    def _embedded(self, link: Link) -> bytes | None:
        try:
            return link.target.embedded_content()
        except VerificationError as error:
            self._say(_KIND.WRONG_DATA, link, str(error))
            return None

    def _missing(self, link: Link, embedded: bytes | None) -> None:
        irregular = self.irregular.get(link.target.digest)
        if irregular is not None:
            self._say(_KIND.IRREGULAR_BLOB, link, irregular)
            return
        if link.role == "layer" and link.target.urls:
            return  # it is somewhere else, as its manifest says
        if link.role == "subject":
            self._say(_KIND.MISSING_SUBJECT, link, f"{link.target.digest} is not there")
        elif embedded is not None:
            message = (
                f"{link.target.digest} is only embedded in the descriptor; programs that look for a file find none"
            )
            self._say(_KIND.MISSING_BLOB, link, message, severity=Severity.WARNING)
        else:
            self._say(_KIND.MISSING_BLOB, link, f"{link.target.digest} is not there ({link.role})")

    def _size(self, digest: Digest) -> int | None:
        if digest not in self._sizes:
            self._sizes[digest] = self._measured(digest)
        return self._sizes[digest]

    def _measured(self, digest: Digest) -> int | None:
        try:
            stream, size = self._layout.open_blob(digest)
        except BlobNotFoundError:
            return None
        except LayoutError as error:
            self.irregular[digest] = str(error)
            return None
        stream.close()
        return size

    def _check_compression(self, link: Link) -> None:
        fault = compression_fault(link.target.media_type, self._head(link.target.digest))
        if fault:
            self.doubts.append(Doubt(link, _KIND.WRONG_COMPRESSION, fault))

    def _head(self, digest: Digest) -> bytes:
        try:
            stream, _ = self._layout.open_blob(digest)
            with stream:
                return stream.read(_HEAD)
        except (OSError, ImageError):
            return b""  # it will be read again, and said then

    # -------------------------------------------------------------------------------------------------- one document

    def _document(self, link: Link, embedded: bytes | None) -> Iterator[Link]:
        digest, stated = link.target.digest, link.target.media_type
        if digest not in self._kinds:
            self._kinds[digest] = ""
            data = embedded if embedded is not None else self._read(link)
            if data is not None:
                yield from self._parse(link, data)
        known = self._kinds[digest]
        if known and not same_kind(known, stated):
            self._say(_KIND.WRONG_MEDIA_TYPE, link, f"the descriptor says {stated!r}, the document is {known!r}")

    def _read(self, link: Link) -> bytes | None:
        """Return a document that has its digest; None when it is damaged, which will be found when it is hashed."""
        digest = link.target.digest
        try:
            stream, _ = self._layout.open_blob(digest)
            with stream:
                data = read_document(stream, str(digest))
            digest.verify(data)
        except LimitExceededError as error:
            self._say(_KIND.TOO_LARGE, link, str(error))
            return None
        except (VerificationError, BlobNotFoundError, OSError, ImageError):
            return None
        return data

    def _parse(self, link: Link, data: bytes) -> Iterator[Link]:
        digest, path = link.target.digest, self._path_of(link.target.digest)
        try:
            kind = kind_of(data, link.target.media_type)
            self._kinds[digest] = kind
            manifest = parse_manifest(data, kind)
        except NotSupportedError as error:
            self._add(_KIND.UNSUPPORTED_MANIFEST, str(error), path, digest=digest)
        except LimitExceededError as error:
            self._add(_KIND.TOO_LARGE, str(error), path, digest=digest)
        except ManifestError as error:
            fault = _KIND.BROKEN_MANIFEST if is_json(data) else _KIND.NOT_JSON
            self._add(fault, str(error), path, digest=digest)
        else:
            yield from self._links_of(manifest, link)

    def _links_of(self, manifest: AnyManifest, link: Link) -> Iterator[Link]:
        digest, depth = link.target.digest, link.depth
        subject = getattr(manifest, "subject", None)
        if subject is not None:
            yield Link(subject, digest, "$.subject", "subject", depth)
        if isinstance(manifest, Index | DockerManifestList):
            if depth >= MAX_DEPTH:
                self._say(_KIND.TOO_LARGE, link, f"more than {MAX_DEPTH} indexes are nested in each other")
                return
            for number, entry in enumerate(manifest.manifests):
                yield Link(entry, digest, f"$.manifests[{number}]", "manifest", depth + 1)
            return
        yield Link(manifest.config, digest, "$.config", "config", depth)
        for number, layer in enumerate(manifest.layers):
            yield Link(layer, digest, f"$.layers[{number}]", "layer", depth)
        if manifest.config.media_type in CONFIGS:
            self._check_image(manifest, link)

    # ----------------------------------------------------------------------------------------------------- one image

    def _check_image(self, manifest: ImageManifest, link: Link) -> None:
        config = self._config(manifest.config, link)
        if config is None:
            return
        digest, path = link.target.digest, self._path_of(link.target.digest)
        for kind, message in config.faults(len(manifest.layers), link.target.platform):
            self._add(kind, message, path, digest=digest)
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=False):
            known = {layer.digest.algorithm, diff_id.algorithm} <= _COMPUTABLE
            if known and not is_encrypted(layer.media_type) and self._size(layer.digest) is not None:
                self.layer_claims.setdefault(LayerClaim(layer.digest, diff_id), path)

    def _config(self, descriptor: Descriptor, link: Link) -> ImageCheck | None:
        digest = descriptor.digest
        if digest not in self._configs:
            self._configs[digest] = None
            leading = Link(descriptor, link.target.digest, "$.config", "config", link.depth)
            known = digest.algorithm in _COMPUTABLE
            data = (self._embedded_quietly(descriptor) or self._read(leading)) if known else None
            if data is not None:
                self._configs[digest] = self._parsed_config(data, digest)
        return self._configs[digest]

    def _embedded_quietly(self, descriptor: Descriptor) -> bytes | None:
        try:
            return descriptor.embedded_content()
        except VerificationError:
            return None  # said when the reference itself is looked at

    def _parsed_config(self, data: bytes, digest: Digest) -> ImageCheck | None:
        try:
            return ImageCheck.of(data)
        except LimitExceededError as error:
            self._add(_KIND.TOO_LARGE, str(error), self._path_of(digest), digest=digest)
        except ManifestError as error:
            fault = _KIND.BROKEN_CONFIG if is_json(data) else _KIND.NOT_JSON
            self._add(fault, str(error), self._path_of(digest), digest=digest)
        return None

    # -------------------------------------------------------------------------------------------------------- saying

    def _path_of(self, digest: Digest) -> str:
        return f"{self._layout.blobs.where}/{digest.algorithm}/{digest.hex}"

    def source_path(self, link: Link) -> str:
        """Return the file that a reference stands in."""
        return self._index_path if isinstance(link.source, int) else self._path_of(link.source)

    def _say(self, kind: ProblemKind, link: Link, message: str, *, severity: Severity | None = None) -> None:
        path, digest = self.source_path(link), link.target.digest
        self._note(Problem.of(kind, message, path, where=link.where, digest=digest, severity=severity))

    def _add(self, kind: ProblemKind, message: str, path: str, *, digest: Digest) -> None:
        self._note(Problem.of(kind, message, path, digest=digest))
