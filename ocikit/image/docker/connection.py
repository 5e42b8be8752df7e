"""Connections to registries: pooled, bounded in time, with the certificates that are configured.

One pool for each host and each way of talking to it serves all threads of the process. What is redirected to another
host goes through connections that show no certificate of ours.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit import __version__
from ocikit._fs import ProcessLocks
from ocikit._tuples import NamedTuple
from ocikit.errors import RegistryError
from ocikit.image.docker.addresses import origin_of, resolve_address, shown
from ocikit.image.docker.bounded import waiting
from ocikit.image.docker.headers import stated_number
from ocikit.image.docker.pools import pool_classes
from ocikit.image.docker.proxies import proxy_for
from ocikit.image.docker.streaming import Feed
from ocikit.image.docker.unreachable import unreachable
from ocikit.image.registries import TLSMaterial, find_certificates, ssl_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

    from ocikit.image.docker.bounded import Call
    from ocikit.image.docker.endpoint import Endpoint
    from ocikit.image.docker.streaming import Body

__all__ = ["Connection", "Opened", "close_connections", "connection_to"]

# How many hosts, and ways of talking to them, are remembered.
_MOST_HOSTS: Final = 64
# Beyond them connections are closed after use.
_POOLED: Final = 16
_CONNECT_SECONDS: Final = 15.0
_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What is said with a redirect is read when it is less than so many bytes, and comes at once.
_MOST_PASSED_OVER: Final = 100_000
_PASSED_OVER_SECONDS: Final = 2.0
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


@frozen(kw_only=True)
class _Way:
    """How a host is talked to; one pool serves everybody for whom all of this is the same."""

    host: str
    insecure: bool
    material: TLSMaterial
    proxy: str | None = field(repr=False)  # it may have a password in it
    timeout: float
    agent: str
    #: What the files of :attr:`material` were: one that is another today makes another way.
    files: tuple[tuple[int, int, int], ...] = ()


_connections: dict[_Way, Connection] = {}
_lock = ProcessLocks()


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
    material = find_certificates(endpoint.host, sys)
    way = _Way(
        host=endpoint.host,
        insecure=insecure,
        material=material,
        files=tuple(_state_of(path) for path in material.files),
        proxy=sys.docker_proxy_url if sys is not None else None,
        timeout=sys.docker_timeout if sys is not None else 60.0,
        agent=(sys.docker_registry_user_agent if sys is not None else None) or f"ocikit/{__version__}",
    )
    with _lock.of():
        found = _connections.pop(way, None) or Connection(way)
        _connections[way] = found  # the last one that was asked for stands last
        if len(_connections) > _MOST_HOSTS:
            _connections.pop(next(iter(_connections))).close()
        return found


def _state_of(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1, -1  # whoever reads it says what is wrong with it
    return status.st_ino, status.st_mtime_ns, status.st_size


def close_connections() -> None:
    """Close the connections to registries that nobody uses at the moment; what is needed again is opened again."""
    with _lock.of():
        for connection in _connections.values():
            connection.close()


# A forked child shares the sockets of its parent: two processes in one conversation.
os.register_at_fork(after_in_child=_connections.clear)


class Connection:
    """Connections to one host.

    Args:
        way: How it is talked to.
    """

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._own = frozenset(origin_of(f"{scheme}://{way.host}") for scheme in ("http", "https"))
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._pools: dict[tuple[str, bool], PoolManager] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        with self._guard:
            pools, self._pools, self._contexts = [*self._pools.values()], {}, {}
        for pool in pools:
            pool.clear()

    @property
    def host(self) -> str:
        """``host[:port]``."""
        return self._way.host

    @property
    def is_insecure(self) -> bool:
        """Whether certificates are taken unseen, and plain HTTP will do."""
        return self._way.insecure

    @property
    def schemes(self) -> tuple[str, ...]:
        """What is tried, in order: plain HTTP only where somebody has said that it will do."""
        return ("https", "http") if self._way.insecure else ("https",)

    @property
    def timeout(self) -> float:
        """How long the other side may be silent, in seconds."""
        return self._way.timeout

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        call: Call,
        elsewhere: bool = True,
    ) -> Opened:
        """Send a request and return the answer, its body unread; the caller reads or closes it.

        Redirects are followed. Another server gets neither credentials nor certificates of ours.

        Args:
            method: The method.
            url: The address, in full.
            headers: The headers.
            body: The body; what can be read only once is sent to nobody else.
            call: For whom it is.
            elsewhere: Whether redirects to another server are followed.

        Raises:
            Unreachable: There was no answer.
            RegistryError: A redirect leads somewhere where nobody should go, or there are too many.
        """
        sent = dict(headers)
        what = f"{method} {shown(url)}"
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(method, url, sent, body, call)
            follows = answer.status in _REDIRECTS and not isinstance(body, Feed)
            target = answer.headers.get("Location") if follows else None
            if target is None:
                return Opened(answer, url)
            self._pass_over(answer, call)
            old, url = url, resolve_address(url, target, what, encrypted=not self.is_insecure)
            if origin_of(old) != origin_of(url):
                if not elsewhere:
                    raise RegistryError(
                        what, f"is redirected to {shown(url)}, another server, which is not told what this one is"
                    )
                sent = {name: value for name, value in sent.items() if name.lower() not in _PRIVATE}
        raise RegistryError(what, f"more than {_MOST_REDIRECTS} redirects")

    def _pass_over(self, answer: BaseHTTPResponse, call: Call) -> None:
        """Leave what is said with a redirect; where that is little, the connection can be used again."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - loaded when first needed

        length = stated_number(answer.headers, "Content-Length")
        try:
            if length is not None and length < _MOST_PASSED_OVER:
                with waiting(call, _PASSED_OVER_SECONDS):
                    answer.drain_conn()
            else:
                answer.close()
        except (HTTPError, OSError):
            answer.close()
        answer.release_conn()

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body, call: Call) -> BaseHTTPResponse:
        from urllib3 import Timeout  # noqa: PLC0415 - loaded when first needed
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            with waiting(call):
                return self._pool(url).request(
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
            raise unreachable(error) from error

    def _pool(self, url: str) -> PoolManager:
        if self._process != os.getpid():
            self._renew()  # what this process was forked with are the conversations of another one
        origin = origin_of(url)
        is_own = origin in self._own
        proxy = self._way.proxy if self._way.proxy is not None else proxy_for(origin, os.environ)
        key = (proxy or "", is_own)
        with self._guard:
            if key not in self._pools:
                self._pools[key] = self._made_pool(_Proxy.parse(proxy) if proxy else None, is_own=is_own)
            return self._pools[key]

    def _made_pool(self, proxy: _Proxy | None, *, is_own: bool) -> PoolManager:
        from urllib3 import PoolManager, ProxyManager  # noqa: PLC0415 - loaded when first needed

        if is_own not in self._contexts:
            # Authorities count for those whom the registry names, too: its token server and its store of blobs.
            known = self._way.material
            material = known if is_own else TLSMaterial(authorities=known.authorities)
            self._contexts[is_own] = ssl_context(material, insecure=self._way.insecure)
        options: dict[str, Any] = {"num_pools": 8, "maxsize": _POOLED, "ssl_context": self._contexts[is_own]}
        made = ProxyManager(proxy.address, proxy_headers=proxy.headers, **options) if proxy else PoolManager(**options)
        made.pool_classes_by_scheme = dict(pool_classes(insecure=self._way.insecure))
        return made


class _Proxy(NamedTuple):
    """Somebody who stands between."""

    #: Where.
    address: str
    #: What shows who we are.
    headers: dict[str, str] | None

    @classmethod
    def parse(cls, text: str) -> _Proxy:
        """Take an address and the user in it apart; a password may have anything in it."""
        from urllib.parse import unquote  # noqa: PLC0415 - loaded when first needed

        from urllib3.util import make_headers  # noqa: PLC0415

        scheme, _, rest = text.partition("://") if "://" in text else ("http", "", text)
        user, _, host = rest.rpartition("@")
        headers = dict(make_headers(proxy_basic_auth=unquote(user))) if user else None
        return cls(f"{scheme}://{host}", headers)
