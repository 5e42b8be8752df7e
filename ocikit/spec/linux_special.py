"""What is special in the Linux section of config.json (config-linux.md): most containers have nothing of it."""

from __future__ import annotations

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import BOOLEAN, INT64, STRING, UINT32, Kind, array

__all__ = [
    "LinuxDevice",
    "LinuxIDMapping",
    "LinuxIntelRdt",
    "LinuxMemoryPolicy",
    "LinuxNetDevice",
    "LinuxPersonality",
    "LinuxTimeOffset",
]

_STRINGS: Kind = array(STRING)


@frozen(kw_only=True, repr=False, eq=False)
class LinuxIDMapping(Document):
    """A range of user or group ids in the container and the ids they are outside."""

    #: First id in the container; REQUIRED.
    container_id: int = field(metadata=key("containerID", UINT32))
    #: First id on the host; REQUIRED.
    host_id: int = field(metadata=key("hostID", UINT32))
    #: How many ids; REQUIRED.
    size: int = field(metadata=key("size", UINT32))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxTimeOffset(Document):
    """How far a clock of the container is ahead of the host's."""

    #: Seconds.
    secs: int = field(default=0, metadata=key("secs", INT64))
    #: Nanoseconds on top of them.
    nanosecs: int = field(default=0, metadata=key("nanosecs", UINT32))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxDevice(Document):
    """A device node that the container has."""

    #: Path in the container; REQUIRED.
    path: str = field(metadata=key("path", STRING, absent=""))
    #: ``c`` or ``u`` (character), ``b`` (block) or ``p`` (fifo); REQUIRED.
    type: str = field(metadata=key("type", STRING, absent=""))
    #: Major number; REQUIRED unless the type is ``p``.
    major: int | None = field(default=None, metadata=key("major", INT64))
    #: Minor number; REQUIRED unless the type is ``p``.
    minor: int | None = field(default=None, metadata=key("minor", INT64))
    #: Permission bits; None is the runtime's choice, usually 0o666.
    file_mode: int | None = field(default=None, metadata=key("fileMode", UINT32))
    #: Owner in the container.
    uid: int | None = field(default=None, metadata=key("uid", UINT32))
    #: Group in the container.
    gid: int | None = field(default=None, metadata=key("gid", UINT32))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxNetDevice(Document):
    """A network device that is moved from the host into the container."""

    #: Name in the container; empty keeps the host's. ``%d`` at the end asks for a free number.
    name: str = field(default="", metadata=key("name", STRING))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxIntelRdt(Document):
    """Intel Resource Director Technology: cache and memory bandwidth."""

    #: Class of service; empty is one of the container's own, ``/`` the default one.
    clos_id: str = field(default="", metadata=key("closID", STRING))
    #: Lines for the schemata file; they are written last.
    schemata: tuple[str, ...] = field(default=(), metadata=key("schemata", _STRINGS))
    #: Line for the L3 cache, ``L3:…``.
    l3_cache_schema: str = field(default="", metadata=key("l3CacheSchema", STRING))
    #: Line for the memory bandwidth, ``MB:…``.
    mem_bw_schema: str = field(default="", metadata=key("memBwSchema", STRING))
    #: True for a monitoring group of the container's own.
    enable_monitoring: bool = field(default=False, metadata=key("enableMonitoring", BOOLEAN))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxMemoryPolicy(Document):
    """NUMA memory policy, as for set_mempolicy(2)."""

    #: Such as ``MPOL_INTERLEAVE``; REQUIRED.
    mode: str = field(metadata=key("mode", STRING, absent=""))
    #: Memory nodes, such as ``0-3,7``.
    nodes: str = field(default="", metadata=key("nodes", STRING, always=True))
    #: Such as ``MPOL_F_STATIC_NODES``.
    flags: tuple[str, ...] = field(default=(), metadata=key("flags", _STRINGS))


@frozen(kw_only=True, repr=False, eq=False)
class LinuxPersonality(Document):
    """Execution domain, as for personality(2)."""

    #: ``LINUX`` or ``LINUX32``; REQUIRED.
    domain: str = field(metadata=key("domain", STRING, absent=""))
    #: None are defined.
    flags: tuple[str, ...] = field(default=(), metadata=key("flags", _STRINGS))
