"""Connections to registries: pooled, bounded in time, with the certificates that are configured.

One pool for each host and each way of talking to it serves all threads of the process. What is redirected to another
host goes through connections that show no certificate of ours.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from attrs import frozen

from ocikit import __version__
from ocikit._tuples import NamedTuple
from ocikit.errors import RegistryError
from ocikit.image.docker.streaming import Feed
from ocikit.image.registries import TLSMaterial, find_certificates, ssl_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse, HTTPSConnectionPool, PoolManager
    from urllib3._base_connection import BaseHTTPConnection

    from ocikit.image.docker.endpoint import Endpoint
    from ocikit.image.docker.streaming import Body

__all__ = ["Connection", "Opened", "Unreachable", "close_connections", "connection_to", "reason_of"]

# How many hosts, and ways of talking to them, are remembered.
_MOST_HOSTS: Final = 64
# Beyond them connections are closed after use.
_POOLED: Final = 16
_CONNECT_SECONDS: Final = 15.0
_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
# What is for the registry alone and never for whom it sends us to (CVE-2020-15157).
_PRIVATE: Final = frozenset({"authorization", "cookie"})


class Opened(NamedTuple):
    """An answer, its body unread.

    Attributes:
        response: The answer.
        url: Where it came from, after redirects.
    """

    response: BaseHTTPResponse
    url: str


class Unreachable(Exception):  # noqa: N818 - never leaves this room: it is another try, or a RegistryError
    """The other side could not be reached, fell silent, or broke off."""


@frozen(kw_only=True)
class _Way:
    """How a host is talked to; one pool serves everybody for whom all of this is the same."""

    host: str
    insecure: bool
    material: TLSMaterial
    proxy: str | None
    timeout: float
    agent: str


_connections: dict[_Way, Connection] = {}
_lock = threading.Lock()


def connection_to(endpoint: Endpoint) -> Connection:
    """Return the connections to an endpoint, made when they are first asked for.

    Args:
        endpoint: The endpoint.

    Raises:
        InvalidConfigurationError: A certificate that is configured for it cannot be used.
        OSError: It cannot be read.
    """
    sys = endpoint.sys
    insecure = endpoint.insecure
    if sys is not None and sys.docker_insecure_skip_tls_verify is not None:
        insecure = sys.docker_insecure_skip_tls_verify
    way = _Way(
        host=endpoint.host,
        insecure=insecure,
        material=find_certificates(endpoint.host, sys),
        proxy=sys.docker_proxy_url if sys is not None else None,
        timeout=sys.docker_timeout if sys is not None else 60.0,
        agent=(sys.docker_registry_user_agent if sys is not None else None) or f"ocikit/{__version__}",
    )
    with _lock:
        found = _connections.pop(way, None) or Connection(way)
        _connections[way] = found  # the last one that was asked for stands last
        if len(_connections) > _MOST_HOSTS:
            _connections.pop(next(iter(_connections))).close()
        return found


def close_connections() -> None:
    """Close the connections to registries that nobody uses at the moment; what is needed again is opened again."""
    with _lock:
        for connection in _connections.values():
            connection.close()


def _forget() -> None:
    # A forked child shares the sockets of its parent: two processes in one conversation.
    _connections.clear()


os.register_at_fork(after_in_child=_forget)


class Connection:
    """Connections to one host.

    Args:
        way: How it is talked to.
    """

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._pools: dict[tuple[str, bool], PoolManager] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        with self._guard:
            pools, self._pools = [*self._pools.values()], {}
        for pool in pools:
            pool.clear()

    @property
    def host(self) -> str:
        """``host[:port]``."""
        return self._way.host

    @property
    def schemes(self) -> tuple[str, ...]:
        """What is tried, in order: plain HTTP only where somebody has said that it will do."""
        return ("https", "http") if self._way.insecure else ("https",)

    def open(
        self, method: str, url: str, headers: Mapping[str, str], body: Body = None, *, follow: bool = True
    ) -> Opened:
        """Send a request and return the answer, its body unread; the caller reads or closes it.

        Redirects are followed. Another host gets neither credentials nor certificates of ours.

        Args:
            method: The method.
            url: The address, in full.
            headers: The headers.
            body: The body; what can be read only once is sent to nobody else.
            follow: Whether redirects are followed.

        Raises:
            Unreachable: There was no answer.
            RegistryError: A redirect leads somewhere where nobody should go, or there are too many.
        """
        sent = dict(headers)
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(method, url, sent, body)
            follows = follow and answer.status in _REDIRECTS and not isinstance(body, Feed)
            target = answer.headers.get("Location") if follows else None
            if target is None:
                return Opened(answer, url)
            answer.drain_conn()
            answer.release_conn()
            old, url = url, urljoin(url, target)
            self._check(old, url)
            if _origin(old) != _origin(url):
                sent = {name: value for name, value in sent.items() if name.lower() not in _PRIVATE}
        raise RegistryError(f"{method} {_shown(url)}", f"more than {_MOST_REDIRECTS} redirects")

    def _check(self, old: str, url: str) -> None:
        scheme = urlsplit(url).scheme
        if scheme not in _PORTS:
            raise RegistryError(_shown(old), f"is redirected to {_shown(url)}; expected HTTP")
        if scheme == "http" and urlsplit(old).scheme == "https" and not self._way.insecure:
            raise RegistryError(_shown(old), f"is redirected to {_shown(url)}, which is not encrypted")

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> BaseHTTPResponse:
        from urllib3 import Timeout  # noqa: PLC0415 - loaded when first needed
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        is_own = urlsplit(url).netloc.rpartition("@")[2] == self._way.host
        try:
            return self._pool(url, is_own=is_own).request(
                method,
                url,
                headers={"User-Agent": self._way.agent, "Accept-Encoding": "identity", **headers},
                body=body,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=min(_CONNECT_SECONDS, self._way.timeout), read=self._way.timeout),
            )
        except (HTTPError, OSError) as error:
            raise Unreachable(reason_of(error)) from error

    def _pool(self, url: str, *, is_own: bool) -> PoolManager:
        from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - loaded when first needed

        parts = urlsplit(url)
        host = parts.hostname or ""
        proxy = self._way.proxy
        if proxy is None and not proxy_bypass(host):
            proxy = getproxies().get(parts.scheme)
        key = (proxy or "", is_own)
        with self._guard:
            if key not in self._pools:
                self._pools[key] = self._made_pool(proxy, is_own=is_own)
            return self._pools[key]

    def _made_pool(self, proxy: str | None, *, is_own: bool) -> PoolManager:
        from urllib3 import PoolManager, ProxyManager  # noqa: PLC0415 - loaded when first needed

        if is_own not in self._contexts:
            # Authorities count for those whom the registry names, too: its token server and its store of blobs.
            known = self._way.material
            material = known if is_own else TLSMaterial(authorities=known.authorities)
            self._contexts[is_own] = ssl_context(material, insecure=self._way.insecure)
        options: dict[str, Any] = {"num_pools": 8, "maxsize": _POOLED, "ssl_context": self._contexts[is_own]}
        made = ProxyManager(proxy, **options) if proxy else PoolManager(**options)
        if self._way.insecure:
            made.pool_classes_by_scheme = {**made.pool_classes_by_scheme, "https": _without_warning()}
        return made


def _without_warning() -> type[HTTPSConnectionPool]:
    """Return a pool that does not warn of certificates that are taken unseen: that was asked for."""
    from urllib3 import HTTPSConnectionPool  # noqa: PLC0415 - loaded when first needed

    class Unseen(HTTPSConnectionPool):
        def _validate_conn(self, conn: BaseHTTPConnection) -> None:
            if conn.is_closed:
                conn.connect()

    return Unseen


def reason_of(error: BaseException) -> str:
    """Say what went wrong on the way, without what urllib3 tells about its own objects."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return reason_of(reason)
    cause = error.__cause__ or error.__context__
    text = str(error)
    if " object at 0x" in text and isinstance(cause, OSError) and cause is not error:
        return cause.strerror or str(cause)
    return text.rpartition(" object at 0x")[2].partition(": ")[2] if " object at 0x" in text else text


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _shown(url: str) -> str:
    """Show an address without its query, which has signatures of stores in it, and without a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]
