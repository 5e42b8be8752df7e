"""Names that are another name in other letters; lists, digests and uploads of registries that are not honest."""

from __future__ import annotations

import io
import json
import threading
from typing import TYPE_CHECKING

import pytest
from docker_images import an_image, client_of, context, push
from raw_servers import Asked, RawServer, answer

from ocikit.errors import (
    BlockedRegistryError,
    DigestMismatchError,
    InvalidPolicyError,
    LimitExceededError,
    PolicyRequirementError,
    RegistryError,
)
from ocikit.image import BlobInfo, DockerAuthConfig, Policy, docker, inspect, parse_image_name, referrers, verify
from ocikit.image.docker import lists
from ocikit.image.docker.lists import next_page
from ocikit.image.docker.source import open_repositories
from ocikit.spec import Digest
from ocikit.testing import BasicAuth, Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REJECT = [{"type": "reject"}]
USER = DockerAuthConfig(username="alice", password="pw")  # noqa: S106 - of registries that end with the test


def listing(says: Callable[[Asked], bytes]) -> Callable[[Asked], bytes]:
    """Return a registry that says this of its tags."""
    return lambda asked: answer(200, b"{}") if asked.target == "/v2/" else says(asked)


# Names


def test_a_registry_that_is_blocked_hears_nothing(tmp_path: Path) -> None:
    """Neither by another spelling, nor when credentials are stored for it."""
    with Registry(auth=BasicAuth(users={"alice": "pw"})) as registry:
        port = registry.address.rpartition(":")[2]
        sys = context(tmp_path / "conf", registry)
        (tmp_path / "conf/registries.conf").write_text(
            f'[[registry]]\nlocation = "localhost:{port}"\nblocked = true\ninsecure = true\n'
        )
        blocked: list[Callable[[], object]] = [
            lambda: docker.login(f"localhost:{port}", USER, sys),
            lambda: docker.verify_login(f"LocalHost:{port}", USER, sys),
            lambda: docker.list_repositories(f"localhost:{port}", sys),
            lambda: docker.list_tags(f"LOCALHOST:{port}/app", sys),
            lambda: docker.resolve_digest(f"LOCALHOST:{port}/app:1", sys),
            lambda: inspect(f"docker://localHost:{port}/app:1", sys=sys),
        ]
        for ask in blocked:
            with pytest.raises(BlockedRegistryError, match=f"localhost:{port}"):
                ask()
        assert registry.requests == ()
        assert not (tmp_path / "conf/auth.json").exists()


def test_a_prefix_in_capital_letters_blocks_as_well(tmp_path: Path) -> None:
    """Whoever wrote the file meant the host."""
    sys = context(tmp_path / "conf")
    (tmp_path / "conf/registries.conf").write_text('[[registry]]\nlocation = "Evil.Example/team"\nblocked = true\n')
    with pytest.raises(BlockedRegistryError):
        docker.list_tags("evil.example/team/app", sys)


def test_a_policy_holds_for_every_spelling(tmp_path: Path) -> None:
    """What is rejected is rejected; what would never match is no policy."""
    with Registry() as registry:
        port = registry.address.rpartition(":")[2]
        sys = context(tmp_path / "conf", registry, f"localhost:{port}")
        push(an_image(tmp_path / "images"), f"docker://{registry.address}/app:1", sys)
        rules = {"default": [{"type": "insecureAcceptAnything"}]}
        reject = {"docker": {f"localhost:{port}": REJECT}}
        policy = Policy.from_bytes(json.dumps(rules | {"transports": reject}).encode())
        for name in (f"localhost:{port}", f"LOCALHOST:{port}", f"LocalHost:{port}"):
            with pytest.raises(PolicyRequirementError):
                verify(f"docker://{name}/app:1", policy, sys=sys, require_signatures=False)
        verify(f"docker://{registry.address}/app:1", policy, sys=sys, require_signatures=False)
    with pytest.raises(InvalidPolicyError, match=r"compared in lower case; write 'example\.com'"):
        Policy.from_bytes(
            json.dumps(rules | {"transports": {"docker": {"Example.com/x": [{"type": "reject"}]}}}).encode()
        )


# Lists


LINKS = [
    ('</v2/app/tags/list?last=1>; rel="next"', "/v2/app/tags/list?last=1"),
    ('</x>; title="a"; rel="next"', "/x"),
    ("</x>; Rel=next", "/x"),
    ("</x>", "/x"),
    ('</p>; rel="prev", </x>; rel="next"', "/x"),
    ('</x>; rel="last next"', "/x"),
    ('</p>; rel="prev"', None),
    ("", None),
    ("/x", None),
    ("<" * 9000, None),
]


@pytest.mark.parametrize(("header", "found"), LINKS)
def test_links(header: str, found: str | None) -> None:
    """In all forms that registries have for them."""
    assert next_page(header) == found


def test_a_link_that_would_take_days(tmp_path: Path) -> None:
    """Other threads go on while it is read; it is not read for long."""
    link = "<" * 60_000
    with RawServer(listing(lambda _: answer(200, b'{"tags": ["a"]}', Link=link))) as registry:
        sys = context(tmp_path / "conf", registry.host)
        found: list[tuple[str, ...]] = []
        asking = threading.Thread(
            target=lambda: found.append(docker.list_tags(f"{registry.host}/app", sys)), daemon=True
        )
        asking.start()
        asking.join(5)
        assert found == [("a",)]


