"""Registries with habits of their own (facts of real ones), and uploads that have to begin anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from builders import DOCKER_MANIFEST, OCI_MANIFEST, check_layout, digest_of
from docker_images import ANYTHING, an_image, context, pull, push

from ocikit.errors import ImageNotFoundError, ManifestTypeRejectedError, RegistryError
from ocikit.image import SystemContext, copy, docker, inspect, parse_image_name, signature
from ocikit.image.copy import ArtifactDone, ArtifactRead, CopyOptions, NewArtifact
from ocikit.image.docker import uploads
from ocikit.testing import Answer, ChangeHeaders, Corrupt, DropUpload, Fault, Features, LieAboutLength, Registry, Reset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocikit.testing import RecordedRequest

#: So large are pieces in these tests, so that blobs have many.
PIECE = 8192
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send pieces that are small, and leave no connection open."""
    monkeypatch.setattr(uploads, "_PIECE", PIECE)
    monkeypatch.setattr(uploads, "_WHOLE", -1)
    yield
    docker.close_connections()


@pytest.fixture
def source(tmp_path: Path) -> str:
    """An image with a layer of several pieces."""
    return an_image(tmp_path / "images", size=100_000, layers=1)


def pushed(registry: Registry, source: str, directory: Path, **options: Any) -> tuple[str, SystemContext]:
    """Push an image, and look whether it is whole; return its name and the circumstances."""
    sys = context(directory / "conf", registry)
    name = f"docker://{registry.address}/team/app:1"
    done = push(source, name, sys, **options)
    assert registry.tags("team/app") == {"1": done.digest}
    assert registry.uploads("team/app") == {}
    back = pull(name, f"oci:{directory}/back:x", sys, verify_diff_ids=True)
    assert back.digest == done.digest or done.media_type == DOCKER_MANIFEST  # of which a layout has none
    assert check_layout(directory / "back")
    return name, sys


def of_kind(registry: Registry, kind: str) -> list[RecordedRequest]:
    """Return the requests of a kind."""
    return [one for one in registry.requests if one.kind == kind]


@pytest.mark.parametrize("how", ["416", "405", "400"])
def test_only_whole(source: str, tmp_path: Path, how: str) -> None:
    """Where pieces are refused, blobs go whole, with their digest; and it is tried with one blob only."""
    with Registry(features=Features(chunks=how != "416")) as registry:
        if how != "416":
            registry.inject(Fault(kind="upload_patch", do=Answer(status=int(how)), times=None))
        pushed(registry, source, tmp_path, max_parallel=1)
        assert len(of_kind(registry, "upload_patch")) == 1
        assert max(one.bytes_in for one in of_kind(registry, "upload_put")) > 10 * PIECE


def test_only_streams(source: str, tmp_path: Path) -> None:
    """A layer whose digest is not known before it was sent goes as one stream."""
    with Registry(features=Features(chunks=False)) as registry:
        sys = context(tmp_path / "conf", registry, compression_format="zstd")
        done = copy.image(
            ANYTHING,
            src=source,
            dest=f"docker://{registry.address}/team/app:1",
            options=CopyOptions(destination_ctx=sys, max_parallel=1),
        )
        assert registry.tags("team/app") == {"1": done.digest}
        assert registry.uploads("team/app") == {}
        assert max(one.bytes_in for one in of_kind(registry, "upload_patch")) > PIECE


@pytest.mark.parametrize("action", [Reset(received=30_000), Answer(status=503), Reset(done=True)], ids=str)
def test_a_stream_that_breaks_off(source: str, tmp_path: Path, action: Any) -> None:
    """What was sent whole and is lost is read once more, and sent once more."""
    with Registry(features=Features(chunks=False)) as registry:
        registry.inject(Fault(kind="upload_put", do=action, times=2, where=lambda one: _length(one) > PIECE))
        pushed(registry, source, tmp_path)


def _length(request: RecordedRequest) -> int:
    return int(request.headers.get("content-length", "0"))


def test_least_length_of_pieces(source: str, tmp_path: Path) -> None:
    """Every piece but the last has the least length, also after one that broke off."""
    least = 20_000
    with Registry(features=Features(chunk_min_length=least)) as registry:
        broken = registry.inject(Fault(kind="upload_patch", do=Reset(received=5000), skip=1, times=2))
        pushed(registry, source, tmp_path)
        assert broken.fired == 2
        taken = [one for one in of_kind(registry, "upload_patch") if one.status == 202]
        assert len(taken) > 3
        assert len([one for one in taken if one.bytes_in < least]) <= 2  # the configuration, and the end of the layer


