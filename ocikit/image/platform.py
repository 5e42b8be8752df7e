"""Which manifest of an index is for this machine, or for another one that was asked for."""

from __future__ import annotations

import platform as _host
import sys as _sys
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import AmbiguousImageError, ImageNotFoundError
from ocikit.image.context import SystemContext
from ocikit.image.conversion.variants import is_zstd
from ocikit.spec import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.manifest import AnyIndex
    from ocikit.spec import Descriptor

__all__ = [
    "choose_instance",
    "context_for",
    "is_for_machines",
    "parse_platform",
    "platform_name",
    "wanted_platforms",
]

# What uname calls an architecture, and what Go and the image specification call it, with its variant.
_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le" if _sys.byteorder == "little" else "mips64", ""),
}

# Each machine runs what was made for itself and for everything after it in the list.
_COMPATIBLE: Final = {"arm": ("v8", "v7", "v6", "v5"), "arm64": ("v8",), "amd64": ("v4", "v3", "v2", "v1")}

# The variant that every machine of the architecture has, whether or not an index mentions it.
_BASE: Final = {"arm64": "v8", "amd64": "v1"}

_UNKNOWN: Final = "unknown"


def parse_platform(text: str) -> Platform:
    """Return the platform that people write as ``linux/arm64`` or ``linux/arm/v7``.

    Args:
        text: Operating system, architecture, and perhaps a variant, as Go calls them.

    Raises:
        ValueError: It is something else.
    """
    os, _, rest = text.partition("/")
    architecture, slash, variant = rest.partition("/")
    if not (os and architecture) or bool(slash) != bool(variant) or "/" in variant:
        raise ValueError(
            f"{text!r}: expected a platform os/architecture[/variant], such as linux/arm64 or linux/arm/v7"
        )
    return Platform(os=os, architecture=architecture, variant=variant)


def context_for(platform: Platform | str, sys: SystemContext | None = None) -> SystemContext:
    """Return circumstances that choose a platform, and are the same else.

    Args:
        platform: The platform, or what :func:`parse_platform` takes. What it says of versions and features of the
            operating system is not looked at.
        sys: The circumstances.

    Raises:
        TypeError: It is neither.
        ValueError: It is text, and no platform.
    """
    wanted = parse_platform(platform) if isinstance(platform, str) else platform
    if not isinstance(wanted, Platform):
        raise TypeError(f"expected a Platform or text such as 'linux/arm64', found {type(platform).__name__}")
    return evolve(
        sys or SystemContext(),
        os_choice=wanted.os,
        architecture_choice=wanted.architecture,
        variant_choice=wanted.variant or None,
    )


def wanted_platforms(sys: SystemContext | None = None) -> tuple[Platform, ...]:
    """Return the platforms whose images will do, the best first.

    Args:
        sys: Chooses an operating system, architecture and variant in place of the running ones. With an
            architecture chosen and no variant, images for a variant are not considered, except for the one that
            every machine of that architecture has.
    """
    machine = _host.machine().lower()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    os = {"win32": "windows"}.get(_sys.platform, _sys.platform)
    if sys is not None:
        if sys.architecture_choice is not None:
            architecture, variant = sys.architecture_choice, ""
        variant = sys.variant_choice if sys.variant_choice is not None else variant
        os = sys.os_choice if sys.os_choice is not None else os
    return tuple(Platform(os=os, architecture=architecture, variant=one) for one in _variants(architecture, variant))


def _variants(architecture: str, variant: str) -> tuple[str, ...]:
    if not variant:
        base = _BASE.get(architecture)
        return ("", base) if base is not None else ("",)
    order = _COMPATIBLE.get(architecture, ())
    return (*(order[order.index(variant) :] if variant in order else (variant,)), "")


def choose_instance(
    index: AnyIndex, sys: SystemContext | None = None, *, what: str = "index", prefer_gzip: bool = False
) -> Descriptor:
    """Choose the entry of an index that is for a platform.

    The first entry of the best platform wins; of those that are the same image in several compressions, the first in
    the better one, which is zstd unless something else is asked for. An entry that names no platform is taken when
    none fits and it is the only such entry. Attestations (``unknown/unknown``) are never chosen.

    Args:
        index: The index.
        sys: As for :func:`wanted_platforms`.
        what: What the index belongs to, for messages.
        prefer_gzip: Whether gzip is the better compression.

    Raises:
        ImageNotFoundError: There is no image for the platform; the message lists what there is.
        AmbiguousImageError: Nothing fits, and several entries name no platform.
    """
    wanted = wanted_platforms(sys)
    for platform in wanted:
        fitting = [entry for entry in index.manifests if _fits(entry, platform)]
        if fitting:
            return next((entry for entry in fitting if is_zstd(entry.annotations) is not prefer_gzip), fitting[0])
    anywhere = {entry.digest: entry for entry in index.manifests if entry.platform is None and not entry.artifact_type}
    if len(anywhere) == 1:
        return next(iter(anywhere.values()))
    name = platform_name(wanted[0])
    if anywhere:
        raise AmbiguousImageError(
            f"{what}: no entry is for {name}, and {len(anywhere)} name no platform; choose one by its digest: "
            f"{', '.join(list(anywhere)[:5])}"
        )
    there = ", ".join(sorted(set(_names(index)))) or "nothing"
    raise ImageNotFoundError(
        f"{what}: no image for {name}, there is {there}; choose another with SystemContext(os_choice=…, "
        "architecture_choice=…, variant_choice=…)"
    )


def _fits(entry: Descriptor, wanted: Platform) -> bool:
    found = entry.platform
    return (
        found is not None
        and is_for_machines(found)
        and (found.os, found.architecture, found.variant) == (wanted.os, wanted.architecture, wanted.variant)
    )


def is_for_machines(platform: Platform) -> bool:
    """Say whether something runs somewhere; attestations are listed for ``unknown/unknown``."""
    return _UNKNOWN not in {platform.os, platform.architecture}


def _names(index: AnyIndex) -> Iterator[str]:
    for entry in index.manifests:
        if entry.platform is not None and entry.platform.os != _UNKNOWN:
            yield platform_name(entry.platform)


def platform_name(platform: Platform) -> str:
    """Return a platform as people write it: ``linux/arm/v7``."""
    variant = f"/{platform.variant}" if platform.variant else ""
    return f"{platform.os}/{platform.architecture}{variant}"
