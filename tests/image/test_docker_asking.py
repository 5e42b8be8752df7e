"""What registries are asked beside images, by names in every form, and what a platform has in an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from builders import Store
from docker_images import ANYTHING, an_image, context, pull, push

from ocikit import bundle
from ocikit.errors import ImageNotFoundError, InvalidReferenceError, PolicyRequirementError, RegistryAccessError
from ocikit.image import (
    DockerAuthConfig,
    Policy,
    copy,
    delete,
    docker,
    image_name,
    inspect,
    parse_image_name,
    sign,
    signature,
    verify,
)
from ocikit.image.copy import CopyOptions
from ocikit.image.platform import parse_platform
from ocikit.image.reference import parse_normalized_named
from ocikit.spec import Platform
from ocikit.testing import BasicAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

USER = DockerAuthConfig(username="user", password="a password")  # noqa: S106 - of a registry that ends with the test


def test_the_digest_of_a_platform(registry: Registry, tmp_path: Path) -> None:
    """Without a platform it is that of the index, whatever the circumstances choose; with one that of its manifest."""
    store = Store()
    entries = [store.image({"n": bytes([n])}, architecture=arch) for n, arch in enumerate(("amd64", "arm64"))]
    layout = store.layout(tmp_path / "many", {"many": store.index(*entries)})
    sys = context(tmp_path / "conf", registry, architecture_choice="amd64", variant_choice="v3")
    name = f"docker://{registry.address}/many:1"
    done = push(f"oci:{layout}:many", name, sys)
    assert docker.resolve_digest(name, sys) == done.digest
    amd64, arm64 = done.instances
    for platform in ("linux/arm64", "linux/arm64/v8", Platform(os="linux", architecture="arm64")):
        assert docker.resolve_digest(name, sys, platform=platform) == arm64
    assert docker.resolve_digest(name, sys, platform="linux/amd64") == amd64
    by_digest = f"{registry.address}/many@{arm64}"
    assert docker.resolve_digest(by_digest, sys, platform="linux/s390x") == arm64  # in no index: it is what it is
    with pytest.raises(ImageNotFoundError, match="no image for linux/s390x, there is linux/amd64, linux/arm64"):
        docker.resolve_digest(name, sys, platform="linux/s390x")


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/arm64", "linux/arm/", "linux/arm/v7/x", "linux//v7"])
def test_what_is_no_platform(text: str) -> None:
    """Text that is no platform is refused before anybody is asked, and so is anything else."""
    with pytest.raises(ValueError, match="expected a platform os/architecture"):
        docker.resolve_digest("127.0.0.1:1/app", platform=text)
    with pytest.raises(TypeError, match="expected a Platform or text such as 'linux/arm64', found int"):
        docker.resolve_digest("127.0.0.1:1/app", platform=cast("Any", 64))


def test_platforms_are_read() -> None:
    """Two or three parts, as they are printed."""
    assert parse_platform("linux/arm/v7") == Platform(os="linux", architecture="arm", variant="v7")


def test_references_do_where_names_do(registry: Registry, tmp_path: Path) -> None:
    """Every call takes a name, with its transport or without, and a reference."""
    sys = context(tmp_path / "conf", registry)
    name = f"{registry.address}/team/app:1"
    digest = push(an_image(tmp_path / "images"), f"docker://{name}", sys).digest
    reference = parse_image_name(f"docker://{name}")
    for one in (name, f"docker://{name}", parse_normalized_named(name), reference):
        assert docker.resolve_digest(one, sys) == digest
    repository = f"{registry.address}/team/app"
    without_a_tag = parse_image_name(f"docker://{repository}")
    for place in (repository, f"docker://{repository}", parse_normalized_named(repository), reference, without_a_tag):
        assert docker.list_tags(place, sys) == ("1",)
    for whole in (registry.address, f"docker://{registry.address}", reference):
        assert docker.list_repositories(whole, sys) == ("team/app",)
        docker.verify_login(whole, sys=sys)


def test_what_is_no_image_in_a_registry(tmp_path: Path) -> None:
    """Other places are refused by what was expected, a place without a name is not taken for the tag latest."""
    other = parse_image_name(f"oci:{tmp_path}:x")
    for ask in (docker.resolve_digest, docker.list_tags, docker.list_repositories, docker.logout):
        with pytest.raises(
            InvalidReferenceError, match="expected an image in a registry, docker://host/repository:tag"
        ):
            cast("Any", ask)(other)
        with pytest.raises(TypeError, match="found bytes"):
            cast("Any", ask)(b"host/app")
    with pytest.raises(InvalidReferenceError, match="only written to"):
        docker.resolve_digest(parse_image_name("docker://127.0.0.1:1/app@@unknown-digest@@"))
    with pytest.raises(InvalidReferenceError, match="expected a repository, found one with a tag"):
        docker.list_tags("127.0.0.1:1/app:1")


def test_a_tag_beside_a_digest_is_a_note(registry: Registry, tmp_path: Path) -> None:
    """Whoever reads gets the image of the digest, even where the tag leads elsewhere, or nowhere."""
    sys = context(tmp_path / "conf", registry)
    name = f"docker://{registry.address}/team/app"
    wanted = push(an_image(tmp_path / "wanted"), f"{name}:1", sys).digest
    other = push(an_image(tmp_path / "other", layers=1), f"{name}:2", sys).digest
    assert other != wanted
    for tag in ("1", "2", "gone"):
        both = f"{name}:{tag}@{wanted}"
        assert image_name(parse_image_name(both)) == both
        assert docker.resolve_digest(both, sys) == wanted
        assert docker.resolve_digest(parse_image_name(both), sys, platform="linux/arm64") == wanted
        assert inspect(both, sys).digest == wanted
        assert pull(both, f"oci:{tmp_path}/back:{tag}", sys).digest == wanted
    bundle.create(f"{name}:2@{wanted}", tmp_path / "bundle", policy=ANYTHING, sys=sys, args=["true"])
    assert (tmp_path / "bundle/rootfs/f2").exists()


def test_a_tag_beside_a_digest_is_not_written(registry: Registry, tmp_path: Path) -> None:
    """Of a destination, and of what is deleted, it is not clear which is meant; both names are offered."""
    sys = context(tmp_path / "conf", registry)
    source = an_image(tmp_path / "images")
    name = f"docker://{registry.address}/team/app"
    digest = push(source, f"{name}:1", sys).digest
    message = f"drop one of them: {name}:1 or {name}@{digest}"
    with pytest.raises(InvalidReferenceError, match=f"to write, expected a tag or a digest, found both; {message}"):
        push(source, f"{name}:1@{digest}", sys)
    with pytest.raises(InvalidReferenceError, match=f"to delete, expected a tag or a digest, found both; {message}"):
        delete(f"{name}:1@{digest}", sys)
    assert registry.tags("team/app") == {"1": str(digest)}


def test_policies_see_the_digest_alone(registry: Registry, tmp_path: Path) -> None:
    """A tag that anybody can write down opens no scope and is no name that a signature could be for."""
    sys = context(tmp_path / "conf", registry)
    (tmp_path / "conf/empty/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
    repository = f"{registry.address}/team/app"
    key = signature.PrivateKey.generate()
    source = an_image(tmp_path / "images")
    sign(source, signature.SigstoreSigner(key), identity=f"{repository}:1")
    digest = push(source, f"docker://{repository}:1", sys).digest
    plain, both = (parse_image_name(f"docker://{repository}{tag}@{digest}") for tag in ("", ":2"))
    assert both.policy_configuration_identity == plain.policy_configuration_identity
    assert both.policy_configuration_namespaces == plain.policy_configuration_namespaces
    assert both.docker_reference == plain.docker_reference
    opened_by_tag = Policy(
        requirements=(signature.Reject(),),
        transports={"docker": {f"{repository}:2": (signature.InsecureAcceptAnything(),)}},
    )
    options = CopyOptions(source_ctx=sys)
    with pytest.raises(PolicyRequirementError):
        copy.image(opened_by_tag, src=both, dest=f"oci:{tmp_path}/never:x", options=options)
    signed = signature.SigstoreSigned(key_data=key.public_key.pem)
    assert verify(both, Policy(requirements=[signed]), sys=sys).images[0].digest == digest
    exactly = signature.SigstoreSigned(key_data=key.public_key.pem, signed_identity=signature.MatchExact())
    with pytest.raises(PolicyRequirementError, match="expected exactly"):
        verify(f"docker://{repository}:1@{digest}", Policy(requirements=[exactly]), sys=sys)


def test_mistakes_at_the_login(tmp_path: Path) -> None:
    """A user and a password in a row, and a scheme before the registry, are refused by what was expected."""
    with Registry(auth=BasicAuth(users={"user": "a password"})) as registry:
        sys = context(tmp_path / "conf", registry)
        login = cast("Any", docker.login)
        for given in ("alice", ("alice", "secret"), None):
            with pytest.raises(TypeError, match=r"auth: expected DockerAuthConfig\(username=…") as found:
                login(registry.address, given, sys)
            assert "secret" not in str(found.value)
        with pytest.raises(TypeError, match="sys: expected a SystemContext, found str"):
            login(registry.address, USER, "pw")
        for scheme in ("http", "https"):
            wrong = f"{scheme}://{registry.address}"
            for ask in (lambda wrong: login(wrong, USER, sys), docker.list_repositories, docker.logout):
                with pytest.raises(InvalidReferenceError, match=f"found {scheme}://; leave it out: '127.0.0.1:"):
                    ask(wrong)
        with pytest.raises(InvalidReferenceError) as found_url:
            docker.list_repositories("https://alice:secret@host.example")
        assert "secret" not in str(found_url.value)
        with pytest.raises(RegistryAccessError):
            docker.list_repositories(registry.address, sys)
        stored = login(f"docker://{registry.address}", USER, sys)
        assert docker.list_repositories(registry.address, sys) == ()
        assert docker.logout(f"docker://{registry.address}", sys) == (stored,)
