"""Media types of layers: what they say, and which says the same in another manifest."""

from __future__ import annotations

import pytest

from ocikit.errors import ManifestError, ManifestTypeRejectedError, NotSupportedError
from ocikit.image.compression import Compression
from ocikit.image.conversion.layers import (
    ENCRYPTED,
    Family,
    converted,
    distributable,
    family_of,
    is_encrypted,
    is_layer,
    is_nondistributable,
    layer_compression,
    layer_media_type,
    with_compression,
)
from ocikit.spec import mediatypes

GZIP, ZSTD = Compression.GZIP, Compression.ZSTD
OCI, DOCKER = mediatypes.IMAGE_MANIFEST, mediatypes.DOCKER_MANIFEST
O_LAYER, O_GONE = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"
D_LAYER, D_GONE = "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar"

# type, family, compression, distributable
TABLE = [
    (O_LAYER, Family.OCI, None, True),
    (f"{O_LAYER}+gzip", Family.OCI, GZIP, True),
    (f"{O_LAYER}+zstd", Family.OCI, ZSTD, True),
    (O_GONE, Family.OCI, None, False),
    (f"{O_GONE}+gzip", Family.OCI, GZIP, False),
    (f"{O_GONE}+zstd", Family.OCI, ZSTD, False),
    (D_LAYER, Family.DOCKER, None, True),
    (f"{D_LAYER}.gzip", Family.DOCKER, GZIP, True),
    (D_GONE, Family.DOCKER, None, False),
    (f"{D_GONE}.gzip", Family.DOCKER, GZIP, False),
]

# A layer of an OCI image and the same of a Docker image.
PAIRS = [
    (O_LAYER, D_LAYER),
    (f"{O_LAYER}+gzip", f"{D_LAYER}.gzip"),
    (O_GONE, D_GONE),
    (f"{O_GONE}+gzip", f"{D_GONE}.gzip"),
]

NO_LAYERS = [
    "",
    "application/vnd.in-toto+json",
    mediatypes.IMAGE_CONFIG,
    f"{O_LAYER}+bzip2",
    f"{O_LAYER}+gzip+gzip",
    f"{D_LAYER}.gzip{ENCRYPTED}",
    f"{O_LAYER}{ENCRYPTED}{ENCRYPTED}",
    O_LAYER.upper(),
    ENCRYPTED,
]


@pytest.mark.parametrize(("media_type", "family", "compression", "given"), TABLE)
def test_every_type_is_said_and_understood(
    media_type: str,
    family: Family,
    compression: Compression | None,
    given: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A type is made of what it says, and says what it was made of."""
    assert layer_media_type(family, compression, distributable=given) == media_type
    assert is_layer(media_type)
    assert layer_compression(media_type) is compression
    assert is_nondistributable(media_type) is not given
    assert not is_encrypted(media_type)
    assert with_compression(media_type, compression) == media_type
    assert layer_compression(distributable(media_type)) is compression
    assert not is_nondistributable(distributable(media_type))
    assert converted(media_type, OCI if family is Family.OCI else DOCKER) == media_type


@pytest.mark.parametrize(("oci", "docker"), PAIRS)
def test_there_and_back(oci: str, docker: str) -> None:
    """What both families know goes from one into the other and back."""
    assert converted(oci, DOCKER) == docker
    assert converted(docker, OCI) == oci
    assert converted(docker, mediatypes.IMAGE_INDEX) == oci


@pytest.mark.parametrize("media_type", [f"{O_LAYER}+zstd", f"{O_GONE}+zstd"])
def test_docker_has_no_zstd(media_type: str) -> None:
    """A layer in zstd is not relabelled as something else; the message says what can be done."""
    with pytest.raises(ManifestTypeRejectedError, match=r"OCI manifest.*gzip"):
        converted(media_type, DOCKER)
    with pytest.raises(ManifestTypeRejectedError):
        layer_media_type(DOCKER, ZSTD)
    with pytest.raises(ManifestTypeRejectedError):
        with_compression(f"{D_LAYER}.gzip", ZSTD)


@pytest.mark.parametrize("suffix", ["zst", "zstd"])
def test_what_builders_call_dockers_zstd_is_read(suffix: str) -> None:
    """Layers in zstd under a Docker type become OCI ones, and are written under no Docker type."""
    assert layer_compression(f"{D_LAYER}.{suffix}") is ZSTD
    assert converted(f"{D_LAYER}.{suffix}", OCI) == f"{O_LAYER}+zstd"
    assert with_compression(f"{D_LAYER}.{suffix}", GZIP) == f"{D_LAYER}.gzip"


@pytest.mark.parametrize("compression", [Compression.BZIP2, Compression.XZ])
@pytest.mark.parametrize("family", [OCI, DOCKER])
def test_other_compressions_have_no_type(family: str, compression: Compression) -> None:
    """A layer in bzip2 or xz must be recompressed, which the message says."""
    with pytest.raises(NotSupportedError, match=rf"{compression.value.lower()}; recompress"):
        layer_media_type(family, compression)


@pytest.mark.parametrize("base", [media_type for media_type, family, _, _ in TABLE if family is Family.OCI])
def test_encrypted_layers(base: str) -> None:
    """Encrypted layers exist in OCI manifests; they are neither recompressed nor converted."""
    media_type = base + ENCRYPTED
    assert is_layer(media_type)
    assert is_encrypted(media_type)
    assert layer_compression(media_type) is layer_compression(base)
    assert is_nondistributable(media_type) is is_nondistributable(base)
    assert distributable(media_type) == distributable(base) + ENCRYPTED
    assert converted(media_type, OCI) == media_type
    with pytest.raises(ManifestTypeRejectedError, match="decrypt"):
        converted(media_type, DOCKER)
    with pytest.raises(NotSupportedError, match="decrypt"):
        with_compression(media_type, GZIP)


@pytest.mark.parametrize("media_type", NO_LAYERS)
def test_what_is_no_layer(media_type: str) -> None:
    """Other types are no layers, and nothing is guessed about them."""
    assert not is_layer(media_type)
    assert not is_nondistributable(media_type)
    for asked in (
        layer_compression,
        distributable,
        lambda one: converted(one, OCI),
        lambda one: with_compression(one, GZIP),
    ):
        with pytest.raises(ManifestError, match="not the type of a layer"):
            asked(media_type)


def test_families() -> None:
    """Every type of a manifest belongs to a family, and nothing else does."""
    assert {one: family_of(one) for one in mediatypes.MANIFESTS} == {
        one: Family.DOCKER if "docker" in one else Family.OCI for one in mediatypes.MANIFESTS
    }
    with pytest.raises(ManifestError, match="not the type of a manifest"):
        layer_media_type("application/json", None)
