"""The same registry, ours and skopeo: docker-registry of Debian, plain, with the digests that both must agree on."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from builders import Store, check_layout
from docker_images import an_image, context, pull, push
from registries import running_registry

from ocikit.errors import ImageNotFoundError
from ocikit.image import copy, delete, docker, inspect, referrers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLAIN = ("--dest-tls-verify=false", "--src-tls-verify=false")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Iterator[str]:
    """A registry that docker-registry serves."""
    with running_registry(peer("docker-registry"), tmp_path_factory.mktemp("registry")) as found:
        yield found
    docker.close_connections()


def skopeo(*words: str) -> str:
    """Run skopeo; return what it printed."""
    command = ["skopeo", "--insecure-policy", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_skopeo_reads_what_is_pushed(address: str, tmp_path: Path) -> None:
    """Image and index, with the same digests."""
    store = Store()
    entries = [store.image({"n": bytes([n])}, architecture=arch) for n, arch in enumerate(("amd64", "arm64"))]
    layout = store.layout(tmp_path / "many", {"many": store.index(*entries)})
    sys = context(tmp_path / "conf", address)
    for source, name in ((an_image(tmp_path / "one"), "pushed/one:1"), (f"oci:{layout}:many", "pushed/many:1")):
        done = push(source, f"docker://{address}/{name}", sys)
        raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{address}/{name}")
        assert raw.encode() == done.manifest
        skopeo("copy", "--all", *PLAIN, f"docker://{address}/{name}", f"dir:{tmp_path}/{name.replace('/', '-')}")
        assert docker.resolve_digest(f"{address}/{name}", sys) == done.digest


def test_what_skopeo_pushes_is_read(address: str, tmp_path: Path) -> None:
    """Bytes and digests come back as they were."""
    source = an_image(tmp_path / "one")
    skopeo("copy", *PLAIN, source, f"docker://{address}/by/skopeo:1")
    sys = context(tmp_path / "conf", address)
    done = pull(f"docker://{address}/by/skopeo:1", f"oci:{tmp_path}/back:x", sys)
    assert done.digest == inspect(source).digest
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{address}/by/skopeo"))
    assert docker.list_tags(f"{address}/by/skopeo", sys) == tuple(listed["Tags"])


def test_referrers_where_the_registry_keeps_no_list(address: str, tmp_path: Path) -> None:
    """docker-registry 2.8 knows no referrers: the list is kept in a tag, and found there."""
    store = Store()
    image = store.image({"a": b"a"}, platform=False)
    subject = {key: image[key] for key in ("mediaType", "digest", "size")}
    referrer = store.image({"b": b"b"}, extra={"subject": subject, "artifactType": "text/x"}, platform=False)
    layout = store.layout(tmp_path / "images", {"app": image, "": referrer})
    sys = context(tmp_path / "conf", address)
    name = f"docker://{address}/with/referrers:1"
    push(f"oci:{layout}:app", name, sys, referrers=True)
    assert [one.digest for one in referrers(name, sys=sys)] == [referrer["digest"]]
    done = pull(name, f"oci:{tmp_path}/back:x", sys, referrers=True)
    assert done.referrers == (referrer["digest"],)


def test_deletion_is_for_the_registry_to_allow(address: str, tmp_path: Path) -> None:
    """Debian's configuration deletes nothing, and it is said."""
    sys = context(tmp_path / "conf", address)
    name = f"docker://{address}/fixed/app:1"
    push(an_image(tmp_path / "one"), name, sys)
    with pytest.raises(Exception, match="answers 405"):
        delete(name, sys)
    with pytest.raises(ImageNotFoundError):
        inspect(f"docker://{address}/fixed/app:2", sys=sys)


class Enough(BaseException):
    """What a caller may raise to end a copy."""


def test_a_pull_goes_on_where_it_was(address: str, tmp_path: Path) -> None:
    """What came of a blob before a pull was ended is not read again."""
    name, sys = f"docker://{address}/large:1", context(tmp_path / "conf", address)
    push(an_image(tmp_path / "large", size=8_000_000, layers=1), name, sys)

    def end(event: copy.ProgressEvent) -> None:
        if isinstance(event, copy.ArtifactRead) and event.offset > 3_000_000:
            raise Enough

    with pytest.raises(Enough):
        pull(name, f"oci:{tmp_path}/l:x", sys, progress=end, progress_interval=0.0, max_parallel=1)
    events: list[copy.ProgressEvent] = []
    pull(name, f"oci:{tmp_path}/l:x", sys, progress=events.append)
    assert [1_000_000 <= one.offset < 8_000_000 for one in events if isinstance(one, copy.NewArtifact)] == [True]
    check_layout(tmp_path / "l")
