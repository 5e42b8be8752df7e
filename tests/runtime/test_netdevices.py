"""Network devices of the host in containers; the host is a network namespace that the test makes for itself."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from launching import default_spec, make_rootfs
from mounting import with_users

from ocikit.errors import LimitExceededError, ValidationError
from ocikit.runtime import netlink
from ocikit.runtime.plan.compiler import Surroundings, compile_plan
from ocikit.spec import LinuxNamespace, LinuxNetDevice, Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocikit.spec import Spec


#: Kernels without IPv6 show as much with the other family.
IPV6 = os.path.exists("/proc/net/if_inet6")
KEPT = {"192.0.2.7/24", *(("2001:db8::7/64",) if IPV6 else ())}


class Host:
    """A network namespace, in which containers are run as if it were that of the host."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, *words: str) -> str:
        """Run ``ip`` in it."""
        return subprocess.run(["ip", "-n", self.name, *words], check=True, capture_output=True, text=True).stdout

    def addresses(self, device: str) -> set[str]:
        """Return the addresses of a device that are not of the link alone."""
        found = json.loads(self.ip("-j", "address", "show", "dev", device))[0]["addr_info"]
        return {f"{one['local']}/{one['prefixlen']}" for one in found if one["scope"] == "global"}

    def devices(self) -> set[str]:
        """Return the names of all devices."""
        return {one["ifname"] for one in json.loads(self.ip("-j", "link"))}

    def python(self, script: str, *args: str) -> dict[str, Any]:
        """Run a Python script in it; return what it prints as JSON."""
        # With the mounts of this machine: ``ip netns exec`` would hide its cgroups.
        enter = ["nsenter", f"--net=/run/netns/{self.name}", sys.executable, "-c"]
        command = [*enter, textwrap.dedent(script), *args]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def host(new_id: Callable[[], str]) -> Iterator[Host]:
    """Give a namespace with a device that has addresses of all kinds."""
    subprocess.run(["ip", "netns", "add", name := new_id()], check=True)
    made = Host(name)
    try:
        made.ip("link", "set", "lo", "up")
        # A pair, of which one end stays: every kernel has them.
        card = ("mtu", "1280", "address", "02:00:00:00:00:07")
        made.ip("link", "add", "card0", *card, "type", "veth", "peer", "name", "peer0")
        for device in ("peer0", "card0"):
            made.ip("link", "set", device, "up")
        made.ip("address", "add", "192.0.2.7/24", "brd", "192.0.2.255", "dev", "card0")
        if IPV6:
            made.ip("address", "add", "2001:db8::7/64", "dev", "card0", "nodad")
        made.ip("address", "add", "198.51.100.1/32", "scope", "link", "dev", "card0")
        made.ip("address", "add", "203.0.113.9/24", "valid_lft", "1000", "preferred_lft", "1000", "dev", "card0")
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of busybox with the applet that shows devices."""
    rootfs = make_rootfs(tmp_path / "bundle/rootfs")
    os.chown(rootfs, 100_000, 100_000)
    (rootfs / "bin/ip").symlink_to("busybox")
    for path in (rootfs.parent, *list(rootfs.parents)[1:4]):
        path.chmod(0o755)
    return rootfs.parent


def moving(*args: str, **names: str) -> Spec:
    """Return a configuration that moves devices, and whose program shows them."""
    spec = attrs.evolve(default_spec(*(args or ("ip", "address", "show"))), root=Root(path="rootfs"))
    return spec.with_linux(net_devices={name: LinuxNetDevice(name=new) for name, new in names.items()})


RUN = """
    import json, sys
    from ocikit import runtime
    from ocikit.errors import ContainerError
    root, name, bundle = sys.argv[1:]
    try:
        done = runtime.run(root, name, bundle)
        print(json.dumps({"out": done.stdout.decode(), "code": done.exit_code}))
    except ContainerError as error:
        print(json.dumps({"error": str(error), "name": error.filename, "errno": error.errno}))