def test_names_that_are_none(tmp_path: Path) -> None:
    """What cannot be asked for is not listed: it would be a path, or the language of a terminal."""
    odd = ["a", None, "../../../tmp/x", "a\nb", "\x1b]0;x\x07", "sha256:" + "0" * 64, "1.0", "b" * 129, 7]
    body = json.dumps({"tags": odd, "repositories": [*odd, "Team/App", "team/app"]}).encode()
    with RawServer(listing(lambda _: answer(200, body))) as registry:
        sys = context(tmp_path / "conf", registry.host)
        assert docker.list_tags(f"{registry.host}/app", sys) == ("a", "1.0")
        assert docker.list_repositories(registry.host, sys) == ("a", "1.0", "b" * 129, "team/app")


def test_lists_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages together are bounded, of names and of referrers."""
    monkeypatch.setattr(lists, "MOST_BYTES", 1 << 20)
    pages = iter(range(1_000_000))

    def says(asked: Asked) -> bytes:
        link = f"<{asked.target.partition('?')[0]}?page={next(pages)}>"
        if "referrers" not in asked.target:
            return answer(200, json.dumps({"tags": ["a"], "more": "x" * 100_000}).encode(), Link=link)
        entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "0" * 64, "size": 1}
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] * 500}
        return answer(200, json.dumps(index).encode(), Link=link, Content_Type=str(index["mediaType"]))

    with RawServer(listing(says)) as registry:
        sys = context(tmp_path / "conf", registry.host)
        with pytest.raises(LimitExceededError, match="bytes of tags"):
            docker.list_tags(f"{registry.host}/app", sys)
        monkeypatch.setattr(lists, "MOST_BYTES", 1 << 30)
        with pytest.raises(LimitExceededError, match="referrers"):
            lists.list_referrers(client_of(registry.host, sys), Digest("sha256:" + "1" * 64))


# Digests


@pytest.mark.parametrize("head", [True, False], ids=["HEAD", "GET"])
def test_a_digest_that_was_asked_for_is_the_one_that_is_returned(tmp_path: Path, head: bool) -> None:  # noqa: FBT001
    """Whoever pins is not told of something else."""
    data, other = b'{"schemaVersion": 2}', "sha256:" + "0" * 64
    right = Digest.from_bytes(data)
    with RawServer(
        listing(
            lambda asked: (
                answer(405)
                if asked.method == "HEAD" and not head
                else answer(
                    200, b"" if asked.method == "HEAD" else data, Docker_Content_Digest=str(Digest.from_bytes(data))
                )
            )
        )
    ) as registry:
        sys = context(tmp_path / "conf", registry.host)
        with pytest.raises(DigestMismatchError):
            docker.resolve_digest(f"{registry.host}/app@{other}", sys)
        assert docker.resolve_digest(f"{registry.host}/app@{right}", sys) == right


@pytest.mark.parametrize("stated", ["md5:" + "0" * 32, "blake3:" + "0" * 64, "foo+bar:xyz"])
def test_digests_that_nobody_can_compute(tmp_path: Path, stated: str) -> None:
    """It is as if nothing had been said: what is returned was computed here."""
    data = b'{"schemaVersion": 2}'
    says = listing(lambda asked: answer(200, b"" if asked.method == "HEAD" else data, Docker_Content_Digest=stated))
    with RawServer(says) as registry:
        found = docker.resolve_digest(f"{registry.host}/app:1", context(tmp_path / "conf", registry.host))
        assert found == Digest.from_bytes(data)


# Uploads and what is taken over


def test_an_upload_that_gets_nowhere_ends(tmp_path: Path) -> None:
    """The registry has something, and nothing, in turn; that is no progress."""
    turns = iter(range(1_000_000))

    def says(asked: Asked) -> bytes:
        if asked.method == "PATCH":
            return answer(503)
        if asked.method == "GET":
            there = "0-1" if next(turns) % 2 else "0-0"
            return answer(204, Location="/v2/app/blobs/uploads/1", Range=there)
        return answer(202, Location="/v2/app/blobs/uploads/1") if asked.method == "POST" else answer(404)

    data = bytes(3 << 20)
    with RawServer(listing(says)) as registry:
        sys = context(tmp_path / "conf", registry.host)
        name = f"docker://{registry.host}/app:1"
        with parse_image_name(name).new_image_destination(sys) as destination, pytest.raises(RegistryError):
            destination.put_blob(io.BytesIO(data), BlobInfo(digest=Digest.from_bytes(data), size=len(data)))
        assert [one.method for one in registry.asked].count("PATCH") <= 2 * sys.docker_retry.attempts


def test_nobody_hears_what_others_read(tmp_path: Path) -> None:
    """The name of a repository that another user reads is in no request of this one."""
    with Registry() as registry:
        sys = context(tmp_path / "conf", registry)
        name = f"docker://{registry.address}/alice/secret:1"
        push(an_image(tmp_path / "images"), name, sys)
        alice = context(tmp_path / "conf", registry, docker_auth_config=USER)
        with parse_image_name(name).new_image_source(alice):
            assert open_repositories(client_of(registry.address, alice)) == ("alice/secret",)
            assert open_repositories(client_of(registry.address, sys)) == ()
        assert referrers(name, sys=sys) == ()
