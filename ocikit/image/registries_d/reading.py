"""The files of ``registries.d``: found, read within bounds, and asked about an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocikit._fs import Descriptor
from ocikit.errors import LayoutError, LimitExceededError, MissingDependencyError
from ocikit.image.home import home, home_or_nowhere, needed_home
from ocikit.image.registries_d.configuration import RegistriesConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.context import SystemContext
    from ocikit.image.reference import Named

__all__ = [
    "load_registries_configuration",
    "signature_storage",
    "signature_storage_base_url",
    "use_sigstore_attachments",
]

_USER_DIRECTORY: Final = ".config/containers/registries.d"
_SYSTEM_DIRECTORY: Final = "/etc/containers/registries.d"
_USER_STORE: Final = ".local/share/containers/sigstore"
_SYSTEM_STORE: Final = "/var/lib/containers/sigstore"
_SUFFIX: Final = ".yaml"

#: How many files there may be, and the bytes of one.
_MOST_FILES: Final = 1000
_MOST_BYTES: Final = 256 << 10
#: What a file may consist of: three mappings within each other, and their keys and values.
_MOST_EVENTS: Final = 50_000
_DEEPEST: Final = 8


def load_registries_configuration(sys: SystemContext | None = None) -> RegistriesConfiguration:
    """Read all files of ``registries.d``; without the directory nothing is configured.

    The directory is the one that ``sys`` names, else ``~/.config/containers/registries.d`` when that is there, else
    ``/etc/containers/registries.d``.

    Args:
        sys: ``registries_dir_path`` names the directory; ``root_for_implicit_absolute_paths`` is put before the path
            in ``/etc``.

    Raises:
        LayoutError: A file is malformed, has a key that is not known, or a scope is in two of them.
        LimitExceededError: A file is larger than 256 KiB, or there are more than 1,000.
        MissingDependencyError: There are files, and PyYAML is not installed.
        OSError: A file cannot be read.
    """
    directory = _directory(sys)
    return RegistriesConfiguration.from_documents(_documents(directory))


def signature_storage_base_url(named: Named, sys: SystemContext | None = None, *, write: bool = False) -> str:
    """Return the URL that the signatures of an image are below: that of its lookaside store, and its repository.

    Args:
        named: The image.
        sys: As for :func:`load_registries_configuration`.
        write: Whether signatures are to be written.

    Returns:
        For example ``https://signatures.example.com/team/app``. Where none is configured, below
        ``file:///var/lib/containers/sigstore`` for root, ``~/.local/share/containers/sigstore`` for others.

    Raises:
        Exception: As :func:`load_registries_configuration`.
    """
    return f"{signature_storage(named, sys, write=write).rstrip('/')}/{named.path}"


def signature_storage(named: Named, sys: SystemContext | None = None, *, write: bool = False) -> str:
    """Return the URL of the lookaside store for an image, without the repository; arguments and errors are the same.

    Args:
        named: The image.
        sys: As for :func:`load_registries_configuration`.
        write: Whether signatures are to be written.

    Raises:
        Exception: As :func:`load_registries_configuration`.
    """
    base = load_registries_configuration(sys).lookaside(named, write=write)
    return base if base is not None else _default_store(sys, write=write)


def use_sigstore_attachments(named: Named, sys: SystemContext | None = None) -> bool:
    """Return whether cosign's signatures of an image are read from, and written to, the registry itself.

    Args:
        named: The image.
        sys: As for :func:`load_registries_configuration`.

    Raises:
        Exception: As :func:`load_registries_configuration`.
    """
    return load_registries_configuration(sys).use_sigstore_attachments(named)


def _directory(sys: SystemContext | None) -> Path:
    if sys is not None and sys.registries_dir_path is not None:
        return Path(sys.registries_dir_path)
    own = home()
    if own is not None and os.path.lexists(own / _USER_DIRECTORY):
        return own / _USER_DIRECTORY
    return Path(f"{_root(sys)}{_SYSTEM_DIRECTORY}")


def _root(sys: SystemContext | None) -> str:
    return (sys.root_for_implicit_absolute_paths if sys is not None else None) or ""


def _default_store(sys: SystemContext | None, *, write: bool) -> str:
    if os.geteuid() == 0:
        place = Path(f"{_root(sys)}{_SYSTEM_STORE}")
    elif write:
        place = needed_home("the store of signatures", "name a lookaside in registries.d") / _USER_STORE
    else:
        place = home_or_nowhere() / _USER_STORE
    return place.absolute().as_uri()


def _documents(directory: Path) -> Iterator[tuple[str, object]]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return
    if len(names) > _MOST_FILES:
        raise LimitExceededError(f"{directory}: files", _MOST_FILES, len(names))
    for file in (f"{directory}/{name}" for name in names):
        data = _read(file)
        if data is not None:
            yield file, _parsed(data, file)


def _read(file: str) -> bytes | None:
    try:
        # O_NONBLOCK: opening a named pipe would wait for somebody to write to it.
        with Descriptor(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as opened:
            data = b""
            while piece := os.read(opened.fd, _MOST_BYTES + 1 - len(data)):
                data += piece
    except FileNotFoundError:
        return None  # removed since, or a link that leads nowhere
    if len(data) > _MOST_BYTES:
        raise LimitExceededError(f"bytes of {file}", _MOST_BYTES)
    return data


def _parsed(data: bytes, file: str) -> object:
    try:
        import yaml  # noqa: PLC0415 - loaded when there is something to read
    except ImportError as error:
        raise MissingDependencyError(
            f"{file}: files of registries.d are read by PyYAML: install it, or ocikit[yaml]"
        ) from error
    try:
        _check(yaml.parse(data, Loader=yaml.SafeLoader), yaml, file)
        return yaml.load(data, Loader=_loader(yaml))  # noqa: S506 - a subclass of the safe one
    except yaml.YAMLError as error:
        raise LayoutError(f"{file}: not YAML: {error}") from error
    except (ValueError, OverflowError) as error:
        if isinstance(error, LayoutError | LimitExceededError):
            raise
        raise LayoutError(f"{file}: not YAML: a value is not what it looks like: {error}") from error


def _check(events: Any, yaml: Any, file: str) -> None:  # noqa: ANN401 - PyYAML's, which is imported late
    """Refuse what takes memory out of proportion, or is read in several ways: nothing else recurs."""
    depth = 0
    for number, event in enumerate(events):
        if number >= _MOST_EVENTS:
            raise LimitExceededError(f"{file}: keys and values", _MOST_EVENTS)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise LayoutError(f"{file}: anchors and aliases are not read; write the values out")
        if getattr(event, "tag", None) not in {None, "!"}:
            raise LayoutError(f"{file}: types of values are not stated in such files, found {str(event.tag)[:80]!r}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise LimitExceededError(f"{file}: mappings within each other", _DEEPEST)


def _loader(yaml: Any) -> Any:  # noqa: ANN401 - likewise
    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML is imported late
        """Takes no key twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - PyYAML's
            seen: set[object] = set()
            for key in (key.value for key, _ in node.value if isinstance(key.value, str)):
                if key in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key[:80]!r} is there twice", problem_mark=node.start_mark)
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

    return Loader
