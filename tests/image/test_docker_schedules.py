"""Random schedules of faults (``docker_schedules``): what arrives is right, and nothing is half written.

``OCIKIT_FAULT_SCHEDULES`` says how many there are (200 by ``make soak``), ``OCIKIT_FAULT_SEED`` where they begin.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from builders import Store, check_layout
from docker_images import context, pull, push
from docker_schedules import features, schedule

from ocikit.errors import RegistryError
from ocikit.image import DockerAuthConfig, layout
from ocikit.image.context import RetryPolicy
from ocikit.image.layout import ProblemKind
from ocikit.testing import BearerAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image import SystemContext

COUNT = int(os.environ.get("OCIKIT_FAULT_SCHEDULES", "15"))
SEED = int(os.environ.get("OCIKIT_FAULT_SEED", "7"))
USER = DockerAuthConfig(username="user", password="a password")  # noqa: S106 - of a registry that ends with the test
#: More tries than there are faults.
STUBBORN = RetryPolicy(attempts=40, delay=0.0005, longest_delay=0.002)
#: What is tried a few times ends in an error now and then, and leaves as little behind.
IMPATIENT = RetryPolicy(attempts=2, delay=0.0005, longest_delay=0.002)


def an_index(dice: random.Random, directory: Path) -> tuple[str, dict[str, bytes]]:
    """Make an index of images that share a layer; return its name, and everything in it."""
    store = Store()
    shared = {"shared": dice.randbytes(50_000)}
    entries = [
        store.image(shared, {"own": dice.randbytes(dice.randrange(1, 80_000))}, architecture=arch)
        for arch in ("amd64", "arm64")
    ]
    return f"oci:{store.layout(directory, {'app': store.index(*entries)})}:app", store.blobs


def check_registry(registry: Registry, blobs: dict[str, bytes]) -> None:
    """Every blob and manifest that is there is one of the image, byte for byte."""
    kept = {digest: registry.blob("team/app", digest) for digest in registry.blobs("team/app")}
    kept |= {digest: registry.manifest("team/app", digest) for digest in registry.manifests("team/app")}
    assert kept.items() <= blobs.items()


@pytest.mark.parametrize("seed", range(SEED, SEED + COUNT))
def test_schedule(tmp_path: Path, seed: int) -> None:
    """To a registry and back through everything; then impatiently, where an error leaves nothing half written."""
    dice = random.Random(seed)  # noqa: S311 - the same each time
    source, blobs = an_index(dice, tmp_path / "images")
    with Registry(auth=BearerAuth(users={"user": "a password"}), features=features(dice)) as registry:
        sys = context(tmp_path / "conf", registry, docker_auth_config=USER, docker_retry=STUBBORN)
        name = f"docker://{registry.address}/team/app:1"
        for fault in schedule(dice):
            registry.inject(fault)
        digest = push(source, name, sys).digest
        registry.clear_faults()
        assert registry.tags("team/app") == {"1": digest}
        check_registry(registry, blobs)
        assert len(registry.blobs("team/app")) + len(registry.manifests("team/app")) == len(blobs)
        for fault in schedule(dice):
            registry.inject(fault)
        assert pull(name, f"oci:{tmp_path}/back:x", sys).digest == digest
        registry.clear_faults()
        assert check_layout(tmp_path / "back") == set(blobs)
        assert layout.fsck(tmp_path / "back").problems == ()
        impatient = evolve(sys, docker_retry=IMPATIENT)
        check_impatient(dice, registry, tmp_path, name, impatient)


def check_impatient(dice: random.Random, registry: Registry, place: Path, name: str, sys: SystemContext) -> None:
    """Pull with few tries: whole, or an error and no image; what is there is whole."""
    for number in range(2):
        for fault in schedule(dice, 20):
            registry.inject(fault)
        back = place / f"impatient{number}"
        try:
            pull(name, f"oci:{back}:x", sys)
        except RegistryError:
            if back.exists():
                assert {one.kind for one in layout.fsck(back).problems} <= {ProblemKind.UNREFERENCED_BLOB}
        else:
            assert check_layout(back)
        registry.clear_faults()
