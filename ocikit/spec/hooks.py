"""Hooks of config.json (config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import INT64, STRING, Kind, array

__all__ = ["Hook", "Hooks"]

_STRINGS: Kind = array(STRING)


@frozen(kw_only=True, repr=False, eq=False)
class Hook(Document):
    """A program that runs at some point of the life of a container."""

    #: The program, an absolute path; REQUIRED.
    path: str = field(metadata=key("path", STRING, absent=""))
    #: Its arguments, the name it is called by first.
    args: tuple[str, ...] = field(default=(), metadata=key("args", _STRINGS))
    #: Its environment, as ``NAME=value``.
    env: tuple[str, ...] = field(default=(), metadata=key("env", _STRINGS))
    #: Seconds until it is stopped; None is unlimited.
    timeout: int | None = field(default=None, metadata=key("timeout", INT64))


@frozen(kw_only=True, repr=False, eq=False)
class Hooks(Document):
    """Programs that run at some points of the life of a container, each list in its order."""

    #: Before create_runtime, in the same way; deprecated.
    prestart: tuple[Hook, ...] = field(default=(), metadata=key("prestart", array(Hook)))
    #: On the host, when the namespaces exist and before the root is changed.
    create_runtime: tuple[Hook, ...] = field(default=(), metadata=key("createRuntime", array(Hook)))
    #: In the container's namespaces, before the root is changed.
    create_container: tuple[Hook, ...] = field(default=(), metadata=key("createContainer", array(Hook)))
    #: In the container, right before its program.
    start_container: tuple[Hook, ...] = field(default=(), metadata=key("startContainer", array(Hook)))
    #: On the host, right after the program of the container has started.
    poststart: tuple[Hook, ...] = field(default=(), metadata=key("poststart", array(Hook)))
    #: On the host, when the container is deleted.
    poststop: tuple[Hook, ...] = field(default=(), metadata=key("poststop", array(Hook)))
