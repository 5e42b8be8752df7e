"""What a request is about: paths of distribution-spec 1.1, "Endpoints", as a table. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from ocikit._tuples import NamedTuple

__all__ = ["KINDS", "NAME", "TAG", "RequestKind", "Route", "find_route"]

#: What a request is about, by its path and, for uploads, by its method.
RequestKind = Literal[
    "ping",
    "token",
    "catalog",
    "tags",
    "manifest",
    "blob",
    "referrers",
    "upload_start",
    "upload_patch",
    "upload_put",
    "upload_status",
    "upload_cancel",
    "other",
]

KINDS: Final[frozenset[str]] = frozenset(get_args(RequestKind))

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
#: The name of a repository (distribution-spec 1.1, "Pulling manifests").
NAME: Final = re.compile(rf"(?=.{{1,255}}\Z){_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


class Route(NamedTuple):
    """What a request is about."""

    kind: RequestKind
    repository: str | None = None
    #: A tag, a digest, or the session of an upload.
    reference: str | None = None


#: Each path with what it is about.
_PATHS: Final[tuple[tuple[re.Pattern[str], RequestKind], ...]] = (
    (re.compile(r"/v2/?"), "ping"),
    (re.compile(r"/token"), "token"),
    (re.compile(r"/v2/_catalog"), "catalog"),
    (re.compile(r"/v2/(?P<name>.+)/tags/list"), "tags"),
    (re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)"), "manifest"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?"), "upload_start"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<reference>[^/]+)"), "upload_status"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/(?P<reference>[^/]+)"), "blob"),
    (re.compile(r"/v2/(?P<name>.+)/referrers/(?P<reference>[^/]+)"), "referrers"),
)

_OF_SESSION: Final[dict[str, RequestKind]] = {
    "PATCH": "upload_patch",
    "PUT": "upload_put",
    "GET": "upload_status",
    "DELETE": "upload_cancel",
}


def find_route(method: str, path: str) -> Route:
    """Return what a request is about."""
    for pattern, kind in _PATHS:
        if found := pattern.fullmatch(path):
            groups = found.groupdict()
            exact = _OF_SESSION.get(method, kind) if kind == "upload_status" else kind
            return Route(exact, groups.get("name"), groups.get("reference"))
    return Route("other")
