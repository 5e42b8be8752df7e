"""What tests of images share: a registry, and no connection that outlives a module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ocikit.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _no_connections() -> Iterator[None]:
    """Leave no connection open; who has asked no registry has none, and loads nothing for it."""
    yield
    if "ocikit.image.docker.connection" in sys.modules:
        from ocikit.image import docker  # noqa: PLC0415 - see above

        docker.close_connections()


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry that lets everybody in."""
    with Registry() as found:
        yield found
