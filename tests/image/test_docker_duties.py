"""What distribution-spec 1.1 asks of clients, where no other test has it; docs/docker-duties.md lists all of it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker_images import an_image, client_of, context, pull, push
from raw_servers import Asked, RawServer, answer

from ocikit.errors import DigestMismatchError, RegistryError
from ocikit.image import artifact, docker, inspect, parse_image_name, referrers
from ocikit.image.docker.lists import fallback_tag, list_referrers
from ocikit.image.docker.warnings import warnings_in
from ocikit.spec import Digest
from ocikit.testing import Fault, Features, Registry, Reset

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs/docker-duties.md"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def old() -> Iterator[Registry]:
    """A registry without the API for referrers."""
    with Registry(features=Features(referrers=False)) as found:
        yield found


def attached(name: str, sys: object, content: bytes = b"x") -> Digest:
    """Attach something to an image."""
    file = artifact.ArtifactFile(content=content, title="a")
    return artifact.attach(name, [file], artifact_type="text/x", sys=sys).digest  # type: ignore[arg-type]


def test_the_page_names_tests_that_exist() -> None:
    """Every duty has a test, and every test is there."""
    text = PAGE.read_text()
    named = re.findall(r"`(test_\w+)\.(test_\w+)`", text)
    assert len(named) > 40
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| duty"))]
    assert all("`test_" in row or "not done" in row for row in rows)
    for module, test in named:
        source = (Path(__file__).parent / f"{module}.py").read_text()
        assert f"\ndef {test}(" in source, f"{module}.{test}"


def test_what_is_asked_for_a_manifest(tmp_path: Path) -> None:
    """The types that are understood, all of them."""
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        name = f"docker://{registry.address}/app:1"
        push(an_image(tmp_path / "images"), name, sys)
        registry.clear_requests()
        pull(name, f"oci:{tmp_path}/back:x", sys)
        accepted = [one.headers["accept"] for one in registry.requests if one.kind == "manifest"]
        assert accepted
        assert all({"application/vnd.oci.image.manifest.v1+json", INDEX} <= set(one.split(", ")) for one in accepted)


def test_parameters_of_a_type_are_ignored(tmp_path: Path) -> None:
    """And none are sent."""
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()

    def says(asked: Asked) -> bytes:
        body = b"" if asked.method == "HEAD" or asked.target == "/v2/" else data
        return answer(200, body, Content_Type=f"{INDEX}; charset=utf-8")

    with RawServer(says) as registry:
        sys = context(tmp_path / "conf", registry.host)
        assert docker.resolve_digest(f"{registry.host}/app:1", sys) == Digest.from_bytes(data)
    with Registry() as other:
        push(an_image(tmp_path / "images"), f"docker://{other.address}/app:1", context(tmp_path / "c", other))
        puts = [one for one in other.requests if one.kind == "manifest" and one.method == "PUT"]
        assert [one.headers["content-type"] for one in puts] == ["application/vnd.oci.image.manifest.v1+json"]


def test_a_manifest_of_another_digest(tmp_path: Path) -> None:
    """Than was asked for, or than the header says."""
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        done = push(an_image(tmp_path / "images"), f"docker://{registry.address}/app:1", sys)
        wrong = done.manifest.replace(b"{", b"{ ", 1)

    def says(asked: Asked) -> bytes:
        return (
            answer(200, b"{}") if asked.target == "/v2/" else answer(200, wrong, Docker_Content_Digest=str(done.digest))
        )

    with RawServer(says) as liar:
        sys = context(tmp_path / "conf2", liar.host)
        for name in ("app:1", f"app@{done.digest}"):
            with pytest.raises(DigestMismatchError):
                inspect(f"docker://{liar.host}/{name}", sys=sys)


def test_an_upload_that_is_given_up_is_ended(tmp_path: Path) -> None:
    """The registry need not keep what never becomes a blob; whether it hears of it does not matter."""
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        registry.inject(Fault(kind="upload_patch", do=Reset(received=0), times=None))
        registry.inject(Fault(kind="upload_put", do=Reset(received=0), times=None))
        registry.inject(Fault(kind="upload_cancel", do=Reset(received=0), times=1))
        with pytest.raises(RegistryError):
            push(an_image(tmp_path / "images", size=3_000_000, layers=1), f"docker://{registry.address}/app:1", sys)
        assert "upload_cancel" in [one.kind for one in registry.requests]


def test_manifests_of_four_mebibytes(tmp_path: Path) -> None:
    """They go there and come back."""
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": "x" * ((4 << 20) - 200)}}
    manifest = json.dumps(index).encode()
    assert (4 << 20) - 200 < len(manifest) <= 4 << 20
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        reference = parse_image_name(f"docker://{registry.address}/app:1")
        with reference.new_image_destination(sys) as destination:
            destination.put_manifest(manifest)
            destination.commit()
        with reference.new_image_source(sys) as source:
            assert source.get_manifest() == (manifest, INDEX)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_another_success_than_201(tmp_path: Path, status: int) -> None:
    """The manifest is looked up, and found; where it is not there it is an error."""
    stored: dict[str, bytes] = {}
    keeps = True

    def says(asked: Asked) -> bytes:
        if asked.method == "PUT":
            stored.update({asked.target: asked.body} if keeps else {})
            return answer(status)
        if asked.method == "HEAD":
            found = stored.get(asked.target)
            return answer(404) if found is None else answer(Docker_Content_Digest=str(Digest.from_bytes(found)))
        return answer(200, b"{}")

    manifest = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    with RawServer(says) as registry:
        sys = context(tmp_path / "conf", registry.host)
        with parse_image_name(f"docker://{registry.host}/app:1").new_image_destination(sys) as destination:
            destination.put_manifest(manifest)
            destination.commit()
            keeps = False
            stored.clear()
            with pytest.raises(RegistryError, match=f"answers {status}"):
                destination.commit()


def test_the_list_is_kept_where_the_registry_keeps_none(old: Registry, tmp_path: Path) -> None:
    """It is pulled, gets one entry more, and keeps what others have put into it."""
    sys, name = context(tmp_path / "conf", old), f"docker://{old.address}/app:1"
    subject = push(an_image(tmp_path / "images"), name, sys).digest
    first = attached(name, sys)
    tag = fallback_tag(subject)
    index = json.loads(old.manifest("app", tag) or b"")
    index |= {"annotations": {"kept": "yes"}, "x-unknown": 1}
    old.add_manifest("app", tag, json.dumps(index).encode())
    second = attached(name, sys, b"y")
    index = json.loads(old.manifest("app", tag) or b"")
    assert [one["digest"] for one in index["manifests"]] == [first, second]
    assert [one["artifactType"] for one in index["manifests"]] == ["text/x", "text/x"]
    assert (index["annotations"], index["x-unknown"]) == ({"kept": "yes"}, 1)


def test_something_else_under_the_tag_of_the_list(old: Registry, tmp_path: Path) -> None:
    """Nothing is written over it, and nothing is read from it."""
    sys, name = context(tmp_path / "conf", old), f"docker://{old.address}/app:1"
    done = push(an_image(tmp_path / "images"), name, sys)
    old.add_manifest("app", fallback_tag(done.digest), done.manifest)
    with pytest.raises(RegistryError, match=r"expected a list of referrers under the tag sha256-.* found 'application"):
        attached(name, sys)
    assert referrers(name, sys=sys) == ()
    assert old.manifest("app", fallback_tag(done.digest)) == done.manifest


def test_a_list_that_is_malformed_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is assumed that nothing refers to the manifest, and it is said in the log."""

    def says(asked: Asked) -> bytes:
        if "/referrers/" in asked.target:
            return answer(404)
        if "/manifests/sha256-" in asked.target:
            return answer(200, b'{"schemaVersion": 2, "manifests": 7}', Content_Type=INDEX)
        return answer(200, b"{}")

    with RawServer(says) as registry, caplog.at_level(logging.WARNING, "ocikit"):
        sys = context(tmp_path / "conf", registry.host)
        assert list_referrers(client_of(registry.host, sys), Digest("sha256:" + "0" * 64)) == ()
    assert "nothing is taken from it" in caplog.text


@pytest.mark.parametrize(
    ("headers", "texts"),
    [
        (['299 - "This is old"'], ("This is old",)),
        (['299 - "a \\"quoted\\" text"', '299 - "This"', '299 - "This"'], ('a "quoted" text', "This")),
        (['199 - "no"', "299 -", '299 - "' + "a" * 5000 + '"', '299 - "\x1b[31mred"'], (" [31mred",)),
    ],
)
def test_forms_of_warnings(headers: list[str], texts: tuple[str, ...]) -> None:
    """What is of another form is none, and nothing of one reaches a terminal but text."""
    assert warnings_in(headers) == texts


def test_warnings_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else is done because of them."""

    def says(asked: Asked) -> bytes:
        body = b'{"tags": ["a"]}' if "tags" in asked.target else b"{}"
        return answer(200, body, Warning='299 - "this registry closes on Friday"')

    with RawServer(says) as registry, caplog.at_level(logging.WARNING, "ocikit"):
        sys = context(tmp_path / "conf", registry.host)
        for _ in range(3):
            assert docker.list_tags(f"{registry.host}/app", sys) == ("a",)
    assert caplog.text.count("this registry closes on Friday") == 1
