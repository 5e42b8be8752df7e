"""Blobs: whole, in parts, deleted (distribution-spec 1.1, "Pulling blobs", "Deleting blobs")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.testing.messages import Refusal, Response
from ocikit.testing.ranges import Span, multipart, parse_range
from ocikit.testing.site import known_digest

if TYPE_CHECKING:
    from ocikit.testing.blob_store import StoredContent
    from ocikit.testing.messages import Headers
    from ocikit.testing.site import Request, Site

__all__ = ["delete_blob", "get_blob"]


def get_blob(site: Site, request: Request) -> Response:
    """GET and HEAD: a blob, or parts of it."""
    digest = known_digest(request.reference)
    content = site.contents.blob(request.repository, digest)
    if content is None:
        raise _unknown(site, request)
    etag = f'"{digest}"'
    about = (("ETag", etag), *site.digest_header(digest))
    headers = request.head.headers
    if etag in [one.strip() for one in (headers.get("if-none-match") or "").split(",")]:
        return Response(status=304, headers=about)
    response = _parts(site, content, headers, etag) if request.head.method == "GET" else None
    if response is None:
        response = Response(
            status=200,
            headers=(("Content-Type", "application/octet-stream"),),
            body=content.pieces(0, content.size),
        )
    if site.features.ranges:
        about += (("Accept-Ranges", "bytes"),)
    return response.with_headers(*about)


def _parts(site: Site, content: StoredContent, headers: Headers, etag: str) -> Response | None:
    """Return the answer to a Range; None: everything is to be sent."""
    text, condition = headers.get("range"), headers.get("if-range")
    if not site.features.ranges or text is None or (condition is not None and condition.strip() != etag):
        return None
    spans = parse_range(text, content.size)
    if spans is None or (len(spans) > 1 and not site.features.multiple_ranges):
        return None
    if not spans:
        raise Refusal(
            416,
            "SIZE_INVALID",
            f"expected a part of {content.size} bytes, found {text[:80]!r}",
            headers=[("Content-Range", f"bytes */{content.size}")],
        )
    if len(spans) > 1:
        kind, body = multipart(spans, content.size, content.pieces)
        return Response(status=206, headers=(("Content-Type", kind),), body=body)
    span: Span = spans[0]
    return Response(
        status=206,
        headers=(
            ("Content-Type", "application/octet-stream"),
            ("Content-Range", span.content_range(content.size)),
        ),
        body=content.pieces(span.start, span.end),
    )


def delete_blob(site: Site, request: Request) -> Response:
    """DELETE: a blob of a repository; others that have it keep it."""
    if not site.features.delete_blobs:
        raise Refusal(405, "UNSUPPORTED", "blobs are not deleted here", headers=[("Allow", "GET, HEAD")])
    digest = known_digest(request.reference)
    if not site.contents.remove_blob(request.repository, digest):
        raise _unknown(site, request)
    return Response(status=202, headers=site.digest_header(digest))


def _unknown(site: Site, request: Request) -> Refusal:
    if request.repository not in site.contents.repositories:
        return Refusal(404, "NAME_UNKNOWN", "there is no such repository", detail={"name": request.repository})
    return Refusal(404, "BLOB_UNKNOWN", "there is no such blob in the repository", detail=request.reference)