"""


@pytest.fixture
def run(host: Host, bundle: Path, root: Path, new_id: Callable[[], str]) -> Callable[[Spec], dict[str, Any]]:
    """Give what runs a container on the host of the test."""

    def run_one(spec: Spec) -> dict[str, Any]:
        (bundle / "config.json").write_bytes(spec.to_json())
        return host.python(RUN, str(root), new_id(), str(bundle))

    return run_one


@pytest.mark.parametrize("users", [False, True])
def test_a_device_comes_with_what_it_is(run: Callable[[Spec], dict[str, Any]], *, users: bool) -> None:
    """A device in the container is up, and has its permanent addresses of global scope, its MTU and its own address."""
    spec = moving(card0="")
    done = run(with_users(spec) if users else spec)
    assert done.get("code") == 0, done
    shown = done["out"].partition("card0")[2]
    assert "UP,LOWER_UP" in shown
    assert "mtu 1280" in shown
    assert "02:00:00:00:00:07" in shown
    assert "inet 192.0.2.7/24 brd 192.0.2.255 scope global card0" in shown
    assert ("inet6 2001:db8::7/64 scope global" in shown) == IPV6
    assert "198.51.100.1" not in shown
    assert "203.0.113.9" not in shown


@pytest.mark.parametrize(("name", "shown"), [("eth0", "eth0"), ("net%d", "net0")])
def test_a_device_gets_another_name(run: Callable[[Spec], dict[str, Any]], host: Host, name: str, shown: str) -> None:
    """The name in the container is the one that is asked for, or one that the kernel finds; on the host it is gone."""
    done = run(moving(card0=name))
    assert f" {shown}@" in done["out"]
    assert "192.0.2.7/24" in done["out"]
    assert "card0" not in done["out"]
    assert "card0" not in host.devices()


def test_names_may_be_exchanged(run: Callable[[Spec], dict[str, Any]], host: Host) -> None:
    """Two devices whose names are each other's on the host have the right ones in the container."""
    host.ip("link", "add", "card1", "type", "veth", "peer", "name", "peer1")
    host.ip("address", "add", "192.0.2.99/32", "dev", "card1")
    done = run(moving(card0="card1", card1="card0"))
    shown = {part.partition("@")[0]: part for part in done["out"].split(": card")[1:]}
    assert "192.0.2.7/24" in shown["1"]
    assert "192.0.2.99/32" in shown["0"]


def test_a_namespace_that_is_joined(
    run: Callable[[Spec], dict[str, Any]], host: Host, new_id: Callable[[], str]
) -> None:
    """The device remains in a namespace that outlives the container."""
    other = Host(new_id())
    subprocess.run(["ip", "netns", "add", other.name], check=True)
    try:
        spec = moving(card0="eth7")
        assert spec.linux is not None
        network = LinuxNamespace(type="network", path=f"/run/netns/{other.name}")
        kinds = tuple(network if one.type == "network" else one for one in spec.linux.namespaces)
        assert "eth7@" in run(spec.with_linux(namespaces=kinds))["out"]
        assert other.devices() == {"lo", "eth7"}
        assert other.addresses("eth7") == KEPT
    finally:
        subprocess.run(["ip", "netns", "delete", other.name], check=True)
    assert "card0" not in host.devices()


def test_devices_that_are_not_there(run: Callable[[Spec], dict[str, Any]], host: Host) -> None:
    """A device that the host has not is an error with its name; those that were moved before are given back."""
    before = host.addresses("card0")
    done = run(moving(card0="eth0", missing=""))
    assert (done["name"], done["errno"]) == ("missing", errno.ENODEV)
    assert "move network device missing" in done["error"]
    assert host.devices() == {"lo", "peer0", "card0"}
    # The one that was to go away by itself is not one to keep.
    assert host.addresses("card0") == before - {"203.0.113.9/24"}
    assert "UP" in host.ip("link", "show", "dev", "card0")


def test_names_that_are_taken(run: Callable[[Spec], dict[str, Any]], host: Host) -> None:
    """A name that a device of the container has is refused before anything is moved."""
    done = run(moving(card0="lo"))
    assert (done["name"], done["errno"]) == ("card0", errno.EEXIST)
    assert "move network device card0 to lo" in done["error"]
    assert host.addresses("card0") >= {"192.0.2.7/24", "203.0.113.9/24"}


def test_devices_that_cannot_be_moved(run: Callable[[Spec], dict[str, Any]]) -> None:
    """A device that belongs to its namespace is an error with its name, in the kernel's words where it has any."""
    done = run(moving(lo="lo1"))
    assert done["name"] == "lo"
    assert "move network device lo to lo1" in done["error"]


def test_devices_of_a_container_that_fails_later(run: Callable[[Spec], dict[str, Any]], host: Host) -> None:
    """When the container cannot be made after all, the host has its devices back as they were."""
    done = run(moving("/no/such/program", card0="eth0"))
    assert "find '/no/such/program'" in done["error"]
    assert host.devices() == {"lo", "peer0", "card0"}
    assert host.addresses("card0") == KEPT


