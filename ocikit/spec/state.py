"""The state of a container, as runtimes report it and hooks receive it (runtime.md, "State")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit.spec._document import Document, key
from ocikit.spec._kinds import INT64, STRING, TIMESTAMP, array, mapping
from ocikit.spec.runtime import RUNTIME_SPEC_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.spec.timestamp import Timestamp

__all__ = [
    "CREATED",
    "CREATING",
    "PAUSED",
    "RUNNING",
    "SECCOMP_FD_NAME",
    "STATUSES",
    "STOPPED",
    "ContainerProcessState",
    "State",
]

#: The container is being made; only hooks see it.
CREATING: Final = "creating"
#: The container is made and its program not started.
CREATED: Final = "created"
#: The program runs.
RUNNING: Final = "running"
#: The program has ended.
STOPPED: Final = "stopped"
#: The program is frozen. Runtimes report it although the specification does not define it, as it allows.
PAUSED: Final = "paused"

#: The statuses that the specification defines.
STATUSES: Final = frozenset({CREATING, CREATED, RUNNING, STOPPED})

#: Name of the seccomp notification descriptor among those that are sent with a ContainerProcessState.
SECCOMP_FD_NAME: Final = "seccompFd"


@frozen(kw_only=True, repr=False, eq=False)
class State(Document):
    """What a container is doing.

    The three times are no part of the specification, which allows additional properties;
    ``created`` is what the command lines of runc and crun report, too.
    """

    #: Version of the runtime specification that the state follows; REQUIRED.
    oci_version: str = field(default=RUNTIME_SPEC_VERSION, metadata=key("ociVersion", STRING, absent="", always=True))
    #: The container's id, unique on its host; REQUIRED.
    id: str = field(metadata=key("id", STRING, absent=""))
    #: ``creating``, ``created``, ``running``, ``stopped``, or what a runtime adds, such as ``paused``; REQUIRED.
    status: str = field(metadata=key("status", STRING, absent=""))
    #: Id of the container's process, 0 when there is none; REQUIRED while created or running.
    pid: int = field(default=0, metadata=key("pid", INT64))
    #: The bundle, an absolute path; REQUIRED.
    bundle: str = field(metadata=key("bundle", STRING, absent=""))
    #: Arbitrary metadata, from the configuration.
    annotations: Mapping[str, str] = field(factory=dict, hash=False, metadata=key("annotations", mapping(STRING)))
    #: When the container was created.
    created: Timestamp | None = field(default=None, metadata=key("created", TIMESTAMP))
    #: When its program was started.
    started: Timestamp | None = field(default=None, metadata=key("started", TIMESTAMP))
    #: When its program ended.
    finished: Timestamp | None = field(default=None, metadata=key("finished", TIMESTAMP))


@frozen(kw_only=True, repr=False, eq=False)
class ContainerProcessState(Document):
    """What a seccomp agent receives together with descriptors (config-linux.md)."""

    #: Version of the runtime specification that the state follows; REQUIRED.
    oci_version: str = field(default=RUNTIME_SPEC_VERSION, metadata=key("ociVersion", STRING, absent="", always=True))
    #: Names of the descriptors, in the order in which they are sent.
    fds: tuple[str, ...] = field(default=(), metadata=key("fds", array(STRING), always=True))
    #: The process, as the runtime sees it; REQUIRED.
    pid: int = field(metadata=key("pid", INT64))
    #: Opaque data, from ``linux.seccomp.listenerMetadata``.
    metadata: str = field(default="", metadata=key("metadata", STRING))
    #: The container; REQUIRED.
    state: State = field(metadata=key("state", State))
