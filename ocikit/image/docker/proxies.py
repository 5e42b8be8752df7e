"""Which requests go through a proxy of the environment: the rules that containers/image and other programs in Go have.

``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, in capital letters or not. Nothing that is on this machine goes
through a proxy. An entry of ``NO_PROXY`` is a host and those below it, those below alone (``.example.com``), an
address, a range of addresses, each perhaps with a port, or ``*`` for everything.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocikit.image.docker.addresses import Origin

__all__ = ["proxy_for"]

_LOCAL: Final = frozenset({"localhost"})


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> str | None:
    """Return the proxy for a server; None for none.

    Args:
        origin: The server.
        environment: The variables.
    """
    proxy = _variable(environment, f"{origin.scheme}_proxy")
    if not proxy or _is_here(origin.host):
        return None
    entries = (entry.strip().lower() for entry in _variable(environment, "no_proxy").split(","))
    return None if any(_fits(entry, origin) for entry in entries if entry) else proxy


def _variable(environment: Mapping[str, str], name: str) -> str:
    # What a request to a CGI program says of itself becomes HTTP_PROXY, too: there it is not the user's word.
    if name == "http_proxy" and "REQUEST_METHOD" in environment:
        return environment.get(name, "")
    return environment.get(name.upper()) or environment.get(name, "")


def _is_here(host: str) -> bool:
    address = _address(host)
    return host in _LOCAL or (address is not None and address.is_loopback)


def _fits(entry: str, origin: Origin) -> bool:
    if entry == "*":
        return True
    host, port = _taken_apart(entry)
    if port is not None and port != origin.port:
        return False
    address = _address(origin.host)
    if address is not None:
        return _is_within(address, host)
    below = host.removeprefix("*")
    return origin.host.endswith(below if below.startswith(".") else f".{below}") or origin.host == host


def _taken_apart(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    is_port = bool(colon) and port.isascii() and port.isdigit() and (":" not in host or host.endswith("]"))
    return (host, int(port)) if is_port else (entry, None)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False
