"""The places of the matrix as tables: where an image comes from, where it goes, and the two that bring it there.

A name is a template: ``{place}`` becomes a directory of the cell alone, ``{image}`` the image, ``{cell}`` a name that
is used once, ``{layers}`` the files of the layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from builders import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from stores import run

from ocikit.image import Policy, SystemContext, copy
from ocikit.image.copy import CopyOptions, ImageListSelection

if TYPE_CHECKING:
    from ocikit.image.copy import CopyResult

ANY: Final = Policy.insecure_accept_anything()


class Source(NamedTuple):
    """A kind of place that images come from.

    Attributes:
        transport: Its transport.
        template: The name of an image there.
        holds_indexes: Whether an image of several platforms stays one there.
        states_manifest: Whether the manifest is what the place keeps; where not, it is made when the image is read.
        keeps_layers: Whether layers are there as the manifest lists them.
        keeps_config: Whether the configuration is that of the image, and not made when it is read.
    """

    transport: str
    template: str
    holds_indexes: bool = False
    states_manifest: bool = False
    keeps_layers: bool = True
    keeps_config: bool = True


class Destination(NamedTuple):
    """A kind of place that images go to.

    Attributes:
        transport: Its transport.
        template: The name of an image there.
        types: The types of manifests it takes, none for all.
        holds_indexes: Whether it takes images of several platforms.
    """

    transport: str
    template: str
    types: tuple[str, ...] = ()
    holds_indexes: bool = False


OCI_TYPES: Final = (OCI_MANIFEST, OCI_INDEX)
DOCKER_TYPES: Final = (DOCKER_MANIFEST, DOCKER_LIST)

SOURCES: Final = {
    "oci": Source("oci", "oci:{place}/layout:{image}", holds_indexes=True, states_manifest=True),
    "oci-archive": Source("oci-archive", "oci-archive:{place}/a.oci:x", holds_indexes=True, states_manifest=True),
    "dir": Source("dir", "dir:{place}/dir", holds_indexes=True, states_manifest=True),
    "docker-archive": Source("docker-archive", "docker-archive:{place}/a.tar:matrix/{image}:1"),
    "docker-daemon": Source("docker-daemon", "docker-daemon:matrix/{image}:1"),
    "overlay": Source(
        "containers-storage",
        "containers-storage:[overlay@{place}/overlay+{place}/run-overlay]localhost/matrix/{image}:1",
        keeps_layers=False,
    ),
    "vfs": Source(
        "containers-storage",
        "containers-storage:[vfs@{place}/vfs+{place}/run-vfs]localhost/matrix/{image}:1",
        keeps_layers=False,
    ),
    "tarball": Source("tarball", "tarball:{layers}", keeps_config=False),
}
DESTINATIONS: Final = {
    "oci": Destination("oci", "oci:{place}:x", OCI_TYPES, holds_indexes=True),
    "oci-archive": Destination("oci-archive", "oci-archive:{place}:x", OCI_TYPES, holds_indexes=True),
    "dir": Destination("dir", "dir:{place}", holds_indexes=True),
    "docker-archive": Destination("docker-archive", "docker-archive:{place}:matrix:x", DOCKER_TYPES),
    "docker-daemon": Destination("docker-daemon", "docker-daemon:matrix/{cell}:x", DOCKER_TYPES),
}


def by_skopeo(host: str, source: str, destination: str, *, everything: bool = False) -> None:
    """Copy an image by skopeo: the one for amd64, or all of them."""
    command = ["skopeo", "--insecure-policy", "--override-arch", "amd64", "--override-os", "linux", "copy", "-q"]
    command += ["--all"] if everything else []
    for end, name in (("src", source), ("dest", destination)):
        command += [f"--{end}-daemon-host", host] if name.startswith("docker-daemon:") else []
    run(*command, source, destination)


def by_ocikit(host: str, source: str, destination: str, *, everything: bool = False) -> CopyResult:
    """Copy an image here: the one for amd64, or all of them; every layer is held against its diffID."""
    sys = SystemContext(architecture_choice="amd64", os_choice="linux", docker_daemon_host=host)
    options = CopyOptions(
        source_ctx=sys,
        destination_ctx=sys,
        verify_diff_ids=True,
        image_list_selection=ImageListSelection.ALL if everything else ImageListSelection.SYSTEM,
    )
    return copy.image(ANY, dest=destination, src=source, options=options)
