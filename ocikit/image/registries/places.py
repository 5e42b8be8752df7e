"""Which files say something about registries, in which order (containers-registries.conf.d(5)).

``~/.config/containers/registries.conf`` replaces the file of the system, and with it the drop-ins of the system; the
drop-ins of the user come last. What :class:`~ocikit.image.context.SystemContext` names comes in place of all that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ocikit.errors import LimitExceededError
from ocikit.image.home import home_or_nowhere

if TYPE_CHECKING:
    from ocikit.image.context import SystemContext

__all__ = [
    "ConfigurationPaths",
    "aliases_path",
    "configuration_paths",
    "drop_ins",
    "home",
    "implied",
]

_SYSTEM_FILE: Final = "/etc/containers/registries.conf"
_SYSTEM_DIRECTORY: Final = "/etc/containers/registries.conf.d"
_USER_FILE: Final = ".config/containers/registries.conf"
_USER_DIRECTORY: Final = ".config/containers/registries.conf.d"
_ALIASES: Final = "containers/short-name-aliases.conf"
_SYSTEM_CACHE: Final = "/var/cache"

#: How many files of a directory are looked at.
_MOST_NAMES: Final = 10_000


@frozen(kw_only=True)
class ConfigurationPaths:
    """What is read for one configuration of registries.

    Attributes:
        file: registries.conf; it need not be there unless it was asked for.
        is_given: Whether the caller asked for just this file.
        directories: Directories with drop-ins, in their order; they need not be there.
    """

    file: str
    is_given: bool
    directories: tuple[str, ...]


def home() -> str:
    """Return the home directory of this user; for one who has none, a directory that nobody has."""
    return str(home_or_nowhere())


def implied(path: str, sys: SystemContext | None) -> str:
    """Return an absolute path that nobody has given, below the root for such paths.

    Args:
        path: The path.
        sys: Has ``root_for_implicit_absolute_paths``.
    """
    prefix = sys.root_for_implicit_absolute_paths if sys is not None else None
    return f"{prefix.rstrip('/')}{path}" if prefix else path


def configuration_paths(sys: SystemContext | None = None) -> ConfigurationPaths:
    """Return which files are read, in their order; that of the user is looked for.

    Args:
        sys: ``system_registries_conf_path``, ``system_registries_conf_dir_path`` and
            ``root_for_implicit_absolute_paths``.
    """
    given = sys.system_registries_conf_path if sys is not None else None
    own = f"{home()}/{_USER_FILE}"
    is_own = not given and os.path.exists(own)
    chosen = sys.system_registries_conf_dir_path if sys is not None else None
    system = () if is_own else (implied(_SYSTEM_DIRECTORY, sys),)
    return ConfigurationPaths(
        file=given or (own if is_own else implied(_SYSTEM_FILE, sys)),
        is_given=bool(given),
        directories=(chosen,) if chosen else (*system, f"{home()}/{_USER_DIRECTORY}"),
    )


def drop_ins(directory: str) -> tuple[str, ...]:
    """Return the files of a directory that are read after registries.conf: ``*.conf`` in it, by name.

    Args:
        directory: The directory; where it is not there, neither are they.

    Raises:
        LimitExceededError: The directory has more than 10,000 names.
        OSError: It cannot be listed.
    """
    found = []
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_NAMES:
                    raise LimitExceededError(f"{directory}: names in a directory of configuration", _MOST_NAMES)
                if entry.name.endswith(".conf") and not entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(os.path.join(directory, name) for name in sorted(found, key=os.fsencode))


def aliases_path(sys: SystemContext | None = None) -> str:
    """Return where recorded short names are: of root in ``/var/cache``, of others in ``$XDG_CACHE_HOME``.

    Args:
        sys: ``user_short_name_alias_conf_path`` and ``root_for_implicit_absolute_paths``.
    """
    if sys is not None and sys.user_short_name_alias_conf_path:
        return sys.user_short_name_alias_conf_path
    # `podman unshare` runs its command as root of a user namespace, and says here for whom.
    if os.environ.get("_CONTAINERS_ROOTLESS_UID", str(os.geteuid())) == "0":
        return f"{implied(_SYSTEM_CACHE, sys)}/{_ALIASES}"
    return f"{os.environ.get('XDG_CACHE_HOME') or f'{home()}/.cache'}/{_ALIASES}"
