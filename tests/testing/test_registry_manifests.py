"""Manifests of the registry for tests: pushed, pulled, deleted, listed, and those that refer to others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from asking import CONFIG, DOCKER, INDEX, MANIFEST, Reply, ask, connect, descriptor, digest_of, make_image

from ocikit.errors import DigestMismatchError, InvalidReferenceError, ManifestError
from ocikit.testing import Features, Registry, RegistryLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = make_image()
REPOSITORY = "team/app"
ROOT = f"/v2/{REPOSITORY}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry with the blobs of the image."""
    with Registry() as one:
        one.add_blob(REPOSITORY, IMAGE.config)
        one.add_blob(REPOSITORY, IMAGE.layer)
        yield one


def put(registry: Registry, reference: str, data: bytes = IMAGE.manifest, media_type: str = MANIFEST) -> Reply:
    """Push a manifest."""
    return ask(registry, "PUT", f"{ROOT}/manifests/{reference}", data, {"Content-Type": media_type})


def test_pushed_and_pulled(registry: Registry) -> None:
    """A manifest is there byte for byte, under its tag and its digest, with its type and digest."""
    done = put(registry, "1.0", media_type=f"{MANIFEST}; charset=utf-8")
    assert (done.status, done.headers["docker-content-digest"]) == (201, IMAGE.digest)
    for reference in ("1.0", IMAGE.digest):
        got, head = (ask(registry, method, f"{ROOT}/manifests/{reference}") for method in ("GET", "HEAD"))
        assert (got.status, got.body, got.headers["content-type"]) == (200, IMAGE.manifest, MANIFEST)
        assert (head.status, head.body, head.headers) == (200, b"", got.headers)
        assert got.headers["docker-content-digest"] == IMAGE.digest
    same = ask(registry, "GET", f"{ROOT}/manifests/1.0", headers={"If-None-Match": f'"{IMAGE.digest}"'})
    assert same.status == 304
    assert registry.tags(REPOSITORY) == {"1.0": IMAGE.digest}
    assert registry.manifest(REPOSITORY, "1.0") == IMAGE.manifest


def test_by_digest(registry: Registry) -> None:
    """A manifest that is pushed by digest has it, by any algorithm, and brings tags along."""
    assert put(registry, digest_of(b"")).code == "DIGEST_INVALID"
    digest = digest_of(IMAGE.manifest, "sha512")
    done = put(registry, f"{digest}?tag=a&tag=b")
    assert (done.status, done.headers["oci-tag"]) == (201, "a, b")
    assert registry.tags(REPOSITORY) == {"a": digest, "b": digest}
    assert ask(registry, "GET", f"{ROOT}/manifests/{digest}").body == IMAGE.manifest
    assert put(registry, f"{digest}?tag=.no").code == "TAG_INVALID"


@pytest.mark.parametrize(
    ("data", "media_type", "code"),
    [
        (b"no JSON", MANIFEST, "MANIFEST_INVALID"),
        (b"[" * 100_000, MANIFEST, "MANIFEST_INVALID"),
        (b"\xff\xfe{}", MANIFEST, "MANIFEST_INVALID"),
        (b"[]", MANIFEST, "MANIFEST_INVALID"),
        (b"{}", "", "MANIFEST_INVALID"),
        (b'{"config": 1}', MANIFEST, "MANIFEST_INVALID"),
        (b'{"config": {"digest": 1}}', MANIFEST, "MANIFEST_INVALID"),
        (b'{"layers": [{"digest": "sha256:1"}]}', MANIFEST, "MANIFEST_INVALID"),
        (IMAGE.manifest, DOCKER, "MANIFEST_INVALID"),
        (make_image(b"other").manifest, MANIFEST, "MANIFEST_BLOB_UNKNOWN"),
        (json.dumps({"manifests": [descriptor(MANIFEST, b"")]}).encode(), INDEX, "MANIFEST_BLOB_UNKNOWN"),
    ],
)
def test_refused(registry: Registry, data: bytes, media_type: str, code: str) -> None:
    """What is no manifest, or refers to what is not there, is refused and not kept."""
    reply = put(registry, "1", data, media_type)
    assert (reply.status, reply.code) == (400, code)
    assert registry.manifests(REPOSITORY) == ()


