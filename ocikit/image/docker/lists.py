"""What a registry lists: tags, repositories, referrers, page by page (distribution-spec 1.1, Listing)."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from ocikit.errors import ImageNotFoundError, LimitExceededError, ParseError, RegistryError
from ocikit.image.docker.addresses import origin_of, resolve_address, shown
from ocikit.image.manifest import LIMIT
from ocikit.image.reference import NAME_LIMIT, PATH, TAG
from ocikit.image.subject import MAX_REFERRERS
from ocikit.spec import Index, mediatypes
from ocikit.spec._json import loads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.docker.client import Answer, RegistryClient
    from ocikit.spec import Descriptor, Digest

__all__ = [
    "fallback_tag",
    "index_kept_by_clients",
    "list_kept_by_clients",
    "list_referrers",
    "list_repositories",
    "list_tags",
    "next_page",
]

_log = logging.getLogger(__name__)

_PAGE: Final = 1000
#: How many names are listed at most.
MOST_NAMES: Final = 1_000_000
_MOST_PAGES: Final = 10_000
#: How much all pages of one list have together, in bytes.
MOST_BYTES: Final = 64 * 1024 * 1024
# RFC 8288, as far as it is of use: an address, and what it is. No part of it can be matched in two ways.
_LINK: Final = re.compile(r"<([^<>]*)>([^<>]*)")
_RELATION: Final = re.compile(r';\s*rel\s*=\s*"?([A-Za-z ]*)', re.IGNORECASE)
_LONGEST_LINK: Final = 8 * 1024
_TAG: Final = re.compile(TAG)
_REPOSITORY: Final = re.compile(rf"(?=.{{1,{NAME_LIMIT}}}\Z){PATH}")
_NOT_FOUND: Final = 404


def list_tags(client: RegistryClient) -> tuple[str, ...]:
    """Return the tags of a repository, in the order of the registry.

    Args:
        client: The repository.

    Raises:
        ImageNotFoundError: There is no such repository.
        RegistryError: The registry refuses, cannot be reached, or answers with something else.
        LimitExceededError: There are more than a million.
    """
    what = f"tags of {client.endpoint}"
    try:
        return _names(client, f"{client.endpoint.reference.path}/tags/list?n={_PAGE}", "tags", _TAG, what)
    except RegistryError as error:
        if error.status == _NOT_FOUND:
            raise ImageNotFoundError(f"{what}: {error.answer}") from error
        raise


def list_repositories(client: RegistryClient) -> tuple[str, ...]:
    """Return the repositories of a registry that lets itself be looked through.

    Args:
        client: The registry, with leave for its catalogue.

    Raises:
        RegistryError: The registry refuses, cannot be reached, or answers with something else.
        LimitExceededError: There are more than a million.
    """
    what = f"repositories of {client.endpoint.reference.domain}"
    return _names(client, f"_catalog?n={_PAGE}", "repositories", _REPOSITORY, what)


def list_referrers(client: RegistryClient, subject: Digest, artifact_type: str | None = None) -> tuple[Descriptor, ...]:
    """Return what refers to a manifest: by the list that the registry keeps, or the one that clients keep in a tag.

    Args:
        client: The repository.
        subject: The digest of the manifest.
        artifact_type: Only what is of this type.

    Raises:
        RegistryError: The registry refuses, cannot be reached, or answers with something else.
        LimitExceededError: There are too many.
    """
    what = f"referrers of {subject} in {client.endpoint}"
    query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
    path = f"{client.endpoint.reference.path}/referrers/{subject}{query}"
    accept = {"Accept": mediatypes.IMAGE_INDEX}
    found: list[Descriptor] = []
    for answer in _pages(client, path, what, accept, missing_is_none=True):
        if not _is_index(answer):
            break  # a page of a proxy, or a registry that knows no referrers and says it with 200
        found += _index(answer.body, what).manifests
        if len(found) > MAX_REFERRERS:
            raise LimitExceededError(what, MAX_REFERRERS)
    else:
        if found:
            return _of_type(found, artifact_type)
    return _of_type(list_kept_by_clients(client, subject), artifact_type)


def fallback_tag(subject: Digest) -> str:
    """Return the tag by which clients keep the list of referrers where the registry keeps none.

    Args:
        subject: The digest of the manifest that they refer to.
    """
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def index_kept_by_clients(client: RegistryClient, subject: Digest) -> Index | None:
    """Return the list that clients keep in a tag; None where there is none.

    Args:
        client: The repository.
        subject: The digest of the manifest that they refer to.

    Raises:
        RegistryError: The registry refuses, cannot be reached, or has something else under that tag.
    """
    what, answer = _kept(client, subject)
    if answer.status == _NOT_FOUND:
        return None
    if not _is_index(answer):
        found = answer.headers.get("Content-Type", "")[:100]
        raise RegistryError(
            what, f"expected a list of referrers under the tag {fallback_tag(subject)}, found {found!r}"
        )
    return _index(answer.body, what)


def list_kept_by_clients(client: RegistryClient, subject: Digest) -> tuple[Descriptor, ...]:
    """Return what the list has that clients keep in a tag; nothing where there is none, or something else.

    Args:
        client: The repository.
        subject: The digest of the manifest that they refer to.

    Raises:
        RegistryError: The registry refuses, or cannot be reached.
    """
    what, answer = _kept(client, subject)
    try:
        return _index(answer.body, what).manifests if answer.status == 200 and _is_index(answer) else ()
    except RegistryError as error:
        _log.warning("%s; nothing is taken from it", error)
        return ()


def _kept(client: RegistryClient, subject: Digest) -> tuple[str, Answer]:
    what = f"referrers of {subject} in {client.endpoint}"
    path = f"{client.endpoint.reference.path}/manifests/{fallback_tag(subject)}"
    headers = {"Accept": f"{mediatypes.IMAGE_INDEX}, {mediatypes.IMAGE_MANIFEST}, */*"}
    return what, client.request("GET", path, what=what, expect={200, _NOT_FOUND}, headers=headers, most=LIMIT)


def _of_type(found: list[Descriptor] | tuple[Descriptor, ...], wanted: str | None) -> tuple[Descriptor, ...]:
    # Registries that do not filter say so by not saying anything.
    return tuple(one for one in found if wanted is None or one.artifact_type == wanted)


def _is_index(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip() == mediatypes.IMAGE_INDEX


def _index(data: bytes, what: str) -> Index:
    try:
        return Index.from_json(data)
    except ValueError as error:
        raise RegistryError(what, f"the registry answers with something else than an index: {error}") from error


def _names(client: RegistryClient, path: str, key: str, name: re.Pattern[str], what: str) -> tuple[str, ...]:
    """Return what is listed and is a name.

    What is none can be asked for nowhere: digests in lists of tags, nothing at all, and what
    somebody would like to be a path or the language of a terminal.
    """
    found: dict[str, None] = {}
    for answer in _pages(client, path, what, {"Accept": "application/json"}):
        listed = _listed(answer.body, key, what)
        found |= dict.fromkeys(one for one in listed if isinstance(one, str) and name.fullmatch(one))
        if len(found) > MOST_NAMES:
            raise LimitExceededError(what, MOST_NAMES)
    return tuple(found)


def _listed(body: bytes, key: str, what: str) -> list[object]:
    try:
        document: Any = loads(body, max_bytes=LIMIT)
    except (ParseError, ValueError) as error:
        raise RegistryError(what, f"the registry answers with something else than a list: {error}") from error
    names = document.get(key) if isinstance(document, dict) else None
    if names is None and isinstance(document, dict):
        return []  # what some registries say of a repository without tags
    if not isinstance(names, list):
        raise RegistryError(what, f"the registry answers without a list in {key!r}")
    return names


def _pages(
    client: RegistryClient, path: str, what: str, headers: dict[str, str], *, missing_is_none: bool = False
) -> Iterator[Answer]:
    """Yield an answer and those that it says are next; none twice, and never by another host."""
    expect = {200, _NOT_FOUND} if missing_is_none else {200}
    seen: set[str] = set()
    size = 0
    for _ in range(_MOST_PAGES):
        answer = client.request("GET", path, what=what, expect=expect, headers=headers, most=LIMIT)
        if answer.status != 200:
            return
        size += len(answer.body)
        if size > MOST_BYTES:
            raise LimitExceededError(f"bytes of {what}", MOST_BYTES)
        yield answer
        following = next_page(answer.headers.get("Link", ""))
        if following is None:
            return
        path = resolve_address(answer.url, following, what)
        if origin_of(path) != origin_of(answer.url) or path in seen:
            raise RegistryError(what, f"the registry names {shown(following)!r} as its next page")
        seen.add(path)
    raise LimitExceededError(f"{what}: pages", _MOST_PAGES)


def next_page(header: str) -> str | None:
    """Return the address of the next page (RFC 8288; distribution-spec 1.1, "Listing Tags"); None for none.

    Args:
        header: The header ``Link``. A link that does not say what it is, is the next page.
    """
    if len(header) > _LONGEST_LINK:
        return None
    for address, parameters in _LINK.findall(header):
        relation = _RELATION.search(parameters)
        if relation is None or "next" in relation[1].lower().split():
            return str(address)
    return None
