"""Every cell of the table of faults (``docker_faults``): it happens twice, and it never ends."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from attrs import evolve
from builders import Store, check_layout, names_in
from docker_faults import CELLS, FAULTS, PAGE, SOME, WORDS, Stage, faults_of, page
from docker_images import context, pull, push

from ocikit.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    ImageNotFoundError,
    RegistryAccessError,
    RegistryError,
    SizeMismatchError,
)
from ocikit.image import DockerAuthConfig, docker, layout
from ocikit.image.context import RetryPolicy
from ocikit.image.docker import uploads
from ocikit.image.layout import ProblemKind
from ocikit.testing import Answer, BearerAuth, Hang, Redirect, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocikit.image import SystemContext
    from ocikit.testing import Action, Injection

USER = DockerAuthConfig(username="user", password="a password")  # noqa: S106 - of a registry that ends with the test
#: What each word is when it never ends; what is not here is whole.
NEVER_ENDING: dict[str, tuple[type[Exception], ...]] = {
    "again": (RegistryError,),
    "rest": (RegistryError,),
    "anew": (RegistryError,),
    "token": (RegistryAccessError,),
    "access": (RegistryAccessError,),
    "missing": (ImageNotFoundError, BlobNotFoundError),
    "refused": (RegistryError,),
    "mismatch": (DigestMismatchError, SizeMismatchError),
}
NUMBERS = itertools.count()
AT_ONCE = {"access", "missing", "refused"}


class Scene(NamedTuple):
    """An image, and what it consists of.

    Attributes:
        layout: Its name in a layout.
        blobs: Everything by digest.
        digest: Of its manifest.
        layer: The digest of its one layer.
    """

    layout: str
    blobs: dict[str, bytes]
    digest: str
    layer: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Make an image of one layer."""
    store = Store()
    image = store.image({"f": random.Random(1).randbytes(20_000)}, platform=False)  # noqa: S311 - the same each time
    path = store.layout(tmp_path_factory.mktemp("scene") / "images", {"app": image})
    (layer,) = json.loads(store.blobs[image["digest"]])["layers"]
    return Scene(f"oci:{path}:app", store.blobs, image["digest"], layer["digest"])


class Places(NamedTuple):
    """Two registries, for all tests.

    Attributes:
        registry: The one that is talked to.
        other: Another host with the same contents, without credentials: others send us there.
    """

    registry: Registry
    other: Registry


@pytest.fixture(scope="module")
def both() -> Iterator[Places]:
    """Start them once: a registry costs more than a test; and leave no connection open."""
    auth = BearerAuth(users={"user": "a password"})
    with Registry(auth=auth) as registry, Registry(contents_of=registry) as other:
        yield Places(registry, other)
        docker.close_connections()


