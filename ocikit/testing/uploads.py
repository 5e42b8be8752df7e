"""Uploads: begun, mounted, continued, asked after, finished, given up (distribution-spec 1.1, "Pushing blobs")."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocikit.errors import DigestMismatchError
from ocikit.testing.messages import Refusal, Response
from ocikit.testing.ranges import parse_content_range
from ocikit.testing.routes import NAME
from ocikit.testing.site import known_digest

if TYPE_CHECKING:
    from ocikit.spec import Digest
    from ocikit.testing.contents import Upload
    from ocikit.testing.site import Request, Site

__all__ = ["cancel_upload", "patch_upload", "put_upload", "start_upload", "upload_status"]


def start_upload(site: Site, request: Request) -> Response:
    """POST: begin an upload, or mount a blob, or take a blob at once."""
    head = request.head
    mount, digest = head.parameter("mount"), head.parameter("digest")
    if mount is not None and site.features.mount and _mount(site, request, known_digest(mount)):
        return _created(site, request.repository, mount)
    algorithm = known_digest(digest).algorithm if digest is not None else head.parameter("digest-algorithm") or "sha256"
    if algorithm not in {"sha256", "sha512"}:
        raise Refusal(400, "DIGEST_INVALID", f"expected sha256 or sha512, found {algorithm[:40]}")
    upload = site.contents.start_upload(request.repository, algorithm)
    if digest is not None and site.features.single_post:
        try:
            with upload.held():
                return _finish(site, request, upload)
        except BaseException:
            site.contents.drop_upload(upload)
            raise
    minimum = site.features.chunk_min_length
    more = (("OCI-Chunk-Min-Length", str(minimum)),) if minimum else ()
    return _state(site, upload, 202, *more)


def _mount(site: Site, request: Request, digest: Digest) -> bool:
    source = request.head.parameter("from")
    if source is not None and (not NAME.fullmatch(source) or not site.gate.may_read(request.caller, source)):
        return False
    # Without a source it would take what the caller may not read.
    return source is not None and site.contents.mount_blob(request.repository, digest, source)


def patch_upload(site: Site, request: Request) -> Response:
    """PATCH: add a chunk, or a stream."""
    upload = _upload(site, request)
    with upload.held():
        _receive(site, request, upload)
        return _state(site, upload, 202)


def put_upload(site: Site, request: Request) -> Response:
    """PUT: add what is left, and make a blob of it."""
    upload = _upload(site, request)
    with upload.held():
        return _finish(site, request, upload)


def upload_status(site: Site, request: Request) -> Response:
    """GET: what has come in."""
    return _state(site, _upload(site, request), 204)


def cancel_upload(site: Site, request: Request) -> Response:
    """DELETE: give an upload up."""
    site.contents.drop_upload(_upload(site, request))
    return Response(status=204)


def _upload(site: Site, request: Request) -> Upload:
    upload = site.contents.uploads.get(request.reference)
    if upload is None or upload.repository != request.repository or upload.ended:
        raise _unknown(request)
    if site.features.location_state and request.head.parameter("_state") != upload.state:
        raise Refusal(
            400,
            "BLOB_UPLOAD_INVALID",
            "expected the URL of the upload as the last answer had it in Location, with its query",
        )
    return upload


def _unknown(request: Request) -> Refusal:
    return Refusal(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload", detail=request.reference)


def _receive(site: Site, request: Request, upload: Upload) -> None:
    """Add the body of a request to an upload."""
    if upload.ended:
        raise _unknown(request)
    text = request.head.headers.get("content-range")
    if text is not None:
        _check_range(site, request, upload, text)
    minimum, before = site.features.chunk_min_length, upload.size
    with contextlib.nullcontext() if site.features.keep_partial_chunks else upload.whole_or_nothing():
        for data in request.body.read():
            if upload.ended:
                raise _unknown(request)
            upload.write(data)
    if text is not None and minimum:
        upload.is_last_chunk_in = upload.size - before < minimum


def _check_range(site: Site, request: Request, upload: Upload, text: str) -> None:
    span, length = parse_content_range(text), request.head.length
    if span is None or (length is not None and length != span.end - span.start):
        raise Refusal(
            400, "SIZE_INVALID", f"expected 'first-last' that fits Content-Length {length}, found {text[:80]!r}"
        )
    if span.start != upload.size or not site.features.chunks:
        headers = _state(site, upload, 416).headers
        reason = f"expected a chunk from byte {upload.size} on" if site.features.chunks else "expected no chunks"
        raise Refusal(416, "BLOB_UPLOAD_INVALID", f"{reason}, found {text[:80]!r}", headers=headers)
    if upload.is_last_chunk_in and length:
        raise Refusal(
            400, "SIZE_INVALID", f"a chunk of less than {site.features.chunk_min_length} bytes was not the last one"
        )


def _finish(site: Site, request: Request, upload: Upload) -> Response:
    digest = known_digest(request.head.parameter("digest") or "")
    _receive(site, request, upload)
    try:
        site.contents.finish_upload(upload, digest)
    except DigestMismatchError as error:
        raise Refusal(400, "DIGEST_INVALID", str(error), detail={"digest": digest}) from error
    return _created(site, upload.repository, digest)


def _created(site: Site, repository: str, digest: str) -> Response:
    where = site.location(f"/v2/{repository}/blobs/{digest}")
    return Response(status=201, headers=(where, *site.digest_header(digest)))


def _state(site: Site, upload: Upload, status: int, *more: tuple[str, str]) -> Response:
    query = f"?_state={upload.state}" if site.features.location_state else ""
    headers = (
        site.location(f"/v2/{upload.repository}/blobs/uploads/{upload.id}{query}"),
        # Of nothing it is the same as of one byte: there is no other way to write it.
        ("Range", f"0-{max(upload.size - 1, 0)}"),
        ("Docker-Upload-UUID", upload.id),
        *more,
    )
    return Response(status=status, headers=headers)
