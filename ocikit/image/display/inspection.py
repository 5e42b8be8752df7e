"""What is shown of an image that was looked at, and of a list of images. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit._display import html, text
from ocikit.image.display.history import history_html, history_text, platform_name, short_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocikit.image.inspection import ImageInspection
    from ocikit.image.listing import ListedImage

__all__ = ["inspection_html", "inspection_text", "listing_html", "listing_text"]

# How much is shown of what an image may have any number of.
_MOST_PAIRS: Final = 30
_MOST_PLATFORMS: Final = 50
_LONGEST: Final = 300


def _facts(image: ImageInspection) -> Iterator[tuple[str, str]]:
    yield "image", str(image.reference)
    yield "digest", str(image.digest)
    yield "type", image.media_type
    if image.index is not None:
        yield "shown", str(image.manifest_digest)
    yield "platform", platform_name(image.platform)
    yield "created", str(image.created or "unknown")
    yield "size", f"{text.size(image.size)} in {len(image.layers)} layers"
    if image.index is not None:
        names = [platform_name(one) for one in image.platforms]
        more = f" and {len(names) - _MOST_PLATFORMS} more" if len(names) > _MOST_PLATFORMS else ""
        yield "platforms", ", ".join(names[:_MOST_PLATFORMS]) + more
    if image.config is not None:
        settings = image.config.config
        for name, words in (("entrypoint", settings.entrypoint), ("command", settings.cmd)):
            if words:
                yield name, " ".join(words)
        if settings.user:
            yield "user", settings.user


def _pairs(image: ImageInspection) -> Iterator[tuple[str, list[str]]]:
    """Yield what there may be many of: variables and labels, some of each."""
    yield "env", _cut([*image.env])
    yield "labels", _cut([f"{name}={value}" for name, value in sorted(image.labels.items())])
    yield "annotations", _cut([f"{name}={value}" for name, value in sorted(_annotations(image).items())])


def _annotations(image: ImageInspection) -> Mapping[str, str]:
    annotations: Mapping[str, str] = getattr(image.manifest, "annotations", {})
    return annotations


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_PAIRS
    return lines if more <= 0 else [*lines[:_MOST_PAIRS], f"… and {more} more"]


def inspection_text(image: ImageInspection) -> str:
    """Return what an image says of itself as text for a terminal: facts, then its layers."""
    rows = [*_facts(image), *((name, line) for name, lines in _pairs(image) for line in lines)]
    lines, before = [], ""
    for name, value in rows:
        lines.append(f"{name if name != before else '':<11} {text.printable(value, _LONGEST)}".rstrip())
        before = name
    return "\n".join([*lines, "", history_text(image.layers_with_history)])


def inspection_html(image: ImageInspection) -> str:
    """Return what an image says of itself as HTML for a notebook."""
    rows: list[tuple[str, html.Cell]] = [(name, html.code(value, _LONGEST)) for name, value in _facts(image)]
    for name, lines in _pairs(image):
        if lines:
            rows.append((name, html.joined([html.code(line, _LONGEST) for line in lines], html.Html("<br>"))))
    return html.joined((html.facts(rows, caption="image"), history_html(image.layers_with_history, "layers")))


def _listed(images: Sequence[ListedImage], depth: int = 0) -> Iterator[tuple[ListedImage, str]]:
    for one in images:
        if depth:
            name = f"{'  ' * depth}{platform_name(one.descriptor.platform)}"
        else:
            name = one.name if one.name is not None else f"@{one.position}"
        yield one, name
        yield from _listed(one.children, depth + 1)


_HEADER: Final = ("NAME", "DIGEST", "SIZE", "TYPE")


def listing_text(images: Sequence[ListedImage]) -> str:
    """Return a list of images as a table for a terminal."""
    rows = (
        (name, short_digest(one.descriptor.digest), text.size(one.descriptor.size), one.descriptor.media_type)
        for one, name in _listed(images)
    )
    return text.table(rows, _HEADER)


def listing_html(images: Sequence[ListedImage]) -> str:
    """Return a list of images as a table of HTML."""
    rows = []
    for one, name in _listed(images):
        digest = html.code(str(short_digest(one.descriptor.digest)))
        rows.append((html.code(name), digest, text.size(one.descriptor.size), one.descriptor.media_type))
    return html.table(rows, [title.lower() for title in _HEADER])
