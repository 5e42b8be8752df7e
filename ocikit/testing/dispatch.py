"""Who answers what: a table of kinds and methods. What is refused becomes an answer here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.errors import LimitExceededError, OCIKitError
from ocikit.testing import blobs, lists, manifests, uploads
from ocikit.testing.messages import Refusal, Response, json_response
from ocikit.testing.routes import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocikit.testing.routes import RequestKind
    from ocikit.testing.site import Request, Site

__all__ = ["answer"]


def _ping(_: Site, __: Request) -> Response:
    return json_response({})


_HANDLERS: Final[Mapping[RequestKind, Mapping[str, Callable[[Site, Request], Response]]]] = {
    "ping": {"GET": _ping, "HEAD": _ping},
    "catalog": {"GET": lists.get_catalog},
    "tags": {"GET": lists.get_tags},
    "manifest": {
        "GET": manifests.get_manifest,
        "HEAD": manifests.get_manifest,
        "PUT": manifests.put_manifest,
        "DELETE": manifests.delete_manifest,
    },
    "referrers": {"GET": manifests.get_referrers},
    "blob": {"GET": blobs.get_blob, "HEAD": blobs.get_blob, "DELETE": blobs.delete_blob},
    "upload_start": {"POST": uploads.start_upload},
    "upload_patch": {"PATCH": uploads.patch_upload},
    "upload_put": {"PUT": uploads.put_upload},
    "upload_status": {"GET": uploads.upload_status},
    "upload_cancel": {"DELETE": uploads.cancel_upload},
}


def answer(site: Site, request: Request) -> Response:
    """Return the right answer to a request."""
    try:
        response = _right_answer(site, request)
    except Refusal as refusal:
        response = refusal.response()
    except LimitExceededError as error:
        response = Refusal(413, "SIZE_INVALID", str(error)).response()
    except (OCIKitError, OSError) as error:
        response = Refusal(500, "UNKNOWN", f"the registry failed: {error}").response()
    if request.route.kind not in {"token", "other"}:
        response = response.with_headers(("Docker-Distribution-Api-Version", "registry/2.0"))
        if site.features.warning:
            response = response.with_headers(("Warning", f'299 - "{site.features.warning}"'))
    return response


def _right_answer(site: Site, request: Request) -> Response:
    kind, method = request.route.kind, request.head.method
    if kind == "token" and site.tokens:
        return site.tokens.answer(request)
    handlers = _HANDLERS.get(kind)
    if handlers is None:
        raise Refusal(404, "NAME_UNKNOWN", "there is nothing at this path", detail=request.head.path[:160])
    if request.route.repository is not None and not NAME.fullmatch(request.route.repository):
        raise Refusal(400, "NAME_INVALID", "expected the name of a repository", detail=request.repository[:300])
    site.gate.admit(request)
    handler = handlers.get(method)
    if handler is None:
        allowed = [("Allow", ", ".join(handlers))]
        raise Refusal(405, "UNSUPPORTED", f"{method} is not for this path", headers=allowed)
    return handler(site, request)