def test_refused_tags(registry: Registry) -> None:
    """What is no tag is refused when it is pushed, and not found otherwise."""
    for tag in (".dot", "a" * 129):
        assert put(registry, tag).code == "TAG_INVALID"
        assert ask(registry, "GET", f"{ROOT}/manifests/{tag}").code == "MANIFEST_UNKNOWN"
    assert ask(registry, "GET", "/v2/none/manifests/1").code == "NAME_UNKNOWN"


def test_odd_layers_are_layers(registry: Registry) -> None:
    """A layer whose type is no text has to be there like any other."""
    for data, status in ((b"missing", 400), (IMAGE.layer, 201)):
        layer = descriptor(MANIFEST, data) | {"mediaType": []}
        assert put(registry, "1", make_image(layers=[layer]).manifest).status == status


def test_too_large() -> None:
    """A manifest above the limit is refused, whether its length is announced or not."""
    with Registry(limits=RegistryLimits(manifest_bytes=len(IMAGE.manifest) - 1)) as registry:
        IMAGE.put(registry, REPOSITORY, None)
        assert put(registry, "1").status == 413
        pieces = (IMAGE.manifest[start : start + 50] for start in range(0, len(IMAGE.manifest), 50))
        headers = {"Content-Type": MANIFEST}
        assert ask(registry, "PUT", f"{ROOT}/manifests/1", pieces, headers).status == 413


def test_foreign_layers_may_be_elsewhere(registry: Registry) -> None:
    """Layers that are kept elsewhere need not be there."""
    foreign = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"", urls=["http://127.0.0.1/"])
    assert put(registry, "1", make_image(layers=[foreign]).manifest).status == 201


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (MANIFEST, 200),
        (f"{INDEX}, {MANIFEST};q=0.5", 200),
        ("*/*", 200),
        ("application/*", 200),
        (INDEX, 404),
        (f"{MANIFEST};q=0", 404),
    ],
)
def test_negotiation(registry: Registry, accept: str, status: int) -> None:
    """A manifest of a type that is not accepted is not found, unless the registry does not care."""
    put(registry, "1")
    assert ask(registry, "GET", f"{ROOT}/manifests/1", headers={"Accept": accept}).status == status
    with Registry(features=Features(negotiation=False), contents_of=registry) as careless:
        assert ask(careless, "GET", f"{ROOT}/manifests/1", headers={"Accept": accept}).status == 200


def test_deleted(registry: Registry) -> None:
    """A tag goes alone, a manifest with all its tags."""
    for tag in ("1", "2", "3"):
        put(registry, tag)
    assert ask(registry, "DELETE", f"{ROOT}/manifests/1").status == 202
    assert [*registry.tags(REPOSITORY)] == ["2", "3"]
    assert ask(registry, "DELETE", f"{ROOT}/manifests/{IMAGE.digest}").status == 202
    assert registry.tags(REPOSITORY) == {}
    for reference in ("2", IMAGE.digest):
        for method in ("GET", "DELETE"):
            assert ask(registry, method, f"{ROOT}/manifests/{reference}").code == "MANIFEST_UNKNOWN"


def test_turned_off(registry: Registry) -> None:
    """Deletion is refused, types of manifests are, and what is not checked is taken."""
    features = Features(
        delete_manifests=False,
        delete_tags=False,
        manifest_types=[MANIFEST, INDEX],
        check_references=False,
        check_indexes=False,
        push_tags=False,
    )
    with Registry(features=features, contents_of=registry) as other:
        assert put(other, f"{IMAGE.digest}?tag=1").status == 201
        assert other.tags(REPOSITORY) == {}
        for reference in ("1", IMAGE.digest):
            assert ask(other, "DELETE", f"{ROOT}/manifests/{reference}").status == 405
        assert put(other, "1", b"{}", DOCKER).code == "MANIFEST_INVALID"
        assert put(other, "1", make_image(b"other").manifest).status == 201
        index = json.dumps({"manifests": [descriptor(MANIFEST, b"")]}).encode()
        assert put(other, "1", index, INDEX).status == 201