def test_devices_are_in_the_state(host: Host, bundle: Path, root: Path, container_id: str) -> None:
    """The state has the devices as runc writes them."""
    (bundle / "config.json").write_bytes(moving(card0="eth0").to_json())
    script = """
        import json, sys
        from ocikit import runtime
        root, name, bundle = sys.argv[1:]
        with runtime.create(root, name, bundle):
            print(open(f"{root}/{name}/state.json").read())
    """
    state = host.python(script, str(root), container_id, str(bundle))
    assert state["config"]["netDevices"] == {"card0": {"name": "eth0"}}


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "a slash": ({"a/b": ""}, r"\$\.linux\.netDevices\['a/b'\]: expected 1 to 15 bytes"),
    "too long": ({"eth0": "a-name-of-sixteen"}, r"\$\.linux\.netDevices\['eth0'\]\.name: expected 1 to 15 bytes"),
    "a space": ({"eth0": "a b"}, r"name: expected 1 to 15 bytes"),
    "a directory": ({"..": ""}, r"expected 1 to 15 bytes"),
    "two patterns": ({"eth0": "a%d%d"}, r"name: expected %d at the end"),
    "another pattern": ({"eth0": "a%s"}, r"name: expected %d at the end"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_that_are_none(case: str) -> None:
    """What the kernel takes for no name is refused before anything is done."""
    names, text = REFUSED[case]
    with pytest.raises(ValidationError, match=text):
        compile_plan(moving(**names), Surroundings(bundle="/bundle"))


def test_devices_need_a_network_namespace() -> None:
    """Without a network namespace of the container's own there is nowhere to move to."""
    spec = moving(card0="")
    assert spec.linux is not None
    kinds = tuple(one for one in spec.linux.namespaces if one.type != "network")
    with pytest.raises(ValidationError, match=r"\$\.linux\.netDevices: the container needs a network namespace"):
        compile_plan(spec.with_linux(namespaces=kinds), Surroundings(bundle="/bundle"))
    joined = (*kinds, LinuxNamespace(type="network", path="/proc/self/ns/net"))
    around = Surroundings(bundle="/bundle", of_host=frozenset({"network"}))
    with pytest.raises(ValidationError, match=r"\$\.linux\.netDevices: the container needs a network namespace"):
        compile_plan(spec.with_linux(namespaces=joined), around)


# Framing.


def test_attributes_count_their_bytes() -> None:
    """An attribute is as long as it says, padded, and never longer than its length can say (CVE-2021-43784)."""
    assert netlink.attribute(3, b"eth0\0") == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0"
    assert len(netlink.attribute(3, bytes(0xFFFF - 4))) == 0x1_0000
    with pytest.raises(LimitExceededError):
        netlink.attribute(3, bytes(0xFFFF - 3))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=HH", 3, 1),  # shorter than itself
        struct.pack("=HH", 5, 1),  # longer than what there is
        struct.pack("=HH", 0, 0),
        struct.pack("=HH", 4, 1) + struct.pack("=HH", 0xFFFF, 1),
    ],
)
def test_attributes_that_lie(data: bytes) -> None:
    """A length that leads out of the message is an error, and no read beyond it."""
    with pytest.raises(OSError, match="Bad message"):
        list(netlink.attributes(data))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=IHHII", 15, 2, 0, 1, 0),
        struct.pack("=IHHII", 17, 2, 0, 1, 0),
        struct.pack("=IHHII", 0, 2, 0, 1, 0),
        struct.pack("=IHHII", 0xFFFF_FFFF, 2, 0, 1, 0),
        struct.pack("=IHHII", 16, 3, 0, 1, 0) + b"tail",
    ],
)
def test_messages_that_lie(data: bytes) -> None:
    """The same for the messages of one read."""
    with pytest.raises(OSError, match="Bad message"):
        list(netlink.messages(data))


def test_what_the_kernel_says() -> None:
    """Devices and addresses of the own namespace are found as others find them."""
    sockets = netlink.Netlink()
    try:
        link = sockets.link("lo")
        assert link is not None
        assert (link.number, link.name) == (socket.if_nametoindex("lo"), "lo")
        assert {one.name for one in sockets.links()} == {name for _, name in socket.if_nameindex()}
        assert sockets.link("no-such-device") is None
        with pytest.raises(OSError, match=r"\S") as caught:
            sockets.set_up(0x7FFF_FFF0)
        assert caught.value.errno == errno.ENODEV
    finally:
        sockets.close()
