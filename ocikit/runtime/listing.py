"""Containers that exist: one by its id, or all of a state root."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocikit.errors import ContainerError, NotExistError, OCIKitError, SystemCallError
from ocikit.runtime.container import Container
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.state import records
from ocikit.runtime.state.documents import validate_id
from ocikit.runtime.state.root import StateRoot, root_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

__all__ = ["ContainerList", "list_containers", "load", "scan"]


class ContainerList(list[Container]):
    """A list of containers that shows itself as a table: as text for a terminal, and in a notebook.

    What they are doing is looked up when it is shown.
    """

    __slots__ = ()

    def __str__(self) -> str:
        from ocikit.runtime.display.containers import listing  # noqa: PLC0415 - for those who show it

        return listing(self)

    def _repr_html_(self) -> str:
        from ocikit.runtime.display.containers import containers  # noqa: PLC0415 - for notebooks

        return containers(self)


def load(root: str | os.PathLike[str] | None, container_id: str) -> Container:
    """Find a container, whoever made it.

    Args:
        root: Its state root; None for :func:`default_root`.
        container_id: Its id.

    Raises:
        InvalidIDError: That cannot be an id.
        NotExistError: There is no such container.
        StateError: Its state is damaged, or somebody else could have written it.
        SystemCallError: The state root cannot be opened.
    """
    validate_id(container_id)
    path = root_path(root)
    try:
        with StateRoot.open(path) as opened:
            container = _load(opened, container_id)
    except FileNotFoundError as error:
        raise NotExistError(f"container does not exist: {container_id}; there is no state root {path}") from error
    # Hold on to its process from now on: how it ends can be found out later only by those who had it open.
    container._init()  # noqa: SLF001 - part of making the object
    return container


def _load(root: StateRoot, container_id: str) -> Container:
    with root.directory(container_id) as directory:
        return Container(root.path, records.read_record(root, directory, container_id))


def scan(root: StateRoot, prefix: str) -> Iterator[tuple[str, Container | OCIKitError]]:
    """Yield every id with a prefix, with its container or why that cannot be loaded; what vanishes is left out."""
    for container_id in root.ids():
        if container_id.startswith(prefix):
            try:
                yield container_id, _load(root, container_id)
            except NotExistError as error:
                with contextlib.suppress(NotExistError), root.directory(container_id):
                    yield container_id, error
            except (ContainerError, SystemCallError) as error:
                yield container_id, error


def list_containers(
    root: str | os.PathLike[str] | None = None,
    *,
    prefix: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> ContainerList:
    """List the containers of a state root, whoever made them, sorted by id.

    Args:
        root: The state root; None for :func:`default_root`. One that does not exist has no containers.
        prefix: Only those whose id begins with it.
        labels: Only those whose annotations have all of these values.

    Returns:
        The containers. Those that cannot be loaded are left out, and logged.

    Raises:
        StateError: Somebody else could have written what is in the state root.
        SystemCallError: The state root cannot be read.
    """
    wanted = (labels or {}).items()
    found = ContainerList()
    try:
        with StateRoot.open(root_path(root)) as opened:
            for container_id, container in scan(opened, prefix or ""):
                if isinstance(container, Container):
                    if wanted <= container.annotations.items():
                        found.append(container)
                elif not isinstance(container, NotExistError):
                    _log.warning("container %s is left out of the list: %s", container_id, container)
    except FileNotFoundError:
        return ContainerList()
    return found
