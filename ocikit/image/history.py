"""What made each layer of an image: its history and its layers as one list (image specification, config.md). Pure.

The configuration lists what was done, the manifest lists layers; what was done without changing a file has no layer
(``empty_layer``). Images are in use whose history is shorter than their layers, or longer: nothing is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocikit.spec import Descriptor, Digest, Image, Timestamp

T = TypeVar("T")

__all__ = ["HistoryLine", "history_lines", "whole_size"]


@frozen(kw_only=True)
class HistoryLine:
    """One step in the making of an image.

    Attributes:
        created: When; None when nobody says.
        created_by: By which command; empty when nobody says.
        author: By whom.
        comment: What the author had to say.
        empty_layer: Whether the step is said to have changed no file.
        layer: The layer that it made; None for an empty one, and for one that the manifest does not have.
        diff_id: The digest of that layer, uncompressed; None when the configuration does not have it.
    """

    created: Timestamp | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    layer: Descriptor | None = None
    diff_id: Digest | None = None

    @property
    def digest(self) -> Digest | None:
        """The digest of the layer as it is stored."""
        return self.layer.digest if self.layer is not None else None

    @property
    def size(self) -> int:
        """The size of the layer as it is stored, in bytes; 0 when there is none."""
        return self.layer.size if self.layer is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the step as JSON has it, with the keys that ``umoci stat --json`` has."""
        return {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
            "layer": self.layer.to_dict() if self.layer is not None else None,
            "diff_id": self.diff_id,
        }


def history_lines(config: Image | None, layers: Sequence[Descriptor]) -> tuple[HistoryLine, ...]:
    """Return every step in the making of an image, the first one first, each with the layer that it made.

    Layers that the history does not account for come last, each on a line of its own.

    Args:
        config: The configuration; None for an artifact, which has layers and no history.
        layers: The layers, the lowest first.
    """
    diff_ids = config.rootfs.diff_ids if config is not None else ()
    length = max(len(layers), len(diff_ids))
    made = iter([(_at(layers, number), _at(diff_ids, number)) for number in range(length)])
    lines = []
    for entry in config.history if config is not None else ():
        layer, diff_id = (None, None) if entry.empty_layer else next(made, (None, None))
        lines.append(
            HistoryLine(
                created=entry.created,
                created_by=entry.created_by,
                author=entry.author,
                comment=entry.comment,
                empty_layer=entry.empty_layer,
                layer=layer,
                diff_id=diff_id,
            )
        )
    return (*lines, *(HistoryLine(layer=layer, diff_id=diff_id) for layer, diff_id in made))


def _at(items: Sequence[T], number: int) -> T | None:
    return items[number] if number < len(items) else None


def whole_size(parts: Iterable[Descriptor]) -> int:
    """Return the bytes that some blobs take, one that is there twice counted once."""
    return sum({part.digest: part.size for part in parts}.values())
