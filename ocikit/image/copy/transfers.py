"""Which blobs a copy needs, each once: what every manifest asks for, made into one list."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from ocikit.errors import DigestMismatchError, SizeMismatchError
from ocikit.image.copy.reading import SourceImage
from ocikit.image.types import BlobInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ocikit.image.compression import Compression
    from ocikit.image.copy.ciphers import CipherWork
    from ocikit.image.copy.decisions import Decision, LayerDecision, Work
    from ocikit.image.copy.results import BlobOutcome
    from ocikit.spec import Digest

__all__ = ["Key", "StoredBlob", "Transfer", "key_of", "transfers"]

#: What tells transfers apart: the blob at the source, and what is done to its compression and its encryption.
Key = tuple["Digest", "Work | None", "CipherWork | None"]


@frozen(kw_only=True)
class Transfer:
    """A blob that is wanted at the destination.

    Attributes:
        digest: Its digest at the source.
        info: What is known of it at the source.
        is_config: Whether it is a configuration rather than a layer.
        work: What is done to its compression on the way; None for nothing.
        cipher: What is done to its encryption on the way; None for nothing.
        diff_id: What its plain bytes must be; None when nobody looks.
        content: The blob itself, when the manifest has it in it.
        stays_away: Whether it is not copied, because its URLs say where it is.
        is_downloaded: Whether it comes from its URLs rather than from the source.
    """

    digest: Digest
    info: BlobInfo
    is_config: bool = False
    work: Work | None = None
    cipher: CipherWork | None = None
    diff_id: Digest | None = None
    content: bytes | None = None
    stays_away: bool = False
    is_downloaded: bool = False

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.digest, self.work, self.cipher


@frozen(kw_only=True)
class StoredBlob:
    """A blob at the destination.

    Attributes:
        digest: Its digest there.
        size: Its size there, in bytes; -1 when that is not known yet.
        outcome: How it came there.
        was_read: Whether its content was seen, and with it ``compression``.
        compression: How it is compressed there; of what is encrypted, within.
        annotations: What its descriptor says of its encryption, when it was encrypted on the way.
    """

    digest: Digest
    size: int
    outcome: BlobOutcome
    was_read: bool = False
    compression: Compression | None = None
    annotations: Mapping[str, str] | None = None


def key_of(layer: LayerDecision) -> Key:
    """Return the key of the transfer that a layer needs."""
    return layer.source.digest, layer.work, layer.cipher.work


def transfers(decisions: Iterable[Decision], more: Iterable[Transfer] = ()) -> tuple[Transfer, ...]:
    """Return every blob that is needed, once, in the order of the manifests.

    Args:
        decisions: What becomes of the manifests.
        more: What is needed besides.

    Raises:
        SizeMismatchError: Two descriptors of the same blob contradict each other.
        DigestMismatchError: Two configurations want the same layer to have other plain bytes.
    """
    unique: dict[Key, Transfer] = {}
    for wanted in chain((transfer for decision in decisions for transfer in _of(decision)), more):
        first = unique.setdefault(wanted.key, wanted)
        if first is not wanted:
            unique[wanted.key] = _both(first, wanted)
    return tuple(unique.values())


def _of(decision: Decision) -> Iterator[Transfer]:
    if not isinstance(decision.manifest, SourceImage):
        return
    config = decision.manifest.parsed.config
    yield Transfer(
        digest=config.digest,
        info=BlobInfo.from_descriptor(config),
        is_config=True,
        content=config.embedded_content(),
    )
    for layer in decision.layers:
        descriptor, digest = layer.source.descriptor, layer.source.digest
        yield Transfer(
            digest=digest,
            info=layer.source.info,
            work=layer.work,
            cipher=layer.cipher.work,
            diff_id=layer.diff_id,
            content=descriptor.embedded_content() if digest == descriptor.digest else None,
            stays_away=layer.stays_away,
            is_downloaded=layer.is_downloaded,
        )


def _both(first: Transfer, second: Transfer) -> Transfer:
    what = f"two descriptors of {first.digest}"
    if first.info.size != second.info.size:
        raise SizeMismatchError(what, first.info.size, second.info.size)
    if first.diff_id is not None and second.diff_id is not None and first.diff_id != second.diff_id:
        raise DigestMismatchError(f"diffID of {first.digest} in two configurations", first.diff_id, second.diff_id)
    return evolve(
        first,
        diff_id=first.diff_id or second.diff_id,
        content=first.content if first.content is not None else second.content,
        stays_away=first.stays_away and second.stays_away,
        # Where one says that it is an ordinary layer, the source has it.
        is_downloaded=first.is_downloaded and second.is_downloaded,
    )
