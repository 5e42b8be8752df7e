"""How much an image may ask for before unpacking it is refused: every count has a bound, every bound a default.

An image of a few megabytes can claim terabytes, millions of files or headers without end. The defaults let
every image through that is known to be in use and stop a bomb while it is still small. Only values; whoever
counts raises :class:`~ocikit.errors.LimitExceededError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import LimitExceededError
from ocikit.image.compression import ExpansionLimits

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = ["DEFAULT_LIMITS", "Limits"]

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


def _positive(_: object, attribute: Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"Limits.{attribute.name} must be at least 1, not {value}")


def _limit(default: int) -> int:
    result: int = field(default=default, validator=_positive)
    return result


@frozen(kw_only=True)
class Limits:
    """The bounds for unpacking one image; exceeding any of them is a :class:`~ocikit.errors.LimitExceededError`.

    Attributes:
        layers: Layers of the image.
        entries: Entries of all layers together; an entry is a file, directory, link, device or whiteout.
        total_bytes: Bytes of all layers together, uncompressed: the larger of the tar streams and of the files in them,
            holes of sparse files included.
        ratio: Uncompressed bytes of a layer for each compressed byte. gzip can reach 1,032, zstd far more; programs and
            data are below 20, a file of zeros is all that ever comes near the limit.
        ratio_from_bytes: Uncompressed bytes of a layer from which on the ratio counts.
        path_bytes: Bytes of a name and of a link target.
        depth: Directories above a file, after symbolic links are resolved.
        xattr_bytes: Bytes of the names and values of all extended attributes of one entry.
        header_bytes: Bytes of the extended header (PAX, GNU long name) of one entry.
    """

    layers: int = _limit(512)
    entries: int = _limit(1_000_000)
    total_bytes: int = _limit(64 * _GIB)
    ratio: int = _limit(250)
    ratio_from_bytes: int = _limit(256 * _MIB)
    path_bytes: int = _limit(4096)
    depth: int = _limit(255)
    xattr_bytes: int = _limit(256 * _KIB)
    header_bytes: int = _limit(1 * _MIB)

    @property
    def expansion(self) -> ExpansionLimits:
        """The bounds for one layer that is decompressed by itself."""
        return ExpansionLimits(total_bytes=self.total_bytes, ratio=self.ratio, ratio_from_bytes=self.ratio_from_bytes)

    def exceeded(self, name: str, what: str, found: int | None = None) -> LimitExceededError:
        """Return the error for the bound ``name``, which says how to raise it.

        Args:
            name: The field of this class.
            what: What was counted, in words, and where.
            found: The count, when it is known.
        """
        limit = getattr(self, name)
        return LimitExceededError(what, limit, found, f"if the image is to be trusted, pass limits=Limits({name}=…)")


#: The limits that apply when none are given.
DEFAULT_LIMITS: Final = Limits()
