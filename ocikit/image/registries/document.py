"""One registries.conf read: TOML into entries, with the place of every fault (containers-registries.conf(5)).

Both formats: version 2, and the ``[registries.search]`` of version 1, which becomes the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import InvalidConfigurationError, InvalidReferenceError
from ocikit.image.context import ShortNameMode
from ocikit.image.reference import DOMAIN
from ocikit.image.registries.entries import Endpoint, PullFromMirror, Registry
from ocikit.image.registries.matching import WILDCARD
from ocikit.image.registries.naming import LONGEST, alias_value, check_short_name
from ocikit.image.registries.table import Table, load_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocikit.image.reference import Named

__all__ = ["MAX_BYTES", "Document", "parse_aliases", "parse_document"]

#: The size up to which a file is read: 512 KiB, in bytes.
MAX_BYTES: Final = 512 << 10

_HOST: Final = re.compile(DOMAIN)
_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TOP: Final = (
    "registry",
    "unqualified-search-registries",
    "credential-helpers",
    "short-name-mode",
    "additional-layer-store-auth-helper",
    "aliases",
)
_REGISTRY: Final = (
    *("prefix", "location", "insecure", "pull-from-mirror", "blocked", "mirror-by-digest-only", "mirror"),
)
_MIRROR: Final = ("location", "insecure", "pull-from-mirror")
_VERSION_1: Final = ("search", "insecure", "block")


@frozen(kw_only=True)
class Document:
    """What one file says; None where it says nothing.

    Attributes:
        source: The file.
        registries: The entries, of each prefix the first.
        unqualified_search_registries: Where images with short names are searched.
        credential_helpers: Who is asked for credentials.
        short_name_mode: What happens to ambiguous short names.
        aliases: What short names stand for; None for those that stand for nothing any more.
    """

    source: str
    registries: tuple[Registry, ...] = ()
    unqualified_search_registries: tuple[str, ...] | None = None
    credential_helpers: tuple[str, ...] | None = None
    short_name_mode: ShortNameMode | None = None
    aliases: Mapping[str, Named | None] = field(factory=dict)


def parse_document(data: bytes, source: str, *, only_version_2: bool = False) -> Document:
    """Parse a registries.conf.

    Args:
        data: Its content.
        source: The file, for messages.
        only_version_2: Refuse the format of version 1, as in drop-ins.

    Raises:
        InvalidConfigurationError: It is malformed.
        LimitExceededError: It is not what anybody writes.
    """
    top = Table(load_toml(data, source), (*_TOP, "registries"), source)
    old = top.table("registries", _VERSION_1)
    lists = {key: old.table(key, ("registries",)) for key in _VERSION_1}
    if not any("registries" in one for one in lists.values()):
        return _version_2(top, source)
    if only_version_2:
        raise top.error("registries", "expected the format of version 2 in a drop-in, found that of version 1")
    beside = [key for key in _TOP if key in top]
    if beside:
        raise top.error("registries", f"this is the format of version 1, and {beside[0]} that of version 2")
    return _version_1(lists, source)


def _version_1(lists: dict[str, Table], source: str) -> Document:
    blocked, insecure = (
        {_place(lists[key], "registries", value, index) for index, value in enumerate(_listed(lists[key]))}
        for key in ("block", "insecure")
    )
    return Document(
        source=source,
        registries=tuple(
            Registry(prefix=one, location=one, blocked=one in blocked, insecure=one in insecure, source=source)
            for one in sorted(blocked | insecure)
        ),
        unqualified_search_registries=_hosts(lists["search"], "registries"),
    )


def _listed(table: Table) -> tuple[str, ...]:
    return table.strings("registries") or ()


def _version_2(top: Table, source: str) -> Document:
    registries = tuple(_registry(table, source) for table in top.tables("registry", _REGISTRY))
    _check_agreement(registries, source)
    return Document(
        source=source,
        registries=_first_of_each(registries),
        unqualified_search_registries=_hosts(top, "unqualified-search-registries"),
        credential_helpers=_helpers(top),
        short_name_mode=_mode(top),
        aliases=_aliases(top, source),
    )


def _registry(table: Table, source: str) -> Registry:
    location = _place(table, "location", table.string("location"))
    prefix = _place(table, "prefix", table.string("prefix")) or location
    if not prefix:
        raise table.error("location", "expected a location or a prefix, found neither")
    if prefix.startswith(WILDCARD):
        if any(mark in prefix for mark in "/@:"):
            raise table.error("prefix", f"expected *.domain, found {prefix!r}: / @ : have no place behind *.")
    elif not location:
        raise table.error("location", f"missing; only a prefix *.domain goes without it, found {prefix!r}")
    if table.string("pull-from-mirror"):
        raise table.error("pull-from-mirror", "this is for mirrors, [[registry.mirror]], and not for a registry")
    return Registry(
        prefix=prefix,
        location=location,
        insecure=table.boolean("insecure"),
        blocked=table.boolean("blocked"),
        mirror_by_digest_only=table.boolean("mirror-by-digest-only"),
        mirrors=tuple(
            _mirror(one, by_digest_only=table.boolean("mirror-by-digest-only"))
            for one in table.tables("mirror", _MIRROR)
        ),
        source=source,
    )


def _mirror(table: Table, *, by_digest_only: bool) -> Endpoint:
    location = _place(table, "location", table.string("location"))
    rule = table.string("pull-from-mirror")
    if not location:
        raise table.error("location", "missing; a mirror is somewhere")
    if rule and by_digest_only:
        raise table.error("pull-from-mirror", "mirror-by-digest-only of the registry says it already, for all mirrors")
    try:
        chosen = PullFromMirror(rule) if rule else PullFromMirror.ALL
    except ValueError:
        choices = ", ".join(one.value for one in PullFromMirror)
        raise table.error("pull-from-mirror", f"expected one of {choices}, found {rule!r}") from None
    return Endpoint(location=location, insecure=table.boolean("insecure"), pull_from_mirror=chosen)


def _place(table: Table, key: str, text: str, index: int | None = None) -> str:
    if text.startswith(("http://", "https://")):
        raise table.error(key, f"expected host[:port][/path], found a URL: {text!r}", index)
    if len(text) > LONGEST or not text.isprintable() or " " in text:
        raise table.error(key, f"expected host[:port][/path], found {text[:80]!r}", index)
    return text.rstrip("/")


def _hosts(table: Table, key: str) -> tuple[str, ...] | None:
    texts = table.strings(key)
    if texts is None:
        return None
    found = []
    for index, text in enumerate(texts):
        host = _place(table, key, text, index)
        if not _HOST.fullmatch(host):
            raise table.error(key, f"expected host[:port], found {host!r}", index)
        found.append(host)
    return tuple(found)


def _helpers(top: Table) -> tuple[str, ...] | None:
    names = top.strings("credential-helpers")
    for index, name in enumerate(names or ()):
        if not _HELPER.fullmatch(name):
            raise top.error("credential-helpers", f"expected X of a program docker-credential-X, found {name!r}", index)
    return names


def _mode(top: Table) -> ShortNameMode | None:
    text = top.string("short-name-mode")
    try:
        return ShortNameMode(text) if text else None
    except ValueError:
        choices = ", ".join(one.value for one in ShortNameMode)
        raise top.error("short-name-mode", f"expected one of {choices}, found {text!r}") from None


def _check_agreement(registries: Iterable[Registry], source: str) -> None:
    places = defaultdict(list)
    for one in registries:
        places[one.location or one.prefix].append(one)
    for place, same in places.items():
        for what in ("insecure", "blocked"):
            if len({getattr(one, what) for one in same}) > 1:
                reason = f"{place!r} is there {len(same)} times, both with and without {what}: expected one answer"
                raise InvalidConfigurationError("$.registry", reason, source)


def _first_of_each(registries: Iterable[Registry]) -> tuple[Registry, ...]:
    found: dict[str, Registry] = {}
    for one in registries:
        found.setdefault(one.prefix, one)
    return tuple(found.values())


def parse_aliases(data: bytes, source: str) -> dict[str, Named | None]:
    """Parse the file of recorded short names, which has an ``[aliases]`` and nothing else.

    Args:
        data: Its content.
        source: The file, for messages.

    Raises:
        InvalidConfigurationError: It is malformed.
        LimitExceededError: It is not what anybody writes.
    """
    return _aliases(Table(load_toml(data, source), ("aliases",), source), source)


def _aliases(top: Table, source: str) -> dict[str, Named | None]:
    found: dict[str, Named | None] = {}
    for name, value, path in top.pairs("aliases"):
        try:
            check_short_name(name)
            found[name] = alias_value(value) if value else None
        except InvalidReferenceError as error:
            raise InvalidConfigurationError(path, str(error), source) from error
    return found
