"""Manifests: pulled, pushed, deleted, and those that refer to one (distribution-spec 1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocikit.errors import InvalidDigestError, ManifestError
from ocikit.spec import Digest, mediatypes
from ocikit.testing.documents import Manifest, ManifestDocument, read_manifest
from ocikit.testing.lists import page
from ocikit.testing.messages import Refusal, Response, json_response
from ocikit.testing.routes import TAG
from ocikit.testing.site import known_digest

if TYPE_CHECKING:
    from ocikit.testing.site import Request, Site

__all__ = ["delete_manifest", "get_manifest", "get_referrers", "put_manifest"]


def get_manifest(site: Site, request: Request) -> Response:
    """GET and HEAD: a manifest by tag or digest."""
    found = site.contents.manifest(request.repository, request.reference)
    if found is None:
        raise _unknown(site, request)
    if site.features.negotiation and not _is_accepted(found.media_type, request.head.headers.all("accept")):
        raise Refusal(
            404,
            "MANIFEST_UNKNOWN",
            f"the manifest is of type {found.media_type}, which the Accept of the request has not",
            detail=request.reference,
        )
    etag = f'"{found.digest}"'
    about = (("ETag", etag), *site.digest_header(found.digest))
    if etag in [one.strip() for one in (request.head.headers.get("if-none-match") or "").split(",")]:
        return Response(status=304, headers=about)
    return Response(status=200, headers=(("Content-Type", found.media_type), *about), body=(found.data,))


def _is_accepted(media_type: str, accept: list[str]) -> bool:
    """Tell whether a type is among those that are accepted (RFC 9110, section 12.5.1); preferences are not weighed."""
    if not accept:
        return True
    patterns = {media_type, f"{media_type.partition('/')[0]}/*", "*/*"}
    for one in ",".join(accept).split(","):
        name, *parameters = (word.strip() for word in one.split(";"))
        if name in patterns and not any(word.replace(" ", "") in {"q=0", "q=0.0", "q=0.00"} for word in parameters):
            return True
    return False


def _unknown(site: Site, request: Request) -> Refusal:
    if request.repository not in site.contents.repositories:
        return Refusal(404, "NAME_UNKNOWN", "there is no such repository", detail={"name": request.repository})
    detail = {"name": request.repository, "reference": request.reference}
    return Refusal(404, "MANIFEST_UNKNOWN", "there is no such manifest", detail=detail)


def put_manifest(site: Site, request: Request) -> Response:
    """PUT: a manifest under a tag or its digest, and perhaps tags with it."""
    data = request.read_all(site.limits.manifest_bytes)
    media_type = (request.head.headers.get("content-type") or "").partition(";")[0].strip()
    document = _checked(site, request, data, media_type)
    digest, tags = _names(site, request, data)
    site.contents.add_manifest(request.repository, Manifest(digest, media_type, data), tags)
    headers = [site.location(f"/v2/{request.repository}/manifests/{digest}"), *site.digest_header(digest)]
    if document.subject and site.features.referrers:
        headers.append(("OCI-Subject", document.subject))
    if ":" in request.reference:
        headers += [("OCI-Tag", tag) for tag in tags]
    return Response(status=201, headers=tuple(headers))


def _checked(site: Site, request: Request, data: bytes, media_type: str) -> ManifestDocument:
    if not media_type or (site.features.manifest_types is not None and media_type not in site.features.manifest_types):
        raise Refusal(400, "MANIFEST_INVALID", f"manifests of type {media_type[:160]!r} are not taken here")
    try:
        document = read_manifest(data)
    except ManifestError as error:
        raise Refusal(400, "MANIFEST_INVALID", str(error)) from error
    if document.media_type not in {None, media_type}:
        raise Refusal(
            400,
            "MANIFEST_INVALID",
            f"expected the mediaType of the manifest in Content-Type, found {document.media_type!r} and {media_type!r}",
        )
    features, contents, repository = site.features, site.contents, request.repository
    missing = [one for one in document.blobs if features.check_references and not contents.blob(repository, one)]
    if features.check_indexes:
        missing += [one for one in document.manifests if not contents.manifest(repository, one)]
    if missing:
        raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", "the manifest refers to what is not there", detail=missing)
    return document


def _names(site: Site, request: Request, data: bytes) -> tuple[Digest, tuple[str, ...]]:
    """Return the digest of a manifest that is pushed, and its tags."""
    if ":" not in request.reference:
        _check_tag(request.reference)
        return Digest.from_bytes(data), (request.reference,)
    digest = known_digest(request.reference)
    actual = Digest.from_bytes(data, digest.algorithm)
    if actual != digest:
        raise Refusal(400, "DIGEST_INVALID", f"expected a manifest with digest {digest}, found {actual}")
    tags = tuple(value for key, value in request.head.query if key == "tag" and site.features.push_tags)
    for tag in tags:
        _check_tag(tag)
    return digest, tags


def _check_tag(tag: str) -> None:
    if not TAG.fullmatch(tag):
        raise Refusal(400, "TAG_INVALID", f"expected a tag or a digest, found {tag[:160]!r}")


def delete_manifest(site: Site, request: Request) -> Response:
    """DELETE: a tag, or a manifest with all its tags."""
    is_digest = ":" in request.reference
    if not (site.features.delete_manifests if is_digest else site.features.delete_tags):
        what = "manifests" if is_digest else "tags"
        raise Refusal(405, "UNSUPPORTED", f"{what} are not deleted here", headers=[("Allow", "GET, HEAD, PUT")])
    if not site.contents.remove_manifest(request.repository, request.reference):
        raise _unknown(site, request)
    return Response(status=202)


def get_referrers(site: Site, request: Request) -> Response:
    """GET: an index of the manifests whose subject is a digest."""
    if not site.features.referrers:
        raise Refusal(404, "UNSUPPORTED", "there is no referrers API here")
    try:
        subject = Digest(request.reference)
    except InvalidDigestError as error:
        raise Refusal(400, "DIGEST_INVALID", str(error)) from error
    with site.contents.lock:
        repository = site.contents.repositories.get(request.repository)
        kept = [*repository.manifests.values()] if repository else []
    found = [one for one in map(_referrer, kept) if one and one[0] == subject]
    wanted = request.head.parameter("artifactType") if site.features.filters else None
    headers = [("Content-Type", mediatypes.IMAGE_INDEX)]
    if wanted is not None:
        found = [one for one in found if one[1].get("artifactType") == wanted]
        headers.append(("OCI-Filters-Applied", "artifactType"))
    descriptors = {one["digest"]: one for _, one in found}
    names, link = page(site, request, sorted(descriptors))
    index = {
        "schemaVersion": 2,
        "mediaType": mediatypes.IMAGE_INDEX,
        "manifests": [descriptors[name] for name in names],
    }
    return json_response(index).with_headers(*headers, *link)


def _referrer(manifest: Manifest) -> tuple[str, dict[str, Any]] | None:
    """Return the subject of a manifest and its descriptor as a referrer; None: it has no subject."""
    try:
        document = read_manifest(manifest.data)
    except ManifestError:
        return None  # one that a test put there
    if document.subject is None:
        return None
    found: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.data),
    }
    if document.artifact_type:
        found["artifactType"] = document.artifact_type
    if document.annotations:
        found["annotations"] = document.annotations
    return document.subject, found
