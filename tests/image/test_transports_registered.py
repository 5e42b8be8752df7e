"""Transports that callers bring: registered, used everywhere, and gone again."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import Store, check_layout, manifest_at

from ocikit.errors import ImageNotFoundError, InvalidPolicyError, InvalidReferenceError, TransportError
from ocikit.image import ImageTransport, Policy, copy, delete, inspect, parse_image_name, transports

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs/transports.md"
POLICY = Policy.insecure_accept_anything()
OWN = transports.list_names()


@pytest.fixture(autouse=True)
def _table_as_before() -> Iterator[None]:
    """Take away whatever a test registers."""
    yield
    for name in set(transports.list_names()) - set(OWN):
        transports.unregister(name)


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """Return what the complete example of the page defines."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    code = next(block for block in blocks if "class MemoryTransport" in block)
    namespace: dict[str, Any] = {"__name__": "example_of_a_transport"}
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), namespace)  # noqa: S102
    transports.unregister("memory")
    return namespace


@pytest.fixture
def memory(example: dict[str, Any]) -> ImageTransport:
    """Return an in-memory transport that is not registered."""
    made: ImageTransport = example["MemoryTransport"]()
    return made


class Bare:
    """A transport that is no subclass of anything."""

    def __init__(self, name: str = "bare", made: object = None) -> None:
        self.name = name
        self.made = made

    def parse_reference(self, reference: str) -> Any:
        """Return something else than a reference."""
        return self.made or reference

    def validate_policy_configuration_scope(self, scope: str) -> None:
        """Accept one scope."""
        if scope != "known":
            raise ValueError(f"{scope!r} is not known")


def register(transport: object, **more: Any) -> None:
    """Register anything."""
    transports.register(transport, **more)  # type: ignore[arg-type]


def test_an_image_to_memory_and_back(tmp_path: Path, memory: ImageTransport) -> None:
    """An index with its images is copied into a registered transport and from there to a layout, unchanged."""
    store = Store()
    index = store.index(store.image(), store.image({"x": b"y"}, architecture="arm64"))
    layout = store.layout(tmp_path / "layout", {"all": index, "one": store.image()})
    transports.register(memory)
    options = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)
    copy.image(POLICY, dest="memory:all", src=f"oci:{layout}:all", options=options)
    copy.image(POLICY, dest=f"oci:{tmp_path}/back:all", src="memory:all", options=options)
    assert manifest_at(tmp_path / "back") == index["digest"]
    check_layout(tmp_path / "back")
    assert inspect("memory:all").digest == index["digest"]
    delete("memory:all")
    with pytest.raises(ImageNotFoundError):
        inspect("memory:all")


def test_names_and_policies_know_it(memory: ImageTransport) -> None:
    """The table lists it, names lead to it, and a policy validates its scopes: until it is gone."""
    transports.register(memory)
    assert transports.list_names() == tuple(sorted([*OWN, "memory"]))
    assert transports.get("memory") is memory
    reference = parse_image_name("memory:x:y")
    assert (reference.transport, str(reference)) == (memory, "memory:x:y")
    register(Bare())
    rule = b'[{"type": "insecureAcceptAnything"}]'
    document = b'{"default": %b, "transports": {"bare": {"%b": %b}}}'
    Policy.from_bytes(document % (rule, b"known", rule))
    with pytest.raises(InvalidPolicyError, match="is not known"):
        Policy.from_bytes(document % (rule, b"other", rule))
    transports.unregister("bare")
    Policy.from_bytes(document % (rule, b"other", rule))
    transports.unregister("memory")
    with pytest.raises(InvalidReferenceError, match="'memory' is unknown"):
        parse_image_name("memory:x")
    assert transports.list_names() == OWN


def test_names_that_are_taken(memory: ImageTransport) -> None:
    """One that is registered, or one of ocikit's own, is replaced only on request, and comes back."""
    transports.register(memory)
    with pytest.raises(TransportError, match="registered already"):
        transports.register(memory)
    with pytest.raises(TransportError, match="one of ocikit's own"):
        register(Bare("oci"))
    own = transports.get("oci")
    register(Bare("oci"), replace=True)
    assert isinstance(transports.get("oci"), Bare)
    assert transports.list_names() == tuple(sorted([*OWN, "memory"]))
    transports.unregister("oci")
    assert transports.get("oci") is own
    with pytest.raises(TransportError, match="registered are: memory"):
        transports.unregister("oci")


class _Half:
    name = "half"

    def parse_reference(self, reference: str) -> str:
        return reference


class _Uncallable(_Half):
    validate_policy_configuration_scope = 5


@pytest.mark.parametrize("name", ["", "A", "a b", "a:b", "a/b", "-a", "a-", "a--b", "ä", "a\n", 5, None])
def test_names_that_are_none(name: Any) -> None:
    """The name has to be one that can stand before the colon of an image name."""
    with pytest.raises(TransportError, match="expected the name of a transport"):
        register(Bare(name))


@pytest.mark.parametrize("thing", [_Half(), _Uncallable(), _Half])
def test_what_is_no_transport(thing: object) -> None:
    """What lacks a method is refused with its name; so is a class in place of an object."""
    with pytest.raises(TransportError, match="has no method"):
        register(thing)


@pytest.mark.parametrize("thing", [None, 5, "oci", object()])
def test_what_has_no_name(thing: object) -> None:
    """Anything else is refused too."""
    with pytest.raises(TransportError, match="expected the name"):
        register(thing)


def test_references_that_are_none() -> None:
    """A transport that parses a name into something else than a reference is named in the error."""
    register(Bare())
    with pytest.raises(TransportError, match="'bare:x': the transport bare made a str"):
        parse_image_name("bare:x")


def test_threads(memory: ImageTransport) -> None:
    """Of many threads that register one name one succeeds, and the table is whole at every moment."""
    outcomes: list[str] = []
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait()
        for round_ in range(50):
            register(Bare(f"thread-{number}-{round_}"))
            assert set(OWN) <= set(transports.list_names())
            transports.unregister(f"thread-{number}-{round_}")
        try:
            transports.register(memory)
        except TransportError:
            outcomes.append("refused")
        else:
            outcomes.append("registered")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["registered"]
    assert transports.list_names() == tuple(sorted([*OWN, "memory"]))
