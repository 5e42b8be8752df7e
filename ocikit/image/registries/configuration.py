"""What all files about registries say together, and the answers: where from, where to, who is asked for credentials.

A configuration is read once for every state of its files: the next call looks at their times and sizes, and reads only
what may have changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit._fs import ProcessLocks
from ocikit.errors import BlockedRegistryError, LimitExceededError
from ocikit.image.context import ShortNameMode
from ocikit.image.registries.document import MAX_BYTES, Document, parse_document
from ocikit.image.registries.entries import PullSource, PushEndpoint, Registry
from ocikit.image.registries.matching import matched_length, rewritten
from ocikit.image.registries.places import ConfigurationPaths, configuration_paths, drop_ins
from ocikit.image.registries.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ocikit.image.context import SystemContext
    from ocikit.image.reference import Named

__all__ = ["AUTH_FILES", "RegistriesConfiguration"]

#: The name under which ``credential-helpers`` has the files with credentials themselves.
AUTH_FILES: Final = "containers-auth.json"

_WHAT: Final = "the configuration of registries"
_MOST_FILES: Final = 1000
_MOST_BYTES: Final = 8 << 20
# A file that was written within one tick of the clock of its file system may be written again unseen.
_TICK_NS: Final = 2_000_000_000
_MOST_KEPT: Final = 32

_kept: dict[ConfigurationPaths, tuple[object, RegistriesConfiguration]] = {}
_kept_lock = ProcessLocks()


@frozen(kw_only=True)
class RegistriesConfiguration:
    """What is configured about registries.

    Attributes:
        registries: The entries, of each prefix the one that counts, in the order of prefixes.
        unqualified_search_registries: Where images with short names are searched, in this order.
        search_source: The file that says so; None where none does.
        credential_helpers: Who is asked for credentials, in this order: programs ``docker-credential-X``, and
            ``containers-auth.json`` for the files with credentials.
        short_name_mode: What happens to ambiguous short names.
        aliases: What short names stand for, and the file that says so; without those that were recorded.
        sources: The files that were read, in their order.
    """

    registries: tuple[Registry, ...] = ()
    unqualified_search_registries: tuple[str, ...] = ()
    search_source: str | None = None
    credential_helpers: tuple[str, ...] = (AUTH_FILES,)
    short_name_mode: ShortNameMode = ShortNameMode.PERMISSIVE
    aliases: Mapping[str, tuple[Named | None, str]] = field(factory=dict)
    sources: tuple[str, ...] = ()

    @classmethod
    def load(cls, sys: SystemContext | None = None) -> RegistriesConfiguration:
        """Return what the files say now.

        Args:
            sys: ``system_registries_conf_path``, ``system_registries_conf_dir_path`` and
                ``root_for_implicit_absolute_paths``.

        Raises:
            InvalidConfigurationError: A file is malformed.
            LimitExceededError: A file is larger than 512 KiB, or there are more than 1000, or 8 MiB.
            FileNotFoundError: ``system_registries_conf_path`` is not there.
            OSError: A file cannot be read.
        """
        paths = configuration_paths(sys)
        files = (paths.file, *(file for directory in paths.directories for file in drop_ins(directory)))
        state = _state(files)
        with _kept_lock.of():
            known = _kept.get(paths)
        if known is not None and known[0] == state:
            return known[1]
        merged = cls.merge(_read(files, is_given=paths.is_given))
        if state is not None:
            with _kept_lock.of():
                if len(_kept) >= _MOST_KEPT:
                    _kept.clear()
                _kept[paths] = (state, merged)
        return merged

    @classmethod
    def merge(cls, documents: Iterable[Document]) -> RegistriesConfiguration:
        """Return what files say together: what a later one says of a prefix, a name or a list replaces what was said.

        Args:
            documents: The files, in their order.
        """
        told = tuple(documents)
        registries = {one.prefix: one for document in told for one in document.registries}
        searches = [one for one in told if one.unqualified_search_registries is not None]
        helpers = [one.credential_helpers for one in told if one.credential_helpers is not None]
        modes = [one.short_name_mode for one in told if one.short_name_mode is not None]
        return cls(
            registries=tuple(registries[prefix] for prefix in sorted(registries)),
            unqualified_search_registries=(searches[-1].unqualified_search_registries or ()) if searches else (),
            search_source=searches[-1].source if searches else None,
            credential_helpers=(helpers[-1] if helpers else ()) or (AUTH_FILES,),
            short_name_mode=modes[-1] if modes else ShortNameMode.PERMISSIVE,
            aliases={name: (value, one.source) for one in told for name, value in one.aliases.items()},
            sources=tuple(one.source for one in told),
        )

    def find_registry(self, name: Named | str) -> Registry | None:
        """Return the entry for an image, a repository or a registry: the one with the longest prefix that fits.

        Args:
            name: The name in full, with its registry.
        """
        text = str(name)
        found = None
        for one in self.registries:
            fits = matched_length(text, one.prefix) is not None
            if fits and (found is None or len(one.prefix) > len(found.prefix)):
                found = one
        return found

    def find_unblocked(self, name: Named | str) -> Registry | None:
        """Return the entry for an image, a repository or a registry, as :meth:`find_registry`, unless it blocks it.

        Args:
            name: The name in full, with its registry.

        Raises:
            BlockedRegistryError: It is blocked.
        """
        registry = self.find_registry(name)
        if _is_blocked(registry):
            raise _blocked(name, registry)
        return registry

    def pull_sources(self, named: Named) -> tuple[PullSource, ...]:
        """Return where an image may be pulled from, in the order of asking: mirrors, then the registry itself.

        The first that has the manifest is the one for everything.

        Args:
            named: The image.

        Raises:
            BlockedRegistryError: Its registry is blocked, or all places are.
            InvalidConfigurationError: An entry makes a name of it that is none.
        """
        registry = self.find_unblocked(named)
        if registry is None:
            return (PullSource(reference=named),)
        mirrors = registry.mirrors_for(named)
        places = [*((one.location, one.insecure, True) for one in mirrors)]
        places.append((registry.location, registry.insecure, False))
        sources = tuple(
            PullSource(
                reference=rewritten(named, registry.prefix, location, registry.source),
                location=location,
                insecure=insecure,
                is_mirror=is_mirror,
            )
            for location, insecure, is_mirror in places
        )
        return self._allowed(named, sources)

    def _allowed(self, named: Named, sources: tuple[PullSource, ...]) -> tuple[PullSource, ...]:
        # What is blocked under its own name is blocked as a mirror, too.
        blocked = {one.reference: self.find_registry(one.reference) for one in sources}
        kept = tuple(one for one in sources if not _is_blocked(blocked[one.reference]))
        if kept:
            return kept
        raise _blocked(named, blocked[sources[-1].reference])

    def push_endpoint(self, named: Named) -> PushEndpoint:
        """Return where an image is pushed to: the registry that its name says, and no mirror or other location.

        Args:
            named: The image.

        Raises:
            BlockedRegistryError: Its registry is blocked.
        """
        registry = self.find_unblocked(named)
        return PushEndpoint(reference=named, insecure=registry is not None and registry.insecure)


def _is_blocked(registry: Registry | None) -> bool:
    return registry is not None and registry.blocked


def _blocked(name: Named | str, registry: Registry | None) -> BlockedRegistryError:
    entry = f"the entry for {registry.prefix!r} in {registry.source}" if registry is not None else "the configuration"
    return BlockedRegistryError(f"{name}: blocked by {entry}; nothing is pulled from there or pushed there")


def _read(files: tuple[str, ...], *, is_given: bool) -> Iterator[Document]:
    if len(files) > _MOST_FILES:
        raise LimitExceededError(f"{files[-1]}: files with {_WHAT}", _MOST_FILES, len(files))
    room = _MOST_BYTES
    for number, path in enumerate(files):
        data = read_file(path, MAX_BYTES, _WHAT)
        if data is None and number == 0 and is_given:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if data is None:
            continue
        room -= len(data)
        if room < 0:
            raise LimitExceededError(f"{path}: bytes of {_WHAT} in all", _MOST_BYTES)
        yield parse_document(data, path, only_version_2=number > 0)


def _state(files: tuple[str, ...]) -> object | None:
    """Return what changes when one of the files does; None when one was changed just now."""
    found = []
    for path in files:
        status = None
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(path)
        if status is not None and time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _TICK_NS:
            return None
        found.append((path, status and (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)))
    return tuple(found)
