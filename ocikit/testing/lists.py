"""Lists of tags and repositories, page by page (distribution-spec 1.1, "Listing tags"; Docker's ``_catalog``)."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ocikit.testing.messages import Refusal, Response, json_response

if TYPE_CHECKING:
    from ocikit.testing.site import Request, Site

__all__ = ["get_catalog", "get_tags", "page"]


def get_tags(site: Site, request: Request) -> Response:
    """GET: the tags of a repository."""
    with site.contents.lock:
        repository = site.contents.repositories.get(request.repository)
        if repository is None:
            raise Refusal(404, "NAME_UNKNOWN", "there is no such repository", detail={"name": request.repository})
        tags = sorted(repository.tags)
    found, link = page(site, request, tags)
    return json_response({"name": request.repository, "tags": found}, headers=link)


def get_catalog(site: Site, request: Request) -> Response:
    """GET: all repositories."""
    if not site.features.catalog:
        raise Refusal(404, "UNSUPPORTED", "repositories are not listed here")
    with site.contents.lock:
        names = sorted(site.contents.repositories)
    found, link = page(site, request, names)
    return json_response({"repositories": found}, headers=link)


def page(site: Site, request: Request, names: list[str]) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Return the part of a sorted list that a request is about, and the header line that leads to the next part.

    Raises:
        Refusal: ``n`` is no number.
    """
    head = request.head
    text, last = head.parameter("n"), head.parameter("last")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refusal(400, "UNSUPPORTED", f"expected a number n, found {text[:40]!r}")
    start = bisect.bisect_right(names, last) if last is not None else 0
    counts = [one for one in (int(text) if text is not None else None, site.features.page_size) if one is not None]
    end = start + min(counts) if counts else len(names)
    found = names[start:end]
    if end >= len(names) or not found:
        return found, ()
    others = [(key, value) for key, value in head.query if key not in {"n", "last"}]
    query = urlencode([*others, ("n", min(counts)), ("last", found[-1])])
    target = f"{head.path}?{query}"
    return found, (("Link", f'<{target}>; rel="next"'),)
