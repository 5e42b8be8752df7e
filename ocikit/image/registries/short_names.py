"""What a name without a registry may stand for (containers-registries.conf(5), "short-name resolution").

In this order: what was recorded for it, the aliases of registries.conf, the registries that are searched. Nobody is
asked: a library has no terminal. A program that has one shows the candidates, and records what was chosen.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from ocikit.errors import InvalidReferenceError, ShortNameError
from ocikit.image.context import ShortNameMode
from ocikit.image.reference import Named, parse_normalized_named
from ocikit.image.registries.aliases import recorded_aliases
from ocikit.image.registries.configuration import RegistriesConfiguration
from ocikit.image.registries.naming import LONGEST, is_short_name, repository_of
from ocikit.image.registries.places import aliases_path

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext

__all__ = ["Rationale", "ResolvedName", "resolve_short_name"]


class Rationale(enum.Enum):
    """Why a name stands for what it stands for."""

    #: It names its registry.
    FULL_NAME = "full name"
    #: There is an alias for it.
    ALIAS = "alias"
    #: It is searched in the registries for that.
    SEARCH = "search"


@frozen(kw_only=True)
class ResolvedName:
    """What a name may stand for.

    Attributes:
        text: The name.
        candidates: The images, best first; each has a tag or a digest.
        rationale: Why these.
        source: The file that says so; None for a name in full.
    """

    text: str
    candidates: tuple[Named, ...]
    rationale: Rationale
    source: str | None = None

    @property
    def description(self) -> str:
        """The same for people."""
        images = ", ".join(str(one) for one in self.candidates)
        return {
            Rationale.FULL_NAME: f"{self.text!r} names its registry: {images}",
            Rationale.ALIAS: f"{self.text!r} is an alias in {self.source}: {images}",
            Rationale.SEARCH: f"{self.text!r} is searched as {self.source} says: {images}",
        }[self.rationale]


def resolve_short_name(text: str, sys: SystemContext | None = None) -> ResolvedName:
    """Return the images that a name may stand for; one that names its registry stands for itself.

    Args:
        text: The name, with or without tag and digest; without both ``latest`` is meant.
        sys: ``short_name_mode``, and the paths of configuration.

    Raises:
        InvalidReferenceError: It is no name of an image.
        ShortNameError: There is no alias for it and nothing to search; or there are several candidates, and the mode
            is :attr:`~ocikit.image.context.ShortNameMode.ENFORCING`.
        InvalidConfigurationError: A file is malformed.
        LimitExceededError: A file is too large.
        TimeoutError: The file of recorded names is being written, for two minutes.
        OSError: A file cannot be read.
    """
    if len(text) > LONGEST:
        raise InvalidReferenceError(f"{text[:40]!r}…: a name with {len(text):,} characters, up to {LONGEST:,} allowed")
    named = parse_normalized_named(text)
    if not is_short_name(text):
        return ResolvedName(text=text, candidates=(_tagged(named),), rationale=Rationale.FULL_NAME)
    configuration = RegistriesConfiguration.load(sys)
    value, source = _alias(repository_of(text), configuration, sys)
    if value is not None:
        image = _tagged(evolve(value, tag=named.tag, digest=named.digest))
        return ResolvedName(text=text, candidates=(image,), rationale=Rationale.ALIAS, source=source)
    return _searched(text, configuration, _mode(configuration, sys))


def _mode(configuration: RegistriesConfiguration, sys: SystemContext | None) -> ShortNameMode:
    chosen = sys.short_name_mode if sys is not None else None
    return chosen if chosen is not None else configuration.short_name_mode


def _alias(
    name: str, configuration: RegistriesConfiguration, sys: SystemContext | None
) -> tuple[Named | None, str | None]:
    recorded = recorded_aliases(sys)
    if name in recorded:
        return recorded[name], aliases_path(sys)
    return configuration.aliases.get(name, (None, None))


def _searched(text: str, configuration: RegistriesConfiguration, mode: ShortNameMode) -> ResolvedName:
    hosts = configuration.unqualified_search_registries
    if not hosts:
        where = (
            configuration.search_source or ", ".join(configuration.sources) or "no registries.conf, as there is none"
        )
        raise ShortNameError(
            f"{text!r} names no registry, there is no alias for it, and no unqualified-search-registries are in "
            f"{where}; write the name in full (docker.io/library/busybox)"
        )
    images = tuple(_tagged(parse_normalized_named(f"{host}/{text}")) for host in hosts)
    if mode is ShortNameMode.ENFORCING and len(images) > 1:
        raise ShortNameError(
            f"{text!r} may be any of {', '.join(str(one) for one in images)} ({configuration.search_source}), and the "
            "mode of short names is enforcing; write the name in full, or record an alias"
        )
    return ResolvedName(text=text, candidates=images, rationale=Rationale.SEARCH, source=configuration.search_source)


def _tagged(named: Named) -> Named:
    return evolve(named, tag="latest") if named.is_name_only else named