@pytest.fixture
def places(both: Places, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """Send what is small in pieces, too; let nothing go wrong any more after a test."""
    monkeypatch.setattr(uploads, "_WHOLE", -1)
    yield both
    both.registry.clear_faults()
    both.registry.disconnect()
    both.other.clear_requests()


class Case(NamedTuple):
    """A cell that is being looked at.

    Attributes:
        stage: Where the fault happens.
        places: The registries.
        scene: The image.
        repository: Where it is, or goes; of this test only.
        place: A directory.
    """

    stage: Stage
    places: Places
    scene: Scene
    repository: str
    place: Path

    def put_in(self) -> None:
        """Put the image into the registry, without asking it anything."""
        for digest, data in self.scene.blobs.items():
            if digest == self.scene.digest:
                self.places.registry.add_manifest(self.repository, "1", data)
            else:
                self.places.registry.add_blob(self.repository, data)

    def filled(self, action: Action) -> Action:
        """Put the addresses of this run into an action."""
        if isinstance(action, Redirect):
            return evolve(action, to=action.to.format(other=self.places.other.url))
        if isinstance(action, Answer) and action.headers:
            known = {"realm": f"{self.places.registry.url}/token", "repository": self.repository}
            return evolve(action, headers={name: value.format(**known) for name, value in action.headers.items()})
        return action

    def go(self, sys: SystemContext) -> str:
        """Go the way that the stage is on; return the digest that comes out."""
        name = f"docker://{self.places.registry.address}/{self.repository}:1"
        if self.stage.way == "resolve":
            return str(docker.resolve_digest(name.removeprefix("docker://"), sys))
        if self.stage.way == "pull":
            return str(pull(name, f"oci:{self.place}/back:x", sys).digest)
        return str(push(self.scene.layout, name, sys, max_parallel=1).digest)

    def check_left(self, *, is_whole: bool) -> None:
        """Look at what is there: all of the image or nothing that looks like it, and nothing on its way."""
        back, registry = self.place / "back", self.places.registry
        if self.stage.way == "pull" and back.exists():
            assert names_in(back) == (["x"] if is_whole else [])
            # Blobs that nothing refers to yet are whole, and the next copy has no need to fetch them.
            assert {one.kind for one in layout.fsck(back).problems} <= {ProblemKind.UNREFERENCED_BLOB}
            if is_whole:
                assert check_layout(back) == set(self.scene.blobs)
        if self.stage.way == "push":
            assert registry.tags(self.repository) == ({"1": self.scene.digest} if is_whole else {})
            # What was begun without an answer nobody knows of.
            assert self.stage.kind == "upload_start" or registry.uploads(self.repository) == {}
            kept = {digest: registry.blob(self.repository, digest) for digest in registry.blobs(self.repository)}
            assert kept.items() <= self.scene.blobs.items()

    def circumstances(self, action: Action, times: int | None) -> SystemContext:
        """Return how the registry is talked to; where it is silent, there is little patience."""
        sys = context(self.place / "conf", self.places.registry, self.places.other, docker_auth_config=USER)
        if not isinstance(action, Hang):
            return sys
        return evolve(sys, docker_timeout=0.2, docker_retry=RetryPolicy(attempts=4 if times else 2, delay=0.001))


#: Each cell, once for what happens twice and once for what never ends; but what is an error at once is one at once, and
#: of what differs only by its number one is enough that never ends.
CASES = [
    pytest.param(fault, stage, word, times, id=f"{fault}-{stage.name}-{word}-{'twice' if times else 'for-ever'}")
    for fault, stage, word in CELLS
    for times in (2, None)
    if not (times and word in AT_ONCE | {"mismatch", "found", "whole"})
    and not (times is None and fault in {"408", "429 until a date", "502", "503", "504"} and word not in AT_ONCE)
]


@pytest.mark.parametrize(("fault", "stage", "word", "times"), CASES)
def test_cell(  # noqa: PLR0917 - a cell has so many sides
    places: Places, scene: Scene, tmp_path: Path, fault: str, stage: Stage, word: str, times: int | None
) -> None:
    """What has to come of a fault comes of it, and whatever comes, nothing half-written stays."""
    case = Case(stage, places, scene, f"team/app{next(NUMBERS)}", tmp_path)
    if stage.way != "push":
        case.put_in()
    action = case.filled(FAULTS[fault](stage, SOME if times else 0))
    times = 1 if isinstance(action, Hang) and times else times
    injected = [places.registry.inject(one) for one in faults_of(stage, action, case.repository, scene.layer, times)]
    sys = case.circumstances(action, times)
    errors = NEVER_ENDING.get(word, ()) if times is None else ()
    if word == "believed":
        assert case.go(sys) != scene.digest
    elif errors:
        with pytest.raises(errors) as caught:
            case.go(sys)
        check_error(caught.value, word, injected[-1])
    else:
        assert case.go(sys) == scene.digest
    assert injected[-1].fired >= 1
    # A tag that was put while the registry lies about it is there.
    case.check_left(is_whole=not errors or (stage.name, word) == ("tag", "mismatch"))
    assert {one.authorization for one in places.other.requests} <= {"none"}


def check_error(error: Exception, word: str, injection: Injection) -> None:
    """Look at what somebody is told: one answer for one request, the other side named, and nothing secret."""
    if word in AT_ONCE:
        assert injection.fired == 1
    assert "127.0.0.1" in str(error) or word == "mismatch"
    assert "a password" not in str(error)
    assert "object at 0x" not in str(error)


def test_every_word_is_explained() -> None:
    """The table has no word that it does not explain, and explains none that it does not have."""
    assert {word for _, _, word in CELLS} | {"-"} == set(WORDS)
    assert {fault for fault, _, _ in CELLS} == set(FAULTS)


def test_page() -> None:
    """The page shows the table as it is; ``python tests/image/docker_faults.py`` writes it."""
    assert PAGE.read_text() == page()


def test_known_outcomes_are_all_there() -> None:
    """Whatever is no outcome that is whole is one of those that raise."""
    assert set(NEVER_ENDING) | {"whole", "found", "believed", "-"} == set(WORDS)
