"""The connections of urllib3, with sockets that are bounded in time."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

from ocikit.image.docker.bounded import BoundedSocket, waiting_on

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from urllib3 import HTTPConnectionPool
    from urllib3._base_connection import BaseHTTPConnection
    from urllib3.response import HTTPResponse

__all__ = ["pool_classes"]


@cache
def pool_classes(*, insecure: bool) -> Mapping[str, type[HTTPConnectionPool]]:
    """Return the classes of pools by scheme.

    Args:
        insecure: Whether certificates are taken unseen: that was asked for, and nobody is warned.
    """
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool  # noqa: PLC0415 - loaded when first needed
    from urllib3.connection import HTTPConnection, HTTPSConnection  # noqa: PLC0415

    class Bounded(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = cast("socket.socket", BoundedSocket(self.sock))

        def getresponse(self) -> HTTPResponse:  # type: ignore[override]
            with waiting_on(_seconds(self.timeout)):
                return super().getresponse()

    # What is bounded is the socket in its end, with TLS round it where there is some.
    class Encrypted(Bounded, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Bounded

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    class UnseenPool(EncryptedPool):
        def _validate_conn(self, conn: BaseHTTPConnection) -> None:
            if conn.is_closed:
                conn.connect()

    return {"http": PlainPool, "https": UnseenPool if insecure else EncryptedPool}


def _seconds(timeout: object) -> float | None:
    return timeout if isinstance(timeout, int | float) else None