def pages(registry: Registry, path: str, key: str) -> list[Any]:
    """Return the entries of a list, page by page."""
    found = []
    connection = connect(registry)
    while path:
        reply = ask(registry, "GET", path, over=connection)
        assert reply.status == 200
        found.append(reply.json[key])
        link = reply.headers.get("link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link.partition(">")[0].removeprefix("<")
    connection.close()
    return found


def test_tags_in_pages(registry: Registry) -> None:
    """Tags come sorted, in pages of the size that is asked for, or that the registry has."""
    for tag in ("b", "a", "C", "d", "e"):
        put(registry, tag)
    path = f"{ROOT}/tags/list"
    assert pages(registry, path, "tags") == [["C", "a", "b", "d", "e"]]
    assert pages(registry, f"{path}?n=2", "tags") == [["C", "a"], ["b", "d"], ["e"]]
    assert pages(registry, f"{path}?last=b", "tags") == [["d", "e"]]
    assert pages(registry, f"{path}?n=0", "tags") == [[]]
    assert ask(registry, "GET", f"{path}?n=x").status == 400
    assert ask(registry, "GET", "/v2/none/tags/list").code == "NAME_UNKNOWN"
    with Registry(features=Features(page_size=3), contents_of=registry) as small:
        assert pages(small, f"{path}?n=100", "tags") == [["C", "a", "b"], ["d", "e"]]


def test_catalog(registry: Registry) -> None:
    """All repositories are listed, unless that is turned off."""
    for name in ("z", "a/b"):
        registry.add_manifest(name, "1", b"{}")
    assert pages(registry, "/v2/_catalog?n=1", "repositories") == [["a/b"], [REPOSITORY], ["z"]]
    assert registry.repositories == ("a/b", REPOSITORY, "z")
    with Registry(features=Features(catalog=False)) as other:
        assert ask(other, "GET", "/v2/_catalog").status == 404


def test_referrers(registry: Registry) -> None:
    """What refers to a manifest is listed with its type and annotations, also filtered and in pages."""
    put(registry, "1")
    subject = descriptor(MANIFEST, IMAGE.manifest)
    with_type = make_image(subject=subject, artifactType="text/sbom", annotations={"a": "b"}).manifest
    without = make_image(subject=subject).manifest
    index = json.dumps({"mediaType": INDEX, "manifests": [], "subject": subject}).encode()
    for data, media_type in ((with_type, MANIFEST), (without, MANIFEST), (index, INDEX)):
        done = put(registry, digest_of(data), data, media_type)
        assert (done.status, done.headers["oci-subject"]) == (201, IMAGE.digest)
    path = f"{ROOT}/referrers/{IMAGE.digest}"
    reply = ask(registry, "GET", path)
    assert reply.headers["content-type"] == INDEX
    expected = [
        descriptor(MANIFEST, with_type, artifactType="text/sbom", annotations={"a": "b"}),
        descriptor(MANIFEST, without, artifactType=CONFIG),
        descriptor(INDEX, index),
    ]
    assert sorted(reply.json["manifests"], key=str) == sorted(expected, key=str)
    assert {"schemaVersion": 2, "mediaType": INDEX}.items() <= reply.json.items()
    filtered = ask(registry, "GET", f"{path}?artifactType=text%2Fsbom")
    assert (filtered.json["manifests"], filtered.headers["oci-filters-applied"]) == (expected[:1], "artifactType")
    assert ask(registry, "GET", f"{ROOT}/referrers/{digest_of(b'')}").json["manifests"] == []
    assert ask(registry, "GET", f"{ROOT}/referrers/sha256:1").status == 400
    with Registry(features=Features(page_size=2, filters=False), contents_of=registry) as other:
        assert [len(page) for page in pages(other, path, "manifests")] == [2, 1]
        assert "oci-filters-applied" not in ask(other, "GET", f"{path}?artifactType=x").headers
    with Registry(features=Features(referrers=False), contents_of=registry) as other:
        assert ask(other, "GET", path).status == 404
        assert "oci-subject" not in put(other, digest_of(without), without).headers


def test_filled_by_hand() -> None:
    """A test puts in whatever it likes, but not by accident."""
    with Registry() as registry:
        assert registry.add_manifest("a", "1", b"\0", MANIFEST) == digest_of(b"\0")
        assert ask(registry, "GET", "/v2/a/manifests/1").body == b"\0"
        with pytest.raises(ManifestError):
            registry.add_manifest("a", "1", b"\0")
        with pytest.raises(DigestMismatchError):
            registry.add_manifest("a", digest_of(b""), b"{}")
        with pytest.raises(InvalidReferenceError):
            registry.add_manifest("a", ".", b"{}")
        registry.add_manifest("a", digest_of(b""), b"{}", verify=False)
        assert ask(registry, "GET", f"/v2/a/manifests/{digest_of(b'')}").body == b"{}"
        assert registry.manifest("a", "2") is None
        assert (registry.tags("none"), registry.manifests("none")) == ({}, ())
