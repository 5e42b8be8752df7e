"""What a container with a monitor can be asked for by any process: its log, and a connection with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.errors import NotExistError, NotSupportedError, SystemCallError
from ocikit.runtime.attachment import Attachment
from ocikit.runtime.logs import LogReader
from ocikit.runtime.state import records

if TYPE_CHECKING:
    import datetime as dt

    from ocikit.runtime.handle import Handle
    from ocikit.runtime.state.documents import Monitored

__all__ = ["attach", "open_log"]

_HOW = 'create it with lifetime="process" or "detached", and streams that are the monitor\'s'


def _noted(container: Handle) -> Monitored | None:
    """Return what is noted of the monitor of a container; None when it has none.

    Raises:
        NotExistError: The container was destroyed.
    """
    with container._directory() as found:  # noqa: SLF001 - this module is a part of the container
        if found is None:
            raise NotExistError(f"container does not exist: {container.id} in {container.root}")
        own = records.read_own(*found, container.id)
        return own.monitor if own is not None else None


def open_log(
    container: Handle, *, follow: bool, tail: int | None, since: dt.datetime | None, stream: str | None
) -> LogReader:
    """Open the log of a container; see :meth:`Container.logs`."""
    noted = _noted(container)
    if noted is None or not noted.log:
        raise NotSupportedError(f"container {container.id} has no log; {_HOW}")
    monitor = container._find_monitor()  # noqa: SLF001
    init = container._init()  # noqa: SLF001

    def is_over() -> bool:
        if init.alive():
            return False
        return monitor is None or not monitor.alive() or container._is_written()  # noqa: SLF001

    state = f"{container.root.rstrip('/')}/{container.id}"
    try:
        return LogReader(
            noted.log, noted.log_format, noted.log_files,
            follow=follow, tail=tail, since=since, stream=stream, is_over=is_over, state=state,
        )  # fmt: skip
    except OSError as error:
        raise SystemCallError("read the log", error.errno or 0, noted.log) from error


def attach(container: Handle) -> Attachment:
    """Attach to a container; see :meth:`Container.attach`."""
    noted = _noted(container)
    if noted is None or not noted.attachable:
        raise NotSupportedError(f"nobody can attach to container {container.id}; {_HOW}")
    with container._directory() as found:  # noqa: SLF001
        if found is None:
            raise NotExistError(f"container does not exist: {container.id} in {container.root}")
        return Attachment(found[1], container.id)
