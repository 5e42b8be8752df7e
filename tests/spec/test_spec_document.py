"""What all classes of ocikit.spec have in common."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec_strategies import CLASSES, documents

from ocikit import spec
from ocikit.errors import ParseError, ValidationError
from ocikit.spec import Document, Mount, Process, Spec, User
from ocikit.spec._document import table_of

# Many classes, few examples of each: the fields of all of them are read and written by the same code.
FEW = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@FEW
@given(data=st.data())
def test_every_document_survives_a_round_trip(cls: type[Document], data: st.DataObject) -> None:
    """Written and read again a document is the same, with its unknown fields, and so are its bytes."""
    document = data.draw(documents(cls))
    written = document.to_json()
    again = cls.from_json(written)
    assert again == document
    assert again.to_json() == written
    assert cls.from_dict(document.to_dict()) == document
    assert hash(again) == hash(document)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@FEW
@given(data=st.data())
def test_every_document_can_be_validated_and_shown(cls: type[Document], data: st.DataObject) -> None:
    """Validation of any well-typed document ends with findings inside it; repr shows it, pickle carries it."""
    document = data.draw(documents(cls))
    for violation in document.validate():
        assert violation.path.startswith("$")
        assert violation.reason
    assert repr(document).startswith(f"{cls.__name__}(")
    assert pickle.loads(pickle.dumps(document)) == document  # noqa: S301 - our own bytes
    assert copy.deepcopy(document) == document


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@FEW
@given(data=st.data())
def test_documents_are_equal_when_all_of_their_fields_are(cls: type[Document], data: st.DataObject) -> None:
    """Each field counts, ``extra`` too, as in the classes that attrs makes; maps and ``extra`` are not hashed."""
    document, other = data.draw(documents(cls)), data.draw(documents(cls))
    assert (document == other) == (attrs.astuple(document, recurse=False) == attrs.astuple(other, recurse=False))
    for attribute in attrs.fields(cls):
        change: dict[str, Any] = {attribute.name: {"org.example": data} if attribute.name == "extra" else data}
        changed = attrs.evolve(document, **change)
        assert changed != document
        assert not changed == document  # noqa: SIM201 - the two are two methods
        assert (hash(changed) == hash(document)) == (attribute.hash is False)


def test_documents_of_two_classes_are_never_equal() -> None:
    """A document is equal to one of its own class, and leaves other objects to decide for themselves."""

    class Anything:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    assert spec.Root(path="a") == spec.Root(path="a")
    assert spec.LinuxTimeOffset() != spec.LinuxNetDevice()
    assert spec.LinuxTimeOffset() != ()
    assert spec.LinuxTimeOffset() == Anything()
    assert len({spec.Root(path="a"), spec.Root(path="a"), spec.Root(path="b"), spec.LinuxTimeOffset()}) == 3


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@FEW
@given(data=st.data())
def test_null_reads_as_absence(cls: type[Document], data: st.DataObject) -> None:
    """A null where a key is optional is as if the key were not there."""
    document = data.draw(documents(cls))
    plain = document.to_dict()
    optional = [entry.name for entry in table_of(cls).entries if entry not in table_of(cls).required]
    name = data.draw(st.sampled_from(optional)) if optional else None
    if name is not None:
        without = {key: value for key, value in plain.items() if key != name}
        assert cls.from_dict({**plain, name: None}) == cls.from_dict(without)


WRONG_TYPES: dict[str, tuple[dict[str, Any], str, str]] = {
    "bool is no integer": ({"process": {"user": {"uid": True}}}, "$.process.user.uid", "found true"),
    "float is no integer": ({"process": {"user": {"uid": 0.0}}}, "$.process.user.uid", "0 to 4294967295"),
    "string is no integer": ({"process": {"user": {"gid": "0"}}}, "$.process.user.gid", "found a string"),
    "negative is no uint32": ({"process": {"user": {"uid": -1}}}, "$.process.user.uid", "found -1"),
    "2**32 is no uint32": ({"process": {"user": {"uid": 2**32}}}, "$.process.user.uid", "found 4294967296"),
    "gid in a list": ({"process": {"user": {"additionalGids": [1, -1]}}}, "$.process.user.additionalGids[1]", "-1"),
    "integer is no bool": ({"process": {"terminal": 1}}, "$.process.terminal", "found 1"),
    "number is no string": ({"hostname": 5}, "$.hostname", "expected a string, found 5"),
    "string is no array": ({"process": {"args": "sh"}}, "$.process.args", "expected an array, found a string"),
    "object is no array": ({"mounts": {}}, "$.mounts", "expected an array, found an object"),
    "array is no object": ({"root": []}, "$.root", "expected an object, found an array"),
    "null in an array": ({"process": {"args": ["a", None]}}, "$.process.args[1]", "found null"),
    "number in a map": ({"annotations": {"a.b": 1}}, '$.annotations["a.b"]', "found 1"),
    "deep in an array": (
        {"mounts": [{}, {}, {}, {"options": ["ro", 7]}]},
        "$.mounts[3].options[1]",
        "expected a string, found 7",
    ),
    "int64": ({"linux": {"resources": {"memory": {"limit": 2**63}}}}, "$.linux.resources.memory.limit", "922337"),
    "uint16": ({"linux": {"resources": {"blockIO": {"weight": 65536}}}}, "$.linux.resources.blockIO.weight", "65535"),
    "int32": ({"process": {"scheduler": {"nice": 2**31}}}, "$.process.scheduler.nice", "2147483647"),
    "huge": ({"process": {"oomScoreAdj": 10**100}}, "$.process.oomScoreAdj", "more than 128 bits"),
    "map of objects": ({"linux": {"netDevices": {"eth0": "eth1"}}}, "$.linux.netDevices.eth0", "found a string"),
    "section of another platform": ({"windows": []}, "$.windows", "expected an object"),
    "number that is missing": ({"process": {"rlimits": [{"type": "RLIMIT_CPU"}]}}, "$.process.rlimits[0].hard", "is"),
    "number that is null": ({"linux": {"uidMappings": [{"size": None}]}}, "$.linux.uidMappings[0].containerID", "is"),
}


@pytest.mark.parametrize(("data", "path", "reason"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_types_are_refused_with_their_path(data: dict[str, Any], path: str, reason: str) -> None:
    """Types are those of specs-go exactly, and a ParseError says which value is not of its type."""
    with pytest.raises(ParseError) as caught:
        Spec.from_dict({"ociVersion": "1.3.0", **data})
    assert caught.value.path == path
    assert reason in caught.value.reason


@pytest.mark.parametrize("data", ["[]", '"config"', "1", "null", "true"])
def test_a_document_is_an_object(data: str) -> None:
    """JSON that is no object is no document."""
    with pytest.raises(ParseError, match=r"^\$: expected an object"):
        Spec.from_json(data)


def test_keys_of_python_data_must_be_strings() -> None:
    """Plain data that JSON could not hold is refused, wherever it is."""
    for data in ({1: 2}, {"annotations": {1: "x"}}, {"x-unknown": {"a": object()}}, {"x-unknown": float("nan")}):
        with pytest.raises(ParseError):
            Spec.from_dict(data)


def test_unknown_fields_are_kept_at_every_level() -> None:
    """Fields that the specification does not define survive a round trip, wherever they are."""
    data = {
        "ociVersion": "1.3.0",
        "process": {"user": {"uid": 1, "gid": 1, "x-user": [1, {"deep": None}]}, "cwd": "/", "x-process": 1.5},
        "mounts": [{"destination": "/a"}, {"destination": "/b", "x-mount": {}}],
        "linux": {"resources": {"memory": {"limit": 1, "x-memory": False}}},
        "x-spec": "kept",
    }
    parsed = Spec.from_dict(data)
    assert parsed.to_dict() == data
    assert parsed.extra == {"x-spec": "kept"}
    assert parsed.process is not None
    assert parsed.process.user.extra == {"x-user": [1, {"deep": None}]}


@pytest.mark.parametrize("name", ["Process", "PROCESS", "hooKs", "\u017folaris"])
def test_keys_that_differ_only_in_case_are_refused(name: str) -> None:
    """Go would take ``Process`` for ``process`` and others would not: such a document is refused."""
    with pytest.raises(ParseError, match="differs only in case"):
        Spec.from_dict({name: {}})


def test_plain_data_is_copied_in_and_out() -> None:
    """Neither side of from_dict and to_dict sees what the other changes later."""
    data: dict[str, Any] = {"windows": {"layerFolders": ["a"]}, "x": {"y": [1]}, "annotations": {"k": "v"}}
    document = Spec.from_dict(data)
    out = document.to_dict()
    for one in (data, out):
        one["windows"]["layerFolders"].append("b")
        one["x"]["y"].append(2)
        one["annotations"]["k"] = "w"
    assert document.windows == {"layerFolders": ["a"]}
    assert document.extra == {"x": {"y": [1]}}
    assert document.annotations == {"k": "v"}


def test_plain_data_that_contains_itself_is_refused() -> None:
    """Unknown fields are not followed for ever."""
    loop: dict[str, Any] = {}
    loop["x"] = loop
    with pytest.raises(ParseError, match="nested deeper than 100"):
        Spec.from_dict({"x-loop": loop})


def test_documents_are_frozen_and_keyword_only() -> None:
    """Nothing can be changed in place; attrs.evolve makes a changed copy."""
    mount = Mount(destination="/a", options=("ro",))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        mount.destination = "/b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        mount.unheard_of = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        Mount("/a")  # type: ignore[call-arg,arg-type]
    changed = attrs.evolve(mount, destination="/b", extra={"x": 1})
    assert (changed.destination, changed.options, changed.extra) == ("/b", ("ro",), {"x": 1})
    assert mount == Mount(destination="/a", options=("ro",))


def test_known_fields_are_not_extra() -> None:
    """A field of the class cannot hide in extra, where one of two values would be lost."""
    with pytest.raises(ValidationError, match=r"\$\.hostname: belongs to hostname"):
        Spec(extra={"hostname": "a"})
    with pytest.raises(ValidationError, match=r"\$\.HostName: belongs to hostname"):
        Spec(extra={"HostName": "a"})
    with pytest.raises(ValidationError, match="expected strings as keys"):
        Spec(extra={1: "a"}).to_dict()  # type: ignore[dict-item]


WRONG_VALUES: dict[str, tuple[Document, str]] = {
    "integer out of range": (Spec(process=Process(cwd="/", user=User(uid=-1))), "$.process.user.uid: expected"),
    "string for an integer": (User(uid="0"), "$.uid: expected an integer"),  # type: ignore[arg-type]
    "string for a tuple": (Process(cwd="/", args="sh"), "$.args: expected an array"),  # type: ignore[arg-type]
    "dict for a document": (Spec(root={"path": "x"}), "$.root: expected Root, found an object"),  # type: ignore[arg-type]
    "object in extra": (Spec(extra={"x": object()}), "$.x: expected JSON data"),
    "digest": (
        spec.RootFS(diff_ids=("sha256:0",)),  # type: ignore[arg-type]
        "$.diff_ids[0]: a sha256 digest has 64",
    ),
    "bytes": (
        spec.Descriptor(media_type="a/b", digest=spec.Digest("a:b"), size=0, data="x"),  # type: ignore[arg-type]
        "$.data: expected bytes",
    ),
    "undecodable bytes": (Process(cwd="/", args=("\udcff",)), "$.args[0]: holds a lone surrogate"),
}


@pytest.mark.parametrize(("document", "message"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_wrong_values_are_never_written(document: Document, message: str) -> None:
    """Writing checks what reading checks; validate reports it instead of raising."""
    with pytest.raises(ValidationError) as caught:
        document.to_json()
    assert caught.value.violations[0].startswith(message)
    assert [str(violation) for violation in document.validate()] == list(caught.value.violations)


def test_check_raises_everything_that_validate_finds() -> None:
    """check() is validate() for those who want an exception; it returns a valid document itself."""
    bad = Spec(oci_version="one", mounts=(Mount(destination=""),))
    with pytest.raises(ValidationError) as caught:
        bad.check()
    assert caught.value.violations == tuple(map(str, bad.validate()))
    assert len(caught.value.violations) == 3
    good = Spec.default()
    assert good.check() is good


def test_repr_shows_what_differs_from_the_default() -> None:
    """A document in a notebook shows what it says, not what it leaves out."""
    assert repr(Mount(destination="/a", extra={"x": 1})) == "Mount(destination='/a', extra={'x': 1})"
    assert repr(spec.RootFS()) == "RootFS()"


def test_lists_are_written_as_tuples_are() -> None:
    """A caller who gives a list where a tuple belongs gets the same JSON."""
    given_list = Process(cwd="/", args=["a", "b"])  # type: ignore[arg-type]
    assert given_list.to_json() == Process(cwd="/", args=("a", "b")).to_json()