def test_pieces_nobody_keeps(source: str, tmp_path: Path) -> None:
    """A registry that wants pieces of a size that nobody keeps gets the blob whole."""
    with Registry(features=Features(chunk_min_length=MIB << 10)) as registry:
        pushed(registry, source, tmp_path)
        assert of_kind(registry, "upload_patch") == []


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_lost_in_the_middle(source: str, tmp_path: Path, compression: str | None) -> None:
    """A blob of which pieces are gone is read again from the beginning; what is told of it never goes back."""
    events: list[Any] = []
    with Registry() as registry:
        lost = registry.inject(Fault(kind="upload_patch", do=DropUpload(), skip=5, times=2))
        sys = context(tmp_path / "conf", registry, compression_format=compression)
        name = f"docker://{registry.address}/team/app:1"
        done = push(source, name, sys, progress=events.append, progress_interval=0.0, max_parallel=1)
        assert lost.fired == 2
        assert registry.tags("team/app") == {"1": done.digest}
        assert registry.uploads("team/app") == {}
        assert pull(name, f"oci:{tmp_path}/back:x", context(tmp_path / "conf", registry)).digest == done.digest
    for digest in {event.artifact.digest for event in events if isinstance(event, ArtifactRead)}:
        of_it = [one for one in events if isinstance(one, ArtifactRead) and one.artifact.digest == digest]
        assert [one.offset for one in of_it] == sorted(one.offset for one in of_it)
    updates = [event.offset_update for event in events if isinstance(event, ArtifactRead | ArtifactDone)]
    assert sum(updates) == sum(event.artifact.size for event in events if isinstance(event, NewArtifact))


def test_lost_again_and_again(source: str, tmp_path: Path) -> None:
    """What is lost each time is an error in the end, that says what the registry says."""
    with Registry() as registry:
        lost = registry.inject(Fault(kind="upload_patch", do=DropUpload(), skip=5, times=None))
        with pytest.raises(RegistryError, match="BLOB_UPLOAD_UNKNOWN"):
            push(source, f"docker://{registry.address}/team/app:1", context(tmp_path / "conf", registry))
        assert lost.fired >= 6
        assert registry.tags("team/app") == {}


@pytest.mark.parametrize(
    "action", [Answer(status=400), Answer(status=405), ChangeHeaders(values={"Location": None})], ids=str
)
def test_mounts_that_are_not_granted(source: str, tmp_path: Path, action: Any) -> None:
    """A registry that knows no mounts, or begins an upload without saying where, gets the blobs."""
    with Registry(features=Features(mount=False)) as registry:
        name, sys = pushed(registry, source, tmp_path)
        mount = Fault(kind="upload_start", do=action, times=None, where=lambda one: "mount=" in one.target)
        asked = registry.inject(mount)
        options = CopyOptions(source_ctx=sys, destination_ctx=sys)
        done = copy.image(ANYTHING, src=name, dest=f"docker://{registry.address}/other:1", options=options)
        assert asked.fired >= 1
        assert registry.tags("other") == {"1": done.digest}


@pytest.mark.parametrize("code", ["MANIFEST_INVALID", "UNSUPPORTED", "TAG_INVALID", None])
def test_manifests_of_another_type(source: str, tmp_path: Path, code: str | None) -> None:
    """Old registries take no manifests of OCI: the image becomes one of Docker, with the digest that is stated."""
    refuses = Answer(status=400 if code else 415, code=code)
    with Registry() as registry:
        of_oci = Fault(kind="manifest", do=refuses, times=None, where=lambda one: _type(one) == OCI_MANIFEST)
        registry.inject(of_oci)
        name, sys = pushed(registry, source, tmp_path)
        data = registry.manifest("team/app", "1") or b""
        assert json.loads(data)["mediaType"] == DOCKER_MANIFEST
        assert docker.resolve_digest(name.removeprefix("docker://"), sys) == digest_of(data)
        registry.clear_requests()
        with pytest.raises(ManifestTypeRejectedError, match=code or "415"):
            push(source, name.replace(":1", ":2"), sys, preserve_digests=True)
        assert registry.tags("team/app").keys() == {"1"}


def _type(request: RecordedRequest) -> str:
    return request.headers.get("content-type", "") if request.method == "PUT" else ""


