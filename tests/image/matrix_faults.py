"""What skopeo 1.9.3 does otherwise than ocikit, each with a name, and the cells of the matrix where that is seen.

The table is exact: a cell for which no row fits must show no difference, and where one fits the difference must be
there. A newer skopeo that has lost a fault fails the matrix, and the row goes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Destinations by what they are.
LAYOUTS: Final = ("oci", "oci-archive")
DOCKER: Final = ("docker-archive", "docker-daemon")
#: Sources by what they are.
FILES: Final = ("oci", "oci-archive", "dir")
STORES: Final = ("overlay", "vfs")

REFUSES, WRITES, READS = "refuses", "writes", "reads"


class Fault(NamedTuple):
    """A row.

    Attributes:
        name: Its name.
        act: Whether skopeo refuses a copy, writes it otherwise, or reads otherwise what was written.
        effect: What is different then, as :func:`matrix_seen.differences` names it; empty for what is refused.
        destinations: Where.
        sources: Where from; none for everywhere.
        traits: What the image has to be at its source, as :func:`traits` of the matrix names it.
    """

    name: str
    act: str
    effect: str
    destinations: tuple[str, ...]
    sources: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()


FAULTS: Final = (
    Fault(
        "an image with a layer in zstd is not brought to places that have Docker's manifests, where layers are plain",
        REFUSES,
        "",
        DOCKER,
        (*FILES, *STORES),
        frozenset({"zstd"}),
    ),
    Fault(
        "on the way from Docker's manifest to OCI's the configuration is written anew: the image has another id, and "
        "has lost what only Docker knows",
        WRITES,
        "config",
        LAYOUTS,
        traits=frozenset({"docker"}),
    ),
    Fault(
        "plain layers are compressed on the way into a layout, asked or not",
        WRITES,
        "layers",
        LAYOUTS,
        traits=frozenset({"plain"}),
    ),
    Fault(
        "layers of docker-archive and docker-daemon are plain, and called .tar.gzip; in a dir they stay so",
        WRITES,
        "labels",
        ("dir",),
        DOCKER,
    ),
    Fault(
        "layers of a store are plain, and are called in a dir what they were before they came into the store",
        WRITES,
        "labels",
        ("dir",),
        STORES,
        frozenset({"packed"}),
    ),
    Fault(
        "an image of tar files is made at the time of the copy, so that no two are equal",
        WRITES,
        "config",
        (*LAYOUTS, "dir", *DOCKER),
        ("tarball",),
    ),
    Fault(
        "a tar file in zstd is taken for a plain one and gets a wrong diffID, so that skopeo is given it decompressed",
        WRITES,
        "layers",
        (*LAYOUTS, "dir"),
        ("tarball",),
        frozenset({"zstd"}),
    ),
    Fault("layers of docker-archive and docker-daemon are plain, and called .tar.gzip", READS, "labels", DOCKER),
)


def effects(act: str, source: str, destination: str, traits: frozenset[str]) -> set[str]:
    """Return what is different in a cell of the matrix when skopeo does something."""
    return {
        row.effect
        for row in FAULTS
        if row.act == act
        and destination in row.destinations
        and (not row.sources or source in row.sources)
        and row.traits <= traits
    }
