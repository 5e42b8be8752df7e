"""Images in a registry of this process, and the circumstances of asking for them without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builders import Store

from ocikit.image import Policy, SystemContext, copy
from ocikit.image.context import RetryPolicy
from ocikit.image.copy import CopyOptions, ImageListSelection
from ocikit.image.docker.places import clients_to_read
from ocikit.image.reference import parse_normalized_named

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.image.copy import CopyResult
    from ocikit.image.docker.client import RegistryClient
    from ocikit.testing import Registry

ANYTHING = Policy.insecure_accept_anything()
#: Many tries, and no time between them.
AT_ONCE = RetryPolicy(attempts=6, delay=0.001, longest_delay=1.0)


def context(directory: Path, *registries: Registry | str, **options: Any) -> SystemContext:
    """Return the circumstances: plain HTTP for these registries, nothing else configured, nobody waits."""
    directory.mkdir(exist_ok=True)
    (directory / "empty").mkdir(exist_ok=True)
    places = [one if isinstance(one, str) else one.address for one in registries]
    (directory / "registries.conf").write_text(
        "".join(f'[[registry]]\nlocation = "{place}"\ninsecure = true\n' for place in places)
    )
    settings: dict[str, Any] = {
        "system_registries_conf_path": str(directory / "registries.conf"),
        "system_registries_conf_dir_path": str(directory / "empty"),
        "registries_dir_path": str(directory / "empty"),
        "auth_file_path": str(directory / "auth.json"),
        "docker_per_host_cert_dir_path": str(directory / "empty"),
        "docker_retry": AT_ONCE,
        "docker_timeout": 10.0,
    }
    return SystemContext(**settings | options)


def an_image(directory: Path, *, size: int = 100_000, layers: int = 3) -> str:
    """Make a layout with an image of several layers of random bytes; return its name."""
    import random  # noqa: PLC0415 - only those who make one need it

    store = Store()
    made = [{f"f{n}": random.Random(n).randbytes(size)} for n in range(layers)]  # noqa: S311 - the same each time
    image = store.image(*made, platform=False)
    return f"oci:{store.layout(directory, {'app': image})}:app"


def push(source: str, dest: str, sys: SystemContext, **options: Any) -> CopyResult:
    """Copy everything to a registry."""
    every = CopyOptions(image_list_selection=ImageListSelection.ALL, destination_ctx=sys, **options)
    return copy.image(ANYTHING, src=source, dest=dest, options=every)


def pull(source: str, dest: str, sys: SystemContext, **options: Any) -> CopyResult:
    """Copy everything from a registry."""
    every = CopyOptions(image_list_selection=ImageListSelection.ALL, source_ctx=sys, **options)
    return copy.image(ANYTHING, src=source, dest=dest, options=every)


def client_of(host: str, sys: SystemContext) -> RegistryClient:
    """Return who talks to a repository."""
    return clients_to_read(parse_normalized_named(f"{host}/app"), sys)[-1]
