"""What belongs to the host stays as it is, however a configuration names it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ocikit import runtime
from ocikit.errors import ValidationError
from ocikit.spec import LinuxNamespace, Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("path", ["", "/proc/self/ns/uts"])
def test_host_name_of_the_host(
    root: Path, make_bundle: Callable[..., Path], make_spec: Callable[..., Spec], container_id: str, path: str
) -> None:
    """A host name is refused when it would be the host's, without a namespace and with the host's own by path."""
    before = socket.gethostname()
    base = make_spec("true", hostname="changed")
    assert base.linux is not None
    namespaces = tuple(one for one in base.linux.namespaces if one.type != "uts")
    if path:
        namespaces += (LinuxNamespace(type="uts", path=path),)
    bundle = make_bundle("true")
    with pytest.raises(ValidationError, match=r"\$\.hostname"):
        runtime.run(root, container_id, bundle, spec=base.with_linux(namespaces=namespaces))
    assert socket.gethostname() == before
    assert not (root / container_id).exists()


def test_network_parameter_of_the_host(
    root: Path, make_bundle: Callable[..., Path], make_spec: Callable[..., Spec], container_id: str
) -> None:
    """A network parameter is refused when the network is the host's."""
    base = make_spec("true")
    assert base.linux is not None
    namespaces = tuple(one for one in base.linux.namespaces if one.type != "network")
    joined = (*namespaces, LinuxNamespace(type="network", path="/proc/thread-self/ns/net"))
    spec = base.with_linux(namespaces=joined, sysctl={"net.ipv4.ip_default_ttl": "99"})
    with pytest.raises(ValidationError, match="ip_default_ttl"):
        runtime.run(root, container_id, make_bundle("true"), spec=spec)
    with open("/proc/sys/net/ipv4/ip_default_ttl") as file:
        assert file.read().strip() != "99"
