"""Transport ``dir``: one image in a directory, as files; ``dir:path``.

All that follows the colon is the path. The files are ``version``, ``manifest.json``, ``HEX.manifest.json`` for
each instance of an index and each manifest that refers to the image, ``HEX`` for each blob, ``signature-N`` and
``HEX.signature-N``; a digest that is not sha256 is ``ALGORITHM-HEX`` (version 1.2). Such a directory is there to be
looked into, and keeps signatures.

A directory that holds an image is overwritten: files of the new image are put beside those of the old one, then
its manifest takes the place of the old one, then what is left of the old one goes. At every moment one of them is
there, whole. One at a time writes, and nobody reads meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ocikit._fs import DIRECTORY, TEMPORARY_PREFIX, Descriptor, atomic_write, fsync_directory
from ocikit.errors import (
    BlobNotFoundError,
    ImageNotFoundError,
    InvalidDigestError,
    InvalidSignatureError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    NotSupportedError,
)
from ocikit.image.context import SystemContext
from ocikit.image.conversion.digests import manifest_digest
from ocikit.image.layout.blobs import blob_name, open_regular, read_document, receive
from ocikit.image.layout.locks import hold
from ocikit.image.layout.temporary import TemporaryFile, remove_stale
from ocikit.image.manifest import check_size, guess_media_type
from ocikit.image.stored_signature import MAX_SIGNATURES, MAX_SIGNATURES_BYTES, parse_signature
from ocikit.image.subject import MAX_REFERRERS, SubjectTable, require_referrer
from ocikit.image.transports._paths import PathReference, resolve, validate_scope
from ocikit.image.types import (
    BlobInfo,
    ImageDestination,
    ImageReference,
    ImageSource,
    ImageTransport,
    LayerCompression,
)
from ocikit.spec import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ocikit.image.types import ByteStream
    from ocikit.spec import Descriptor as ContentDescriptor

__all__ = ["TRANSPORT", "DirectoryReference"]

_VERSION_FILE: Final = "version"
_MANIFEST_FILE: Final = "manifest.json"
_VERSION: Final = "Directory Transport Version: {}\n"
_KNOWN_VERSIONS: Final = ("1.0", "1.1", "1.2")
_CANONICAL: Final = "sha256"
# Every name that a file of an image can have; others in the directory are not ours.
_DIGEST_NAME: Final = r"(?:[a-z0-9+._]+-)?[a-zA-Z0-9=_-]{32,}"
_OURS: Final = re.compile(
    rf"{_VERSION_FILE}|(?:{_DIGEST_NAME}\.)?{re.escape(_MANIFEST_FILE)}|(?:{_DIGEST_NAME}\.)?signature-[0-9]+|{_DIGEST_NAME}"
)


class _Transport(ImageTransport):
    @property
    def name(self) -> str:
        return "dir"

    def parse_reference(self, reference: str) -> DirectoryReference:
        return DirectoryReference(path=reference, resolved=resolve(reference, reference))

    def validate_policy_configuration_scope(self, scope: str) -> None:
        validate_scope(scope)


#: The transport.
TRANSPORT: Final = _Transport()


@frozen(kw_only=True)
class DirectoryReference(PathReference):
    """The image in a directory.

    Attributes:
        path: The directory, as it was written.
        resolved: The directory, absolute and without symbolic links: what is opened.
    """

    @property
    def transport(self) -> ImageTransport:
        """``dir``."""
        return TRANSPORT

    @property
    def string_within_transport(self) -> str:
        """The path."""
        return self.path

    def new_image_source(self, sys: SystemContext | None = None) -> ImageSource:
        """See :class:`ImageReference`."""
        del sys
        return _Source(self)

    def new_image_destination(self, sys: SystemContext | None = None) -> ImageDestination:
        """See :class:`ImageReference`. Waits until nobody else reads or writes the image."""
        return _Destination(self, sys)

    def delete_image(self, sys: SystemContext | None = None) -> None:
        """See :class:`ImageReference`.

        Raises:
            NotSupportedError: Always.
        """
        del sys
        raise NotSupportedError(f"{self}: images are not deleted from directories; remove the directory")


def _blob_file(digest: Digest) -> str:
    return digest.hex if digest.algorithm == _CANONICAL else f"{digest.algorithm}-{digest.hex}"


def _manifest_file(instance: Digest | None) -> str:
    return _MANIFEST_FILE if instance is None else f"{_blob_file(instance)}.{_MANIFEST_FILE}"


def _instance_of(name: str) -> Digest | None:
    """Return the digest of the manifest that a file is, when its name says so."""
    if not name.endswith(f".{_MANIFEST_FILE}"):
        return None
    algorithm, _, encoded = name.removesuffix(f".{_MANIFEST_FILE}").rpartition("-")
    try:
        return Digest(f"{algorithm or _CANONICAL}:{encoded}")
    except InvalidDigestError:
        return None


def _signature_file(number: int, instance: Digest | None) -> str:
    return f"signature-{number}" if instance is None else f"{_blob_file(instance)}.signature-{number}"


def _signature_group(name: str) -> str | None:
    """Return what the names of all signatures of one manifest begin with; None for other files."""
    group, found, _ = name.rpartition("signature-")
    return f"{group}{found}" if found else None


def _read(directory_fd: int, name: str, where: str, *, linked: bool = False) -> bytes:
    file, _ = open_regular(directory_fd, name, f"{where}/{name}", linked=linked)
    with file:
        return read_document(file, f"{where}/{name}")


def _signatures_in(directory_fd: int, instance: Digest | None, where: str) -> tuple[bytes, ...]:
    found: list[bytes] = []
    size = 0
    while len(found) <= MAX_SIGNATURES:
        try:
            name = _signature_file(len(found) + 1, instance)
            found.append(_read_shared(directory_fd, name, where, parse_signature))
        except FileNotFoundError:
            return tuple(found)
        size += len(found[-1])
        if size > MAX_SIGNATURES_BYTES:
            raise LimitExceededError(f"bytes of the signatures in {where}", MAX_SIGNATURES_BYTES)
    raise LimitExceededError(f"signatures in {where}", MAX_SIGNATURES)


def _is_link(directory_fd: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode)


def _read_shared(directory_fd: int, name: str, where: str, check: Callable[[bytes], object]) -> bytes:
    """Read a file that images may share by links, as the published examples of signatures do.

    A link may lead anywhere. What it leads to is kept to oneself unless it is what it should be: whoever made the
    directory may not be one who may read that, and would get it with a copy of the image.
    """
    linked = _is_link(directory_fd, name)
    data = _read(directory_fd, name, where, linked=linked)
    if linked:
        try:
            check(data)
        except (InvalidSignatureError, ManifestError, LimitExceededError):
            raise LayoutError(f"{where}/{name}: a link that does not lead to what should be there") from None
    return data


def _check_version(directory_fd: int, where: str) -> None:
    data = _read(directory_fd, _VERSION_FILE, where)
    if data not in [_VERSION.format(version).encode() for version in _KNOWN_VERSIONS]:
        raise LayoutError(
            f"{where}/{_VERSION_FILE}: expected {_VERSION.format(_KNOWN_VERSIONS[-1])!r} or an older one, "
            f"found {data[:60]!r}"
        )


def _desired(sys: SystemContext) -> LayerCompression:
    if sys.dir_force_compress and sys.dir_force_decompress:
        raise ValueError("SystemContext: dir_force_compress and dir_force_decompress exclude each other")
    if sys.dir_force_decompress:
        return LayerCompression.DECOMPRESS
    compress = sys.dir_force_compress or sys.compression_format is not None
    return LayerCompression.COMPRESS if compress else LayerCompression.PRESERVE


class _Source(ImageSource):
    def __init__(self, reference: DirectoryReference) -> None:
        self._reference = reference
        self._path = reference.resolved
        self._subjects: SubjectTable | None = None
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self._path, exclusive=False, where=str(reference), required=False))
                self._directory = stack.enter_context(Descriptor(os.open(self._path, DIRECTORY)))
            except NotADirectoryError:
                raise LayoutError(f"{reference}: expected a directory, found a file") from None
            # The first writers of such directories left no version.
            with contextlib.suppress(FileNotFoundError):
                _check_version(self._directory.fd, self._path)
            self._stack = stack.pop_all()

    @property
    def reference(self) -> ImageReference:
        return self._reference

    @property
    def has_thread_safe_get_blob(self) -> bool:
        return True

    def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        try:
            return _read_shared(self._directory.fd, _manifest_file(instance), self._path, guess_media_type), ""
        except FileNotFoundError:
            raise BlobNotFoundError(f"{self._reference}: there is no {_manifest_file(instance)} in it") from None

    def get_blob(self, info: BlobInfo) -> tuple[ByteStream, int]:
        if info.digest is None:
            raise LayoutError(f"{self._reference}: a blob is found by its digest, and none was given")
        name = _blob_file(info.digest)
        try:
            return open_regular(self._directory.fd, name, f"{self._path}/{name}")
        except FileNotFoundError:
            raise BlobNotFoundError(f"{self._reference}: there is no {name} in it") from None

    def get_signatures(self, instance: Digest | None = None) -> tuple[bytes, ...]:
        return _signatures_in(self._directory.fd, instance, self._path)

    def get_referrers(self, subject: Digest) -> tuple[ContentDescriptor, ...]:
        if self._subjects is None:
            self._subjects = self._find_referrers()
        return self._subjects.of(subject)

    def _find_referrers(self) -> SubjectTable:
        """Look at every manifest that is there by its digest; the image itself is asked for by no other."""
        table = SubjectTable(str(self._reference))
        for name in sorted(os.listdir(self._directory.fd)):
            digest = _instance_of(name)
            found = self._instance(name, digest) if digest is not None else None
            if digest is not None and found is not None:
                table.add(*found, digest)
        return table

    def _instance(self, name: str, digest: Digest) -> tuple[bytes, str] | None:
        """Return a manifest, verified, and its type; None when it is nothing that could refer to others."""
        try:
            data = _read(self._directory.fd, name, self._path)
            digest.verify(data, what=f"{self._path}/{name}")
            return data, guess_media_type(data)
        except (ManifestError, LimitExceededError, NotSupportedError):
            return None

    def close(self) -> None:
        self._stack.close()


class _Destination(ImageDestination):
    def __init__(self, reference: DirectoryReference, sys: SystemContext | None) -> None:
        self._reference = reference
        self._path = reference.resolved
        self._desired = _desired(sys or SystemContext())
        self._manifest: bytes | None = None
        self._signatures: dict[Digest | None, dict[bytes, None]] = {}
        self._required: Digest | None = None
        self._referrers: dict[str, bytes] = {}
        self._kept: set[str] = set()  # the names of the files of this image
        self._added: set[str] = set()  # those of them that were not there before
        with contextlib.ExitStack() as stack:
            self._made = self._make()
            try:
                stack.enter_context(hold(self._path, exclusive=True, where=str(reference)))
                self._directory = stack.enter_context(Descriptor(os.open(self._path, DIRECTORY)))
            except NotADirectoryError:
                raise LayoutError(f"{reference}: expected a directory, found a file") from None
            self._prepare()
            self._stack = stack.pop_all()

    @property
    def reference(self) -> ImageReference:
        return self._reference

    @property
    def supported_manifest_mime_types(self) -> tuple[str, ...]:
        return ()

    @property
    def supports_signatures(self) -> bool:
        return True

    @property
    def desired_layer_compression(self) -> LayerCompression:
        return self._desired

    @property
    def accepts_foreign_layer_urls(self) -> bool:
        return False

    @property
    def has_thread_safe_put_blob(self) -> bool:
        return True

    def put_blob(self, stream: ByteStream, info: BlobInfo, *, is_config: bool = False) -> BlobInfo:
        del is_config
        with TemporaryFile(self._directory.fd) as file:
            digest, size = receive(stream, info, file.write, blob_name(info, str(self._reference)))
            self._rename(file, _blob_file(digest))
        return evolve(info, digest=digest, size=size)

    def try_reusing_blob(self, info: BlobInfo, *, can_substitute: bool = False) -> BlobInfo | None:
        del can_substitute  # which other blob has the same content is not recorded in a directory
        if info.digest is None:
            return None
        name = _blob_file(info.digest)
        try:
            file, size = open_regular(self._directory.fd, name, f"{self._path}/{name}")
        except (FileNotFoundError, LayoutError):
            return None
        file.close()
        if 0 <= info.size != size:
            return None
        self._kept.add(name)
        return evolve(info, size=size)

    def put_manifest(self, manifest: bytes, instance: Digest | None = None) -> None:
        what = f"manifest for {self._reference}" + (f", instance {instance}" if instance is not None else "")
        check_size(manifest, what)
        if instance is None:
            self._manifest = manifest
            return
        instance.verify(manifest, what=what)
        with TemporaryFile(self._directory.fd) as file:
            file.write(manifest)
            self._rename(file, _manifest_file(instance))

    def put_signatures(self, signatures: tuple[bytes, ...], instance: Digest | None = None) -> None:
        self._check_count(signatures)
        if signatures:
            self._signatures.setdefault(instance, {}).update(dict.fromkeys(signatures))

    def _check_count(self, signatures: Collection[bytes]) -> None:
        if len(signatures) > MAX_SIGNATURES:
            raise LimitExceededError(f"signatures for {self._reference}", MAX_SIGNATURES, len(signatures))

    def require_manifest(self, digest: Digest) -> None:
        self._required = digest

    @property
    def supports_referrers(self) -> bool:
        return True

    def put_referrer(self, manifest: bytes) -> None:
        what = f"manifest for {self._reference}"
        check_size(manifest, what)
        _, descriptor = require_referrer(manifest, what)
        # Its file would be found at once, and is only written with the image.
        self._referrers[_manifest_file(descriptor.digest)] = manifest
        if len(self._referrers) > MAX_REFERRERS:
            raise LimitExceededError(f"referrers for {self._reference}", MAX_REFERRERS)

    def commit(self) -> None:
        directory = self._directory.fd
        fsync_directory(directory)
        if self._manifest is None:
            self._commit_additions()
        else:
            self._commit_image(self._manifest)
        fsync_directory(directory)
        self._added.clear()
        self._made = False

    def _commit_additions(self) -> None:
        """Add signatures to an image that is there, and what refers to it; touch nothing else.

        Those that are there stay, before the others: nobody who signs at the same time, and was first, is overwritten.
        """
        directory = self._directory.fd
        added = self._referrers or self._signatures
        if not added or _MANIFEST_FILE not in os.listdir(directory):
            missing = "no image is there that it could belong to" if added else "no manifest was put"
            raise LayoutError(f"{self._reference}: nothing to commit: {missing}")
        self._check_required()
        there = {instance: _signatures_in(directory, instance, self._path) for instance in self._signatures}
        files = self._signature_files(there)
        groups = {_signature_group(name) for name in files}
        # What is behind a gap is no signature, and would be one as soon as the gap is closed.
        self._remove(name for name in os.listdir(directory) if _signature_group(name) in groups and name not in files)
        for name, content in (self._referrers | files).items():
            atomic_write(directory, name, content)

    def _check_required(self) -> None:
        """See that the image is the one that is signed; everybody else is kept out."""
        if self._required is not None:
            data = _read(self._directory.fd, _MANIFEST_FILE, self._path)
            if manifest_digest(data, guess_media_type(data)) != self._required:
                raise ImageNotFoundError(f"{self._reference}: {self._required} was replaced by another image meanwhile")

    def _signature_files(self, there: Mapping[Digest | None, Iterable[bytes]]) -> dict[str, bytes]:
        """Return the file of each signature: those that are there first, and in their order."""
        found: dict[str, bytes] = {}
        for instance, added in self._signatures.items():
            blobs = dict.fromkeys((*there.get(instance, ()), *added))
            self._check_count(blobs)
            found |= {_signature_file(number, instance): blob for number, blob in enumerate(blobs, 1)}
        return found

    def _commit_image(self, manifest: bytes) -> None:
        directory = self._directory.fd
        # A signature must never be seen with a manifest that it is not for.
        self._remove(name for name in os.listdir(directory) if "signature-" in name)
        # A digest of another algorithm stands behind its name and a dash.
        version = "1.2" if any("-" in name for name in self._kept) else "1.1"
        atomic_write(directory, _VERSION_FILE, _VERSION.format(version).encode())
        for name, referrer in self._referrers.items():
            atomic_write(directory, name, referrer)
        atomic_write(directory, _MANIFEST_FILE, manifest)
        signatures = self._signature_files({})
        for name, signature in signatures.items():
            atomic_write(directory, name, signature)
        kept = self._kept | signatures.keys() | self._referrers.keys() | {_VERSION_FILE, _MANIFEST_FILE}
        self._remove(name for name in os.listdir(directory) if name not in kept)

    def close(self) -> None:
        added, self._added = self._added, set()
        with contextlib.suppress(OSError):
            self._remove(added)
            if self._made:
                self._remove([_VERSION_FILE])
                Path(self._path).rmdir()
        self._made = False
        self._stack.close()

    def _make(self) -> bool:
        try:
            Path(self._path).mkdir(mode=0o755)
        except FileExistsError:
            return False
        return True

    def _prepare(self) -> None:
        directory = self._directory.fd
        names = [name for name in os.listdir(directory) if not name.startswith(TEMPORARY_PREFIX)]
        if _VERSION_FILE in names:
            _check_version(directory, self._path)
        elif names:
            raise LayoutError(
                f"{self._reference}: the directory is not empty and holds no image, as it has no {_VERSION_FILE} file; "
                "name a new or an empty one"
            )
        else:
            atomic_write(directory, _VERSION_FILE, _VERSION.format("1.1").encode())
        remove_stale(directory, prefix=TEMPORARY_PREFIX)

    def _rename(self, file: TemporaryFile, name: str) -> None:
        directory = self._directory.fd
        new = name not in os.listdir(directory)
        file.rename(name, directory)
        self._kept.add(name)
        if new:
            self._added.add(name)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            if _OURS.fullmatch(name):
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=self._directory.fd)
