"""Short names that were recorded: short-name-aliases.conf, which programs write (containers-registries.conf(5)).

Podman writes the same file in its place, under a lock on ``short-name-aliases.conf.lock``. Here it is replaced as a
whole, under the same lock.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from ocikit._fs import TEMPORARY_PREFIX, atomic_write
from ocikit.errors import ShortNameError
from ocikit.image.reference import Named
from ocikit.image.registries.document import MAX_BYTES, parse_aliases
from ocikit.image.registries.naming import alias_value, check_short_name
from ocikit.image.registries.places import aliases_path
from ocikit.image.registries.reading import read_file
from ocikit.image.storage.locks import exclusive_lock, shared_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocikit.image.context import SystemContext

__all__ = ["record_alias", "recorded_aliases", "remove_alias"]

_WHAT: Final = "recorded short names"


def recorded_aliases(sys: SystemContext | None = None) -> dict[str, Named | None]:
    """Return the short names that were recorded, and what they stand for; nothing is made where there are none.

    Args:
        sys: ``user_short_name_alias_conf_path`` and ``root_for_implicit_absolute_paths``.

    Raises:
        InvalidConfigurationError: The file is malformed.
        LimitExceededError: It is larger than 512 KiB.
        TimeoutError: Others are writing it, for two minutes.
        OSError: It cannot be read.
    """
    path = aliases_path(sys)
    with _reading(path) as directory_fd:
        return {} if directory_fd is None else _read(path, directory_fd)


def record_alias(short_name: str, named: Named | str, sys: SystemContext | None = None) -> str:
    """Record what a short name stands for from now on, for this user; what was recorded for it is replaced.

    Args:
        short_name: The name without a registry; tag and digest are refused.
        named: The repository; a tag or digest of a :class:`~ocikit.image.reference.Named` is left out.
        sys: As for :func:`recorded_aliases`.

    Returns:
        The file.

    Raises:
        InvalidReferenceError: A name is none of these.
        InvalidConfigurationError: The file is malformed.
        TimeoutError: Others hold its lock, for two minutes.
        OSError: It cannot be written.
    """
    check_short_name(short_name)
    value = alias_value(named.name if isinstance(named, Named) else named)

    def note(aliases: dict[str, Named | None]) -> None:
        aliases[short_name] = value

    return _change(note, sys)


def remove_alias(short_name: str, sys: SystemContext | None = None) -> str:
    """Forget what was recorded for a short name; aliases in registries.conf stay.

    Args:
        short_name: The name without a registry.
        sys: As for :func:`recorded_aliases`.

    Returns:
        The file.

    Raises:
        ShortNameError: Nothing is recorded for it.
        InvalidReferenceError: It is no short name.
        InvalidConfigurationError: The file is malformed.
        TimeoutError: Others hold its lock, for two minutes.
        OSError: It cannot be written.
    """
    check_short_name(short_name)

    def forget(aliases: dict[str, Named | None]) -> None:
        if short_name not in aliases:
            raise ShortNameError(
                f"{short_name!r}: nothing is recorded for it in {aliases_path(sys)}; an alias in registries.conf is "
                "removed there"
            )
        del aliases[short_name]

    return _change(forget, sys)


def _change(edit: Callable[[dict[str, Named | None]], None], sys: SystemContext | None) -> str:
    path = aliases_path(sys)
    directory, name = os.path.split(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with _directory(directory) as directory_fd, exclusive_lock(directory_fd, f"{name}.lock", f"{path}.lock"):
        aliases = _read(path, directory_fd)
        edit(aliases)
        data = _written(aliases)
        atomic_write(directory_fd, name, data, mode=0o600, temporary=f"{TEMPORARY_PREFIX}{name}")
    return path


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[int | None]:
    directory, name = os.path.split(os.path.abspath(path))
    with contextlib.ExitStack() as stack:
        try:
            directory_fd = stack.enter_context(_directory(directory))
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        # Who may read the file may not be allowed to open its lock; then it is read as it is.
        with contextlib.suppress(PermissionError):
            lock = shared_lock(directory_fd, f"{name}.lock", f"{path}.lock")
            if lock is not None:
                stack.enter_context(lock)
        yield directory_fd


def _read(path: str, directory_fd: int) -> dict[str, Named | None]:
    data = read_file(os.path.basename(path), MAX_BYTES, _WHAT, dir_fd=directory_fd)
    return {} if data is None else parse_aliases(data, path)


def _written(aliases: dict[str, Named | None]) -> bytes:
    # Names have no character that JSON and TOML would quote differently.
    lines = (f"  {json.dumps(name)} = {json.dumps(str(aliases[name] or ''))}\n" for name in sorted(aliases))
    return f"[aliases]\n{''.join(lines)}".encode()
