"""Where the store of this machine or user is: storage.conf and the environment (containers-storage.conf(5)).

For root the first of ``/etc/containers/storage.conf`` and ``/usr/share/containers/storage.conf`` counts, for others
``~/.config/containers/storage.conf``, with what the files of the system say about ``rootless_storage_path`` and the
driver where it says nothing. ``$CONTAINERS_STORAGE_CONF`` names one file in place of all.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.errors import InvalidReferenceError, LayoutError, LimitExceededError
from ocikit.image.home import home, needed_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocikit.image.context import SystemContext

__all__ = ["DRIVERS", "StoreLocation", "default_location", "driver_in"]

#: The drivers whose stores are read, and where in the root of the store each keeps the files of a layer. The first one
#: that is in a root is meant when nothing says which.
DRIVERS: Final = {"overlay": "overlay/{}/diff", "vfs": "vfs/dir/{}"}

_SYSTEM_FILES: Final = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_USER_FILE: Final = "containers/storage.conf"
_USER_DATA: Final = ".local/share"
_GRAPH_ROOT: Final = "/var/lib/containers/storage"
_RUN_ROOT: Final = "/run/containers/storage"
_MOST_BYTES: Final = 1 << 20
_ALIASES: Final = {"overlay2": "overlay"}
# What would end the path early when it is read back from a reference.
_NOT_IN_PATHS: Final = {"graphroot": "]:+", "runroot": "]:"}


@frozen(kw_only=True)
class StoreLocation:
    """Where a store is.

    Attributes:
        driver: The storage driver.
        graph_root: The directory that holds images and layers, absolute and in its shortest form.
        run_root: The directory for what does not outlive a boot; of no use to readers, but a part of the name.
        options: Options of the driver, as they are written in a reference.
    """

    driver: str
    graph_root: str
    run_root: str = field(eq=False)
    options: tuple[str, ...] = field(default=(), eq=False)

    @classmethod
    def parse(cls, text: str, reference: str) -> StoreLocation:
        """Parse what stands between the brackets: ``[driver@]graphroot[+runroot][:option,…]``.

        Args:
            text: The text.
            reference: What it was found in, for messages.

        Raises:
            InvalidReferenceError: It is outside the grammar.
        """
        driver, at, rest = text.partition("@") if "@" in text else ("", "", text)
        rest, colon, options = rest.partition(":")
        graph_root, plus, run_root = rest.partition("+")
        if (at and not driver) or not graph_root.startswith("/") or (plus and not run_root.startswith("/")):
            raise InvalidReferenceError(
                f"{reference!r}: expected [driver@graphroot+runroot:options], with absolute paths, found [{text}]"
            )
        if "\0" in rest:
            raise InvalidReferenceError(f"{reference!r}: there is a zero byte in the path of the store")
        root = _shortest(graph_root)
        return cls(
            driver=_ALIASES.get(driver, driver) or driver_in(root),
            graph_root=root,
            run_root=_shortest(run_root) if run_root else _RUN_ROOT,
            options=tuple(options.split(",")) if colon and options else (),
        )

    @property
    def specifier(self) -> str:
        """The text in brackets that :meth:`parse` makes an equal location from, brackets included."""
        options = f":{','.join(self.options)}" if self.options else ""
        return f"[{self.driver}@{self.graph_root}+{self.run_root}{options}]"

    @property
    def additional_roots(self) -> tuple[str, ...]:
        """The roots of further stores that are only read: options ``imagestore=PATH``, of a driver or of none."""
        pairs = (option.partition("=") for option in self.options)
        return tuple(
            _shortest(value) for key, _, value in pairs if key.rpartition(".")[2] == "imagestore" and value[:1] == "/"
        )


def driver_in(graph_root: str) -> str:
    """Return the driver of the store in a directory; the one that is usual when there is none yet.

    Args:
        graph_root: The directory.
    """
    present = (driver for driver in DRIVERS if Path(graph_root, f"{driver}-images").is_dir())
    return next(present, next(iter(DRIVERS)))


def _shortest(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")


@frozen(kw_only=True)
class _Settings:
    """What one storage.conf says; empty where it says nothing."""

    driver: str = ""
    graph_root: str = ""
    run_root: str = ""
    rootless_path: str = ""
    stores: tuple[str, ...] = ()


def default_location(sys: SystemContext | None = None) -> StoreLocation:
    """Return where the store of this machine, or of this user, is; nothing needs to be there.

    Args:
        sys: ``root_for_implicit_absolute_paths`` is put before the paths of the files, before the default root of the
            store, and before the paths that those files give.

    Raises:
        LayoutError: A storage.conf is malformed.
        LimitExceededError: It is larger than 1 MiB.
        InvalidReferenceError: A path in it cannot be written in a reference.
        OSError: It cannot be read, or the one that ``$CONTAINERS_STORAGE_CONF`` names is not there.
    """
    prefix = (sys.root_for_implicit_absolute_paths if sys is not None else None) or ""
    uid = _rootless_uid()
    settings = _rootless(prefix) if uid else _first(_candidates(prefix))
    graph_root = _place("graphroot", settings.graph_root or _default_root(uid), prefix)
    run_root = _place("runroot", settings.run_root or _default_run_root(uid), prefix)
    stores = tuple(f"imagestore={_place('graphroot', path, prefix)}" for path in settings.stores)
    environment = [option for option in os.environ.get("STORAGE_OPTS", "").split(",") if option]
    driver = os.environ.get("STORAGE_DRIVER") or settings.driver
    return StoreLocation(
        driver=_ALIASES.get(driver, driver) or driver_in(graph_root),
        graph_root=graph_root,
        run_root=run_root,
        options=tuple(environment) or stores,
    )


def _rootless_uid() -> int:
    # `podman unshare` runs its command as root of a user namespace, and says here for whom.
    said = os.environ.get("_CONTAINERS_ROOTLESS_UID", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else os.geteuid()


def _candidates(prefix: str) -> Iterator[Path]:
    named = os.environ.get("CONTAINERS_STORAGE_CONF")
    if named:
        yield Path(named)
    else:
        yield from (Path(f"{prefix}{file}") for file in _SYSTEM_FILES)


def _rootless(prefix: str) -> _Settings:
    system = _first(_candidates(prefix))
    own = system if os.environ.get("CONTAINERS_STORAGE_CONF") else _first(_of_user())
    return _Settings(
        driver=own.driver or system.driver,
        graph_root=own.graph_root or own.rootless_path or system.rootless_path,
        run_root=own.run_root,
        stores=own.stores,
    )


def _of_user() -> Iterator[Path]:
    config = os.environ.get("XDG_CONFIG_HOME")
    own = home()
    if config:
        yield Path(config, _USER_FILE)
    elif own is not None:
        yield own / ".config" / _USER_FILE


def _default_root(uid: int) -> str:
    if not uid:
        return _GRAPH_ROOT
    named = os.environ.get("XDG_DATA_HOME")
    data = Path(named) if named else needed_home("the store of images", "name graphroot in storage.conf") / _USER_DATA
    return f"{data}/containers/storage"


def _default_run_root(uid: int) -> str:
    if not uid:
        return _RUN_ROOT
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{uid}'}/containers"


def _place(what: str, path: str, prefix: str) -> str:
    expanded = os.path.expandvars(path.replace("$UID", str(_rootless_uid())))
    if not expanded.startswith("/"):
        raise LayoutError(f"storage.conf: {what}: expected an absolute path, found {path!r}")
    # In its real form, as the tools that write the store have it: a policy may name it.
    resolved = os.path.realpath(f"{prefix}{expanded}")
    if any(mark in resolved for mark in _NOT_IN_PATHS[what]):
        raise InvalidReferenceError(
            f"storage.conf: {what}: {resolved!r} cannot be written in the name of an image, as there is one of "
            f"{' '.join(_NOT_IN_PATHS[what])} in it"
        )
    return resolved


def _first(files: Iterator[Path]) -> _Settings:
    for file in files:
        try:
            with file.open("rb") as stream:
                data = stream.read(_MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            if os.environ.get("CONTAINERS_STORAGE_CONF") == str(file):
                raise
            continue
        if len(data) > _MOST_BYTES:
            raise LimitExceededError(f"{file}: bytes of a storage.conf", _MOST_BYTES)
        return _parse(data, str(file))
    return _Settings()


def _parse(data: bytes, where: str) -> _Settings:
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{where}: not in the format of a storage.conf (TOML): {error}") from error
    storage = _table(document, "storage", where)
    options = _table(storage, "options", where)
    stores = options.get("additionalimagestores", [])
    if not isinstance(stores, list) or not all(isinstance(store, str) for store in stores):
        raise LayoutError(f"{where}: storage.options.additionalimagestores: expected a list of paths")
    # With an imagestore of its own, a store keeps images there and only containers in its root.
    apart = _string(storage, "imagestore", where)
    return _Settings(
        driver=_string(storage, "driver", where),
        graph_root=_string(storage, "graphroot", where),
        run_root=_string(storage, "runroot", where),
        rootless_path=_string(storage, "rootless_storage_path", where),
        stores=(*([apart] if apart else []), *stores),
    )


def _table(document: dict[str, object], key: str, where: str) -> dict[str, object]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise LayoutError(f"{where}: {key}: expected a table, found {type(value).__name__}")
    return value


def _string(table: dict[str, object], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise LayoutError(f"{where}: storage.{key}: expected a string, found {type(value).__name__}")
    return value
