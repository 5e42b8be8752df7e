"""Images in registries, deleted: a tag, a manifest, and what is said of it elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docker_images import an_image, context, push

from ocikit.errors import ImageNotFoundError, NotSupportedError, RegistryError
from ocikit.image import artifact, delete, referrers
from ocikit.testing import Features, Registry

if TYPE_CHECKING:
    from pathlib import Path


def there(registry: Registry, tmp_path: Path) -> tuple[str, str]:
    """Push an image; return its name and its digest."""
    name = f"docker://{registry.address}/team/app:1"
    done = push(an_image(tmp_path / "images"), name, context(tmp_path / "conf", registry))
    return name, str(done.digest)


def test_deleting(tmp_path: Path) -> None:
    """A tag goes alone; a manifest goes with all its tags; a registry that deletes nothing says so."""
    with Registry() as registry:
        name, digest = there(registry, tmp_path)
        sys = context(tmp_path / "conf", registry)
        registry.add_manifest("team/app", "other", registry.manifest("team/app", digest) or b"")
        delete(name, sys)
        assert registry.tags("team/app") == {"other": digest}
        with pytest.raises(ImageNotFoundError):
            delete(name, sys)
        delete(f"docker://{registry.address}/team/app@{digest}", sys)
        assert registry.tags("team/app") == {}
    with Registry(features=Features(delete_manifests=False, delete_tags=False)) as other:
        fixed, _ = there(other, tmp_path / "other")
        with pytest.raises(RegistryError, match="answers 405"):
            delete(fixed, context(tmp_path / "conf", other))


def test_deleting_where_no_tags_are_deleted(tmp_path: Path) -> None:
    """The manifest goes when it has no other tag, and stays when it has."""
    with Registry(features=Features(delete_tags=False)) as registry:
        name, digest = there(registry, tmp_path)
        sys = context(tmp_path / "conf", registry)
        registry.add_manifest("team/app", "other", registry.manifest("team/app", digest) or b"")
        with pytest.raises(NotSupportedError, match=f"no tags; .* go other, .*delete .*/team/app@{digest}"):
            delete(name, sys)
        assert set(registry.tags("team/app")) == {"other", name.rpartition(":")[2]}
        delete(f"docker://{registry.address}/team/app@{digest}", sys)
        assert registry.tags("team/app") == {}
        assert there(registry, tmp_path / "again")[1] == digest
        delete(name, sys)
        assert registry.tags("team/app") == {}


def test_what_is_deleted_leaves_the_list_that_clients_keep(tmp_path: Path) -> None:
    """Where the registry has no API for referrers, nothing else would take it off."""
    with Registry(features=Features(referrers=False)) as registry:
        name, _ = there(registry, tmp_path)
        sys = context(tmp_path / "conf", registry)
        first, second = (
            artifact.attach(name, [artifact.ArtifactFile(content=text, title="a")], artifact_type="text/x", sys=sys)
            for text in (b"1", b"2")
        )
        delete(f"docker://{registry.address}/team/app@{first.digest}", sys)
        assert [one.digest for one in referrers(name, sys=sys)] == [second.digest]