def test_signed_in_another_type(source: str, tmp_path: Path) -> None:
    """What is signed is what the registry takes; of what it rejected no signature is left."""
    with Registry() as registry:
        refuses = Answer(status=400, code="MANIFEST_INVALID")
        of_oci = lambda one: _type(one) == OCI_MANIFEST and not (one.reference or "").endswith(".sig")  # noqa: E731
        registry.inject(Fault(kind="manifest", do=refuses, times=None, where=of_oci))
        sys = context(tmp_path / "conf", registry)
        (tmp_path / "conf/empty/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
        key = signature.PrivateKey.generate()
        name = f"docker://{registry.address}/team/app:1"
        done = push(source, name, sys, signers=(signature.SigstoreSigner(key),))
        assert set(registry.tags("team/app")) == {"1", f"{str(done.digest).replace(':', '-')}.sig"}
        with parse_image_name(name).new_image_source(sys) as there:
            assert len(there.get_signatures()) == 1


UNKNOWN = [
    Answer(status=404, code="NOT_FOUND", message="artifact team/app:2 not found"),  # Harbor
    Answer(status=404, code="UNKNOWN", message="Not Found"),  # Red Hat
    Answer(status=404, body=b"404 page not found", content_type="text/plain"),  # whatever is in front
    Answer(status=400, code="MANIFEST_UNKNOWN"),
    Answer(status=404, body=b""),
]


@pytest.mark.parametrize("answer", UNKNOWN, ids=range(len(UNKNOWN)))
def test_not_there_in_many_words(tmp_path: Path, answer: Answer) -> None:
    """However a registry says that it has no such manifest, it has none."""
    with Registry() as registry:
        asked = registry.inject(Fault(kind="manifest", do=answer, times=None))
        sys = context(tmp_path / "conf", registry)
        with pytest.raises(ImageNotFoundError):
            inspect(f"docker://{registry.address}/team/app:2", sys=sys)
        with pytest.raises(ImageNotFoundError):
            docker.resolve_digest(f"{registry.address}/team/app:2", sys)
        assert asked.fired >= 2


def test_a_blob_that_is_cleaned_up(source: str, tmp_path: Path) -> None:
    """A registry that has removed a blob meanwhile says so, and the error says what to do."""
    with Registry() as registry:
        registry.inject(Fault(kind="manifest", method="PUT", do=Answer(status=400, code="MANIFEST_BLOB_UNKNOWN")))
        with pytest.raises(RegistryError, match="copy the image again"):
            push(source, f"docker://{registry.address}/team/app:1", context(tmp_path / "conf", registry))


def test_how_long_to_wait(tmp_path: Path) -> None:
    """A registry that wants to be left alone for longer than anybody waits: the error says for how long."""
    with Registry() as registry:
        registry.inject(Fault(kind="manifest", do=Answer(status=429, retry_after=7200), times=None))
        with pytest.raises(RegistryError, match="left alone for 7,200 s") as caught:
            inspect(f"docker://{registry.address}/team/app:2", sys=context(tmp_path / "conf", registry))
        assert caught.value.retry_after == 7200


@pytest.mark.parametrize("answer", [Answer(status=404), Answer.html_page(), Answer(status=403)], ids=str)
def test_no_version(source: str, tmp_path: Path, answer: Answer) -> None:
    """What a registry says of itself does not matter, as long as it says something."""
    with Registry() as registry:
        registry.inject(Fault(kind="ping", do=answer, times=None))
        pushed(registry, source, tmp_path)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="manifest", do=Corrupt(at=5), times=None),
        Fault(kind="manifest", do=Answer.html_page(), times=None),
        Fault(kind="blob", do=LieAboutLength(by=1000), times=None),
        Fault(kind="blob", do=Answer.html_page(), times=None),
        Fault(kind="blob", do=Answer(status=404), times=None),
    ],
    ids=str,
)
def test_a_mirror_that_lies(source: str, tmp_path: Path, fault: Fault) -> None:
    """What a mirror has is not believed: with another manifest, or a blob of another size, the next one is asked."""
    with Registry() as origin, Registry(contents_of=origin) as mirror:
        name, _ = pushed(origin, source, tmp_path)
        sys = context(tmp_path / "mirrored", origin, mirror)
        with (tmp_path / "mirrored/registries.conf").open("a") as file:
            file.write(
                f'[[registry]]\nprefix = "{origin.address}/team"\nlocation = "{origin.address}/team"\ninsecure = true\n'
                f'[[registry.mirror]]\nlocation = "{mirror.address}/team"\ninsecure = true\n'
            )
        lie = mirror.inject(fault)
        by_digest = name.replace(":1", f"@{origin.tags('team/app')['1']}")
        assert pull(by_digest, f"oci:{tmp_path}/again:x", sys).digest == origin.tags("team/app")["1"]
        assert lie.fired >= 1
