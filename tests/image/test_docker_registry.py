"""docker-registry 2.8 of Debian, however it is run: what ocikit writes skopeo reads, and the other way round.

``OCIKIT_IMAGES`` names a directory with real images, which go through all of them then.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from builders import check_layout, digest_of, skopeo_digest
from docker_images import an_image, context, pull, push
from matrix_images import IMAGES, VARIABLE, Original
from registries import Running, run_registry
from token_server import token_server

from ocikit.errors import RegistryAccessError, RegistryError
from ocikit.image import BlobInfo, DockerAuthConfig, SystemContext, docker, inspect, parse_image_name
from ocikit.image.copy import ArtifactRead
from ocikit.spec import Digest
from ocikit.testing import TLS
from ocikit.testing.certificates import MadeFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER = DockerAuthConfig(username="user", password="a password")  # noqa: S106 - of a registry that ends with the test
#: The same, as htpasswd has it: bcrypt, with the least cost.
HTPASSWD = "user:$2b$04$abcdefghijklmnopqrstuuQCzP7jzWZS/E3GL4oF3LWbHm3pfKHH.\n"
WAYS = ("plain", "tls", "htpasswd", "token")
#: Who asks does not matter to what is asked for: one image stands for all, unless real ones are there.
CASES = [
    (way, image)
    for way in WAYS
    for image in IMAGES
    if way == "plain" or image == "platforms" or os.environ.get(VARIABLE)
]


class Place(NamedTuple):
    """A registry, and how one talks to it.

    Attributes:
        address: Its address.
        options: For a :class:`SystemContext`.
        plain: Whether it is talked to without TLS.
        skopeo: What skopeo is told of it, without the side that it is on.
        asked: The scopes that its token server was asked for.
    """

    address: str
    options: dict[str, Any]
    plain: bool
    skopeo: tuple[str, ...]
    asked: list[tuple[str, ...]]

    def context(self, directory: Path, **more: Any) -> SystemContext:
        """Return the circumstances of talking to it."""
        return context(directory, *([self.address] if self.plain else []), **{**self.options, **more})

    def flags(self, side: str) -> list[str]:
        """Return what skopeo is told of it as ``src`` or ``dest``; with neither, as all there is."""
        return [one.replace("--", f"--{side}-" if side else "--", 1) for one in self.skopeo]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Iterator[Callable[[str], Place]]:
    """Run each registry when it is first asked for."""
    program, found = peer("docker-registry"), {}
    with contextlib.ExitStack() as stack:

        def place(way: str) -> Place:
            if way not in found:
                found[way] = _run(way, program, tmp_path_factory.mktemp(way), stack)
            return found[way]

        yield place
        docker.close_connections()


def _run(way: str, program: str, directory: Path, stack: contextlib.ExitStack) -> Place:
    credentials = ("--creds=user:a password",)
    known: dict[str, Any] = {}
    unverified = ("--tls-verify=false",)
    if way == "tls":
        made = MadeFiles(TLS())
        stack.callback(made.remove)
        tls = (str(made.files.certificate), str(made.files.key))
        running = stack.enter_context(run_registry(program, directory, tls=tls))
        known = {"docker_cert_path": made.directory}
        return Place(running.address, known, plain=False, skopeo=(f"--cert-dir={made.directory}",), asked=[])
    if way == "htpasswd":
        (directory / "users").write_text(HTPASSWD)
        auth = {"htpasswd": {"realm": "tests", "path": str(directory / "users")}}
        running = stack.enter_context(run_registry(program, directory, auth=auth))
        known = {"docker_auth_config": USER}
        return Place(running.address, known, plain=True, skopeo=(*unverified, *credentials), asked=[])
    if way == "token":
        server = stack.enter_context(token_server(directory, USER.username, USER.password))
        running = stack.enter_context(run_registry(program, directory, auth=server.auth))
        known = {"docker_auth_config": USER}
        return Place(running.address, known, plain=True, skopeo=(*unverified, *credentials), asked=server.asked)
    running = stack.enter_context(run_registry(program, directory))
    return Place(running.address, {}, plain=True, skopeo=unverified, asked=[])


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Original]:
    """Make each image when it is first asked for."""
    made: dict[str, Original] = {}

    def original(image: str) -> Original:
        if image not in made:
            made[image] = IMAGES[image](tmp_path_factory.mktemp(image))
        return made[image]

    return original


def skopeo(*words: str) -> bytes:
    """Run skopeo; return what it printed."""
    done = subprocess.run(["skopeo", "--insecure-policy", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize(("way", "image"), CASES)
def test_both_ways(
    places: Callable[[str], Place], originals: Callable[[str], Original], tmp_path: Path, way: str, image: str
) -> None:
    """Pushed by one and read by the other, with the same digests; what skopeo makes of it is whole for us."""
    place, original = places(way), originals(image)
    sys = place.context(tmp_path / "conf")
    ours, theirs = (f"docker://{place.address}/by/{who}/{image}:1" for who in ("ocikit", "skopeo"))
    pushed = push(original.name, ours, sys)
    raw = skopeo("inspect", "--raw", *place.flags(""), ours)
    assert (raw, digest_of(raw)) == (pushed.manifest, pushed.digest)
    skopeo("copy", "--all", "--preserve-digests", *place.flags("src"), ours, f"dir:{tmp_path}/read")
    assert skopeo_digest(f"dir:{tmp_path}/read") == pushed.digest
    skopeo("copy", "--all", "--preserve-digests", *place.flags("dest"), f"dir:{tmp_path}/read", theirs)
    pulled = pull(theirs, f"oci:{tmp_path}/back:x", sys, preserve_digests="docker" not in pushed.media_type)
    assert docker.resolve_digest(theirs.removeprefix("docker://"), sys) == pushed.digest
    assert pulled.digest == pushed.digest or "docker" in pushed.media_type
    assert check_layout(tmp_path / "back")
    assert not push(original.name, ours, sys).copied


@pytest.mark.parametrize("way", WAYS)
def test_only_those_who_may(places: Callable[[str], Place], tmp_path: Path, way: str) -> None:
    """Without what the registry asks for it is an error that says what is missing."""
    place = places(way)
    name = f"docker://{place.address}/some/app:1"
    push(an_image(tmp_path / "images"), name, place.context(tmp_path / "conf"))
    if way == "plain":
        with pytest.raises(RegistryError, match="cannot be reached"):
            inspect(name, sys=context(tmp_path / "other"))
    elif way == "tls":
        with pytest.raises(RegistryError, match="certificate verify failed"):
            inspect(name, sys=context(tmp_path / "other"))
    else:
        for wrong in (None, DockerAuthConfig(username="user", password="another")):  # noqa: S106 - no secret
            with pytest.raises(RegistryAccessError, match=r"docker\.login"):
                inspect(name, sys=place.context(tmp_path / "other", docker_auth_config=wrong))
    if way == "token":
        assert ("repository:some/app:pull,push",) in place.asked
        assert all(actions.endswith((":pull", ":pull,push", ":*")) for scopes in place.asked for actions in scopes)


class Mirrored(NamedTuple):
    """An image in two registries, one of which is a mirror of the other.

    Attributes:
        mirror: The mirror.
        origin: The registry itself.
        name: The image, as the registry itself has it.
        digest: The digest of its manifest.
        sys: The circumstances in which the mirror is asked first.
    """

    mirror: Running
    origin: Running
    name: str
    digest: Digest
    sys: SystemContext


@pytest.fixture
def mirrored(tmp_path: Path, peer: Callable[[str], str]) -> Iterator[Mirrored]:
    """Run a mirror and the registry itself, with an image that is larger than what is on its way at any time."""
    program = peer("docker-registry")
    with run_registry(program, tmp_path / "m") as mirror, run_registry(program, tmp_path / "o") as origin:
        source = an_image(tmp_path / "images", size=8 << 20, layers=1)
        digest = push(source, f"docker://{origin.address}/team/app:1", context(tmp_path / "c", origin.address)).digest
        push(source, f"docker://{mirror.address}/copy/app:1", context(tmp_path / "c", mirror.address))
        sys = context(tmp_path / "conf", origin.address, mirror.address)
        with (tmp_path / "conf/registries.conf").open("a") as file:
            file.write(
                f'[[registry]]\nprefix = "{origin.address}/team"\nlocation = "{origin.address}/team"\ninsecure = true\n'
                f'[[registry.mirror]]\nlocation = "{mirror.address}/copy"\ninsecure = true\n'
            )
        yield Mirrored(mirror, origin, f"docker://{origin.address}/team/app:1", digest, sys)
        docker.close_connections()


@pytest.mark.parametrize("dies", ["mirror", "origin"])
def test_killed_in_the_middle(mirrored: Mirrored, tmp_path: Path, dies: str) -> None:
    """A mirror that is killed during a pull is taken over from; who is not asked may be killed as well."""
    killed_at: list[int] = []

    def kill(event: object) -> None:
        if isinstance(event, ArtifactRead) and event.artifact.size > 1 << 20 and not killed_at:
            killed_at.append(event.offset)
            getattr(mirrored, dies).process.kill()

    back = f"oci:{tmp_path}/back:x"
    done = pull(mirrored.name, back, mirrored.sys, progress=kill, progress_interval=0.0)
    assert done.digest == mirrored.digest
    assert 0 < killed_at[0] < 8 << 20
    assert check_layout(tmp_path / "back")
    if dies == "mirror":  # and once more, when it is gone from the beginning
        assert pull(mirrored.name, f"oci:{tmp_path}/again:x", mirrored.sys).digest == mirrored.digest


def test_a_blob_goes_on_elsewhere(mirrored: Mirrored) -> None:
    """The rest of a blob of which a part was read comes from the registry itself, byte for byte."""
    with parse_image_name(mirrored.name).new_image_source(mirrored.sys) as source:
        (layer,) = inspect(mirrored.name, sys=mirrored.sys).layers
        stream, size = source.get_blob(BlobInfo(digest=layer.digest, size=layer.size))
        with stream:
            start = stream.read(100_000)
            mirrored.mirror.process.kill()
            mirrored.mirror.process.wait()
            rest = stream.read()
        assert size == len(start + rest)
        assert Digest.from_bytes(start + rest) == layer.digest


def test_both_gone(mirrored: Mirrored, tmp_path: Path) -> None:
    """When nobody is left it is an error that names who was asked, and no image is visible."""
    for one in (mirrored.mirror, mirrored.origin):
        one.process.kill()
        one.process.wait()
    with pytest.raises(RegistryError, match="cannot be reached") as caught:
        pull(mirrored.name, f"oci:{tmp_path}/back:x", mirrored.sys)
    said = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert mirrored.mirror.address in said
    assert mirrored.origin.address in said
    assert not (tmp_path / "back/index.json").exists()
