"""Where the user keeps configuration and signatures: a home, or none.

Platforms run services as users with a number and nothing else: no entry in passwd, no ``HOME``. For these what belongs
to the system still holds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ocikit.errors import LayoutError

__all__ = ["home", "home_or_nowhere", "needed_home"]

# What Debian and its like have as the home of users who have none.
_NOWHERE: Final = Path("/nonexistent")


def home() -> Path | None:
    """Return the directory of the user; None for one who has none. An empty ``HOME`` says nothing."""
    if os.environ.get("HOME") == "":
        # Path.home() would be the root of the file system.
        return _of_passwd()
    try:
        return Path.home()
    except RuntimeError:
        return None


def _of_passwd() -> Path | None:
    import pwd  # noqa: PLC0415 - not on every system

    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None


def home_or_nowhere() -> Path:
    """Return the directory of the user; for one who has none, a directory that nobody has: nothing is found there."""
    return home() or _NOWHERE


def needed_home(what: str, remedy: str) -> Path:
    """Return the directory of the user.

    Args:
        what: What is kept there, for the message.
        remedy: How to say where that is instead, for the message.

    Raises:
        LayoutError: The user has none.
    """
    place = home()
    if place is None:
        raise LayoutError(
            f"{what} would be in the home directory, and user {os.geteuid()} has none: set HOME, or {remedy}"
        )
    return place
