"""Images in registries: pushed, pulled, taken over, deleted, whatever the registry does on the way."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store
from docker_images import ANYTHING, AT_ONCE, an_image, context, pull, push

from ocikit import bundle
from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    ImageNotFoundError,
    PolicyRequirementError,
    RegistryAccessError,
    RegistryError,
)
from ocikit.image import (
    DockerAuthConfig,
    Policy,
    copy,
    docker,
    inspect,
    parse_image_name,
    sign,
    signature,
    verify,
)
from ocikit.image.copy import CopyOptions
from ocikit.testing import (
    Answer,
    BasicAuth,
    BearerAuth,
    Corrupt,
    Delay,
    DropUpload,
    Fault,
    Features,
    LieAboutLength,
    Redirect,
    Registry,
    Reset,
    Truncate,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ocikit.testing import RequestKind

USER = DockerAuthConfig(username="user", password="a password")  # noqa: S106 - of a registry that ends with the test
USERS = {"user": "a password"}


#: What is more than is sent with one request.
LARGE = 1_100_000


def there(registry: Registry, directory: Path, *, name: str = "team/app:1", **options: Any) -> tuple[str, str, str]:
    """Push an image; return its name in the registry, that of the layout, and its digest."""
    source = an_image(directory / "images", **options)
    done = push(source, f"docker://{registry.address}/{name}", context(directory / "conf", registry))
    return f"docker://{registry.address}/{name}", source, str(done.digest)


def asked(registry: Registry, kind: RequestKind) -> list[int]:
    """Return the bytes that were sent for each request of a kind."""
    return [one.bytes_out for one in registry.requests if one.kind == kind]


def test_what_is_pushed_is_pulled(registry: Registry, tmp_path: Path) -> None:
    """The same bytes under the same digests, in both directions, and what is there is not sent again."""
    name, source, digest = there(registry, tmp_path)
    sys = context(tmp_path / "conf", registry)
    back = pull(name, f"oci:{tmp_path}/back:x", sys)
    assert str(back.digest) == digest
    registry.clear_requests()
    again = push(source, name, sys)
    assert not again.copied
    assert [one for one in registry.requests if one.kind.startswith("upload")] == []
    assert inspect(name, sys=sys).digest == digest
    assert docker.resolve_digest(name, sys) == digest
    assert docker.list_tags(f"{registry.address}/team/app", sys) == ("1",)
    assert docker.list_repositories(registry.address, sys) == ("team/app",)


def test_indexes_travel_whole(registry: Registry, tmp_path: Path) -> None:
    """Every image of an index, each by its digest, and then the index by its tag."""
    store = Store()
    entries = [store.image({"n": bytes([n])}, architecture=arch) for n, arch in enumerate(("amd64", "arm64"))]
    layout = store.layout(tmp_path / "many", {"many": store.index(*entries)})
    sys = context(tmp_path / "conf", registry)
    name = f"docker://{registry.address}/many:1"
    done = push(f"oci:{layout}:many", name, sys)
    assert len(done.instances) == 2
    assert registry.tags("many") == {"1": str(done.digest)}
    assert pull(name, f"oci:{tmp_path}/back:x", sys).digest == done.digest
    by_digest = f"docker://{registry.address}/many@{done.instances[1]}"
    assert copy.image(ANYTHING, src=by_digest, dest=f"oci:{tmp_path}/one:x", options=CopyOptions(source_ctx=sys))


def test_blobs_of_other_repositories_are_taken_over(registry: Registry, tmp_path: Path) -> None:
    """From one repository to another of the same registry nothing is sent."""
    name, _, digest = there(registry, tmp_path)
    sys = context(tmp_path / "conf", registry)
    registry.clear_requests()
    other = f"docker://{registry.address}/other/app:2"
    options = CopyOptions(source_ctx=sys, destination_ctx=sys)
    done = copy.image(ANYTHING, src=name, dest=other, options=options)
    assert str(done.digest) == digest
    assert asked(registry, "blob").count(0) == len(asked(registry, "blob"))
    assert [one for one in registry.requests if one.kind in {"upload_patch", "upload_put"}] == []


def test_where_nothing_is_taken_over_it_is_sent(tmp_path: Path) -> None:
    """A registry without mounts gets the bytes, and no upload stays open."""
    with Registry(features=Features(mount=False)) as registry:
        name, _, digest = there(registry, tmp_path)
        sys = context(tmp_path / "conf", registry)
        options = CopyOptions(source_ctx=sys, destination_ctx=sys)
        done = copy.image(ANYTHING, src=name, dest=f"docker://{registry.address}/other:2", options=options)
        assert str(done.digest) == digest
        assert registry.uploads("other") == {}


BREAKS = [
    ("ping", (Answer(status=503), Reset())),
    ("manifest", (Answer(status=500), Answer(status=429, retry_after=0), Reset(), Truncate(sent=20))),
    ("blob", (Answer(status=502), Reset(), Reset(sent=1000), Truncate(sent=50_000))),
]


@pytest.mark.parametrize(("kind", "actions"), BREAKS, ids=[kind for kind, _ in BREAKS])
def test_pulls_survive(registry: Registry, tmp_path: Path, kind: RequestKind, actions: tuple[Any, ...]) -> None:
    """Each failure costs a try, and nothing else."""
    name, _, digest = there(registry, tmp_path)
    for action in actions:
        registry.inject(Fault(kind=kind, method="GET", do=action))
    sys = context(tmp_path / "conf", registry, docker_timeout=9.0)
    assert str(pull(name, f"oci:{tmp_path}/back:x", sys).digest) == digest


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("upload_start", Answer(status=500)),
        ("upload_start", Reset()),
        ("upload_patch", Answer(status=503)),
        ("upload_patch", Reset(received=1000)),
        ("upload_patch", Reset(done=True)),
        ("upload_patch", Answer(status=500, done=True)),
        ("upload_put", Answer(status=502)),
        ("upload_put", Reset()),
        ("manifest", Answer(status=500)),
        ("manifest", Reset()),
        ("blob", Answer(status=503)),
    ],
    ids=str,
)
def test_pushes_survive(registry: Registry, tmp_path: Path, kind: RequestKind, action: Any) -> None:
    """What was lost on the way is sent again, from where the registry has it; the image is whole."""
    registry.inject(Fault(kind=kind, do=action, times=2))
    name, _, digest = there(registry, tmp_path, size=LARGE)
    assert registry.tags("team/app") == {"1": digest}
    sys = context(tmp_path / "conf", registry)
    assert str(pull(name, f"oci:{tmp_path}/back:x", sys, verify_diff_ids=True).digest) == digest


def test_a_broken_blob_goes_on_where_it_was(registry: Registry, tmp_path: Path) -> None:
    """Only what was missing is sent a second time."""
    name, _, _ = there(registry, tmp_path, size=1_000_000, layers=1)
    registry.clear_requests()
    registry.inject(Fault(kind="blob", do=Reset(sent=400_000), where=lambda one: one.method == "GET", skip=1))
    pull(name, f"oci:{tmp_path}/back:x", context(tmp_path / "conf", registry))
    sent = [one.bytes_out for one in registry.requests if one.kind == "blob" and one.method == "GET"]
    assert sum(sent) < 1_200_000 + 10_000


def test_registries_without_parts_of_blobs(tmp_path: Path) -> None:
    """Where Range is not known, what was there is passed over."""
    with Registry(features=Features(ranges=False)) as registry:
        name, _, digest = there(registry, tmp_path, size=300_000)
        registry.inject(Fault(kind="blob", method="GET", do=Truncate(sent=100_000), times=2))
        sys = context(tmp_path / "conf", registry)
        assert str(pull(name, f"oci:{tmp_path}/back:x", sys).digest) == digest


def test_lies_are_found_out(registry: Registry, tmp_path: Path) -> None:
    """A changed byte, a digest that is another one: an error, and nothing is left that looks like an image."""
    name, _, _ = there(registry, tmp_path)
    sys = context(tmp_path / "conf", registry)
    registry.inject(Fault(kind="blob", method="GET", do=Corrupt(at=10)))
    with pytest.raises(DigestMismatchError):
        pull(name, f"oci:{tmp_path}/back:x", sys)
    with pytest.raises(ImageNotFoundError):
        inspect(f"oci:{tmp_path}/back:x")
    digest = docker.resolve_digest(name, sys)
    registry.inject(Fault(kind="manifest", method="GET", do=Corrupt(at=10)))
    with pytest.raises(DigestMismatchError):
        pull(name.replace(":1", f"@{digest}"), f"oci:{tmp_path}/back:x", sys)
    registry.inject(Fault(kind="blob", method="GET", do=LieAboutLength(by=-100), times=None))
    with pytest.raises((RegistryError, DigestMismatchError, ValueError)):
        pull(name, f"oci:{tmp_path}/back:x", sys)


def test_an_upload_that_is_gone_is_an_error(registry: Registry, tmp_path: Path) -> None:
    """What the registry forgot cannot be gone on with; nothing has the tag."""
    registry.inject(Fault(kind="upload_patch", do=DropUpload(), times=None))
    with pytest.raises(RegistryError, match="BLOB_UPLOAD_UNKNOWN"):
        there(registry, tmp_path, size=LARGE, layers=1)
    assert registry.tags("team/app") == {}


def test_what_does_not_help_is_not_repeated(registry: Registry, tmp_path: Path) -> None:
    """A refusal is final; a registry that wants to be left alone for an hour is."""
    sys = context(tmp_path / "conf", registry)
    with pytest.raises(ImageNotFoundError, match="NAME_UNKNOWN"):
        inspect(f"docker://{registry.address}/none:1", sys=sys)
    assert len([one for one in registry.requests if one.kind == "manifest"]) == 1
    registry.inject(Fault(kind="manifest", do=Answer(status=429, retry_after=3600), times=None))
    registry.clear_requests()
    with pytest.raises(RegistryError, match="answers 429") as caught:
        inspect(f"docker://{registry.address}/none:1", sys=sys)
    assert caught.value.status == 429
    assert len([one for one in registry.requests if one.kind == "manifest"]) == 1


def test_nobody_is_asked_for_ever(tmp_path: Path) -> None:
    """A place where nobody listens is an error that says so, after a few tries."""
    with Registry() as gone:
        address = gone.address
    with pytest.raises(RegistryError, match=r"cannot be reached: .*tries\)"):
        inspect(f"docker://{address}/a:1", sys=context(tmp_path / "conf", address))


@pytest.mark.parametrize(
    "auth",
    [BasicAuth(users=USERS), BearerAuth(users=USERS), BearerAuth(users=USERS, token_keys=("access_token",))],
    ids=["basic", "bearer", "access-token"],
)
def test_credentials(tmp_path: Path, auth: Any) -> None:
    """With the right ones everything works, with none or others it is said what is missing; tokens are shared."""
    with Registry(auth=auth) as registry:
        sys = context(tmp_path / "conf", registry, docker_auth_config=USER)
        name = f"docker://{registry.address}/team/app:1"
        digest = push(an_image(tmp_path / "images"), name, sys).digest
        assert pull(name, f"oci:{tmp_path}/back:x", sys).digest == digest
        tokens = [one for one in registry.requests if one.kind == "token"]
        assert len(tokens) <= 4
        for wrong in (None, DockerAuthConfig(username="user", password="another")):  # noqa: S106 - no secret
            with pytest.raises(RegistryAccessError, match=r"login|credentials"):
                inspect(name, sys=context(tmp_path / "conf", registry, docker_auth_config=wrong))


def test_identity_tokens(tmp_path: Path) -> None:
    """A token that stands for a user is exchanged for one that lets in."""
    auth = BearerAuth(users=USERS, identity_tokens={"an identity": "user"})
    with Registry(auth=auth) as registry:
        by_token = DockerAuthConfig(identity_token="an identity")  # noqa: S106 - of a registry that ends with the test
        sys = context(tmp_path / "conf", registry, docker_auth_config=by_token)
        push(an_image(tmp_path / "images"), f"docker://{registry.address}/team/app:1", sys)
        assert {one.method for one in registry.requests if one.kind == "token"} == {"POST"}


def test_tokens_that_expire_are_asked_for_anew(tmp_path: Path) -> None:
    """In the middle of everything, without anybody noticing."""
    with Registry(auth=BearerAuth(users=USERS)) as registry:
        sys = context(tmp_path / "conf", registry, docker_auth_config=USER)
        name = f"docker://{registry.address}/team/app:1"
        digest = push(an_image(tmp_path / "images"), name, sys).digest
        registry.expire_tokens()
        assert pull(name, f"oci:{tmp_path}/back:x", sys).digest == digest


def test_threads_share_a_token(tmp_path: Path) -> None:
    """Of many who need the same one asks."""
    with Registry(auth=BearerAuth(users=USERS)) as registry:
        sys = context(tmp_path / "conf", registry, docker_auth_config=USER)
        name = f"docker://{registry.address}/team/app:1"
        push(an_image(tmp_path / "images"), name, sys)
        registry.expire_tokens()
        registry.clear_requests()
        threads = [threading.Thread(target=inspect, args=(name,), kwargs={"sys": sys}) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([one for one in registry.requests if one.kind == "token"]) <= 8


def test_login_and_logout(tmp_path: Path) -> None:
    """What a registry takes is stored, and found; what it does not take is not."""
    with Registry(auth=BasicAuth(users=USERS)) as registry:
        sys = context(tmp_path / "conf", registry)
        with pytest.raises(RegistryAccessError):
            docker.login(registry.address, DockerAuthConfig(username="user", password="x"), sys)  # noqa: S106
        assert not (tmp_path / "conf/auth.json").exists()
        assert docker.login(registry.address, USER, sys) == str(tmp_path / "conf/auth.json")
        docker.verify_login(registry.address, sys=sys)
        push(an_image(tmp_path / "images"), f"docker://{registry.address}/a:1", sys)
        assert docker.logout(registry.address, sys) == (str(tmp_path / "conf/auth.json"),)
        with pytest.raises(RegistryAccessError):
            docker.verify_login(registry.address, sys=sys)


def test_redirects_get_no_credentials(tmp_path: Path) -> None:
    """A blob that is elsewhere is fetched there; who serves it learns nothing of us."""
    with Registry() as store, Registry(auth=BasicAuth(users=USERS)) as registry:
        sys = context(tmp_path / "conf", registry, store, docker_auth_config=USER)
        name = f"docker://{registry.address}/team/app:1"
        source = an_image(tmp_path / "images")
        digest = push(source, name, sys).digest
        push(source, f"docker://{store.address}/team/app:1", context(tmp_path / "other", store))
        store.clear_requests()
        registry.inject(Fault(kind="blob", method="GET", do=Redirect(to=store.url), times=None))
        assert pull(name, f"oci:{tmp_path}/back:x", sys).digest == digest
        fetched = [one for one in store.requests if one.kind == "blob"]
        assert fetched
        assert {one.authorization for one in fetched} == {"none"}


def test_certificates(tmp_path: Path) -> None:
    """A registry with an authority of its own is talked to when that is configured, and not otherwise."""
    with Registry(tls=True) as registry:
        name = f"docker://{registry.address}/team/app:1"
        known = context(tmp_path / "conf", docker_cert_path=registry.cert_directory)
        push(an_image(tmp_path / "images"), name, known)
        assert pull(name, f"oci:{tmp_path}/back:x", known)
        with pytest.raises(RegistryError, match="certificate verify failed"):
            inspect(name, sys=context(tmp_path / "other"))
        assert inspect(name, sys=context(tmp_path / "other", docker_insecure_skip_tls_verify=True))


def test_mirrors_come_first_and_may_fail(tmp_path: Path) -> None:
    """What a mirror has comes from there; one that dies in the middle of a blob is taken over from."""
    with Registry() as origin, Registry() as mirror:
        name, source, digest = there(origin, tmp_path, size=1_000_000, layers=2)
        push(source, f"docker://{mirror.address}/copy/app:1", context(tmp_path / "m", mirror))
        sys = context(tmp_path / "conf", origin, mirror)
        with (tmp_path / "conf/registries.conf").open("a") as file:
            file.write(
                f'[[registry]]\nprefix = "{origin.address}/team"\nlocation = "{origin.address}/team"\ninsecure = true\n'
                f'[[registry.mirror]]\nlocation = "{mirror.address}/copy"\ninsecure = true\n'
            )
        origin.clear_requests()
        assert str(pull(name, f"oci:{tmp_path}/first:x", sys).digest) == digest
        assert len(origin.requests) == 0
        mirror.inject(Fault(kind="blob", method="GET", do=Reset(), where=_goes_on, times=None))
        mirror.inject(Fault(kind="blob", method="GET", do=Reset(sent=300_000), times=None))
        assert str(pull(name, f"oci:{tmp_path}/second:x", sys).digest) == digest
        assert _taken_over(origin)
        mirror.inject(Fault(do=Answer(status=500), times=None))
        assert str(pull(name, f"oci:{tmp_path}/third:x", sys).digest) == digest


def _taken_over(origin: Registry) -> bool:
    """Tell whether blobs came from a registry, and none from its beginning."""
    taken = [one for one in origin.requests if one.kind == "blob"]
    return bool(taken) and all("range" in one.headers for one in taken if one.bytes_out > 10_000)


def _goes_on(request: Any) -> bool:
    return "range" in request.headers


@pytest.mark.parametrize("api", [True, False], ids=["api", "tag"])
def test_referrers_and_signatures(tmp_path: Path, api: bool) -> None:  # noqa: FBT001 - a case
    """What refers to an image goes with it, and signatures are where cosign looks for them."""
    with Registry(features=Features(referrers=api)) as registry:
        sys = context(tmp_path / "conf", registry)
        (tmp_path / "conf/empty/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
        source = an_image(tmp_path / "images")
        key = signature.PrivateKey.generate()
        named = f"{registry.address}/team/app:1"
        sign(source, signature.SigstoreSigner(key), signature.SigstoreBundleSigner(key), identity=named)
        push(source, f"docker://{named}", sys)
        policy = _signed_by(key)
        found = verify(f"docker://{named}", policy, sys=sys)
        assert {one.kind.value for one in found.signatures} == {"sigstore", "sigstore bundle"}
        back = f"oci:{tmp_path}/back:x"
        copy.image(policy, src=f"docker://{named}", dest=back, options=CopyOptions(source_ctx=sys))
        with parse_image_name(back).new_image_source() as kept:
            assert len(kept.get_signatures()) == 2


def test_images_are_signed_where_they_are(registry: Registry, tmp_path: Path) -> None:
    """An index in a registry, and every image in it; nothing but signatures is sent."""
    store = Store()
    entries = [store.image({"n": bytes([n])}, architecture=arch) for n, arch in enumerate(("amd64", "arm64"))]
    layout = store.layout(tmp_path / "many", {"many": store.index(*entries)})
    sys = context(tmp_path / "conf", registry)
    (tmp_path / "conf/empty/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
    name = f"docker://{registry.address}/many:1"
    done = push(f"oci:{layout}:many", name, sys)
    key = signature.PrivateKey.generate()
    assert sign(name, signature.SigstoreSigner(key), sys=sys).digests == (*done.instances, done.digest)
    assert [one.digest for one in verify(name, _signed_by(key), sys=sys, all_instances=True).images] == [
        *done.instances
    ]
    assert registry.tags("many")["1"] == str(done.digest)


def _signed_by(key: signature.PrivateKey) -> Policy:
    return Policy(requirements=[signature.SigstoreSigned(key_data=key.public_key.pem)])


def test_a_bundle_comes_straight_from_a_registry(registry: Registry, tmp_path: Path) -> None:
    """An image in a registry is a root file system in one call, under the policy that is given."""
    name, _, _ = there(registry, tmp_path)
    sys = context(tmp_path / "conf", registry)
    made = bundle.create(name, tmp_path / "bundle", policy=ANYTHING, sys=sys, args=["true"])
    assert (tmp_path / "bundle/rootfs/f0").stat().st_size == 100_000
    assert made.spec.process is not None
    with pytest.raises(PolicyRequirementError):
        bundle.create(name, tmp_path / "never", policy=Policy.reject(), sys=sys)
    assert not (tmp_path / "never").exists()


def test_a_slow_registry_has_its_time(registry: Registry, tmp_path: Path) -> None:
    """Silence is bounded, slowness is not an error."""
    name, _, digest = there(registry, tmp_path)
    registry.inject(Fault(kind="manifest", do=Delay(seconds=0.3)))
    assert inspect(name, sys=context(tmp_path / "conf", registry)).digest == digest
    registry.inject(Fault(kind="manifest", do=Delay(seconds=3.0), times=None))
    with pytest.raises(RegistryError, match="cannot be reached"):
        inspect(name, sys=context(tmp_path / "conf", registry, docker_timeout=0.2))


def test_missing_blobs_are_missing(registry: Registry, tmp_path: Path) -> None:
    """A manifest that refers to what is not there is refused when it is pushed, or found out when it is pulled."""
    store = Store()
    image = store.image({"a": b"a"}, platform=False)
    manifest = json.loads(store.blobs[image["digest"]])
    for one in manifest["layers"]:
        del store.blobs[one["digest"]]
    registry.add_blob("team/app", store.blobs[manifest["config"]["digest"]])
    registry.add_manifest("team/app", "1", store.blobs[image["digest"]], manifest["mediaType"], verify=False)
    with pytest.raises(BlobNotFoundError):
        pull(f"docker://{registry.address}/team/app:1", f"oci:{tmp_path}/x:x", context(tmp_path / "conf", registry))


def test_nothing_secret_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Passwords and tokens are in no error, no log and no repr."""
    caplog.set_level("DEBUG")
    with Registry(auth=BearerAuth(users=USERS)) as registry:
        sys = context(tmp_path / "conf", registry, docker_auth_config=USER)
        registry.inject(Fault(kind="manifest", do=Answer(status=500), times=None))
        with pytest.raises(RegistryError) as caught:
            inspect(f"docker://{registry.address}/a:1", sys=sys)
        shown = f"{caught.value!r} {caught.value} {sys!r} {caplog.text}"
        assert "a password" not in shown
        assert "dXNlcjph" not in shown  # the same in base64
    assert AT_ONCE.attempts == 6
