"""Configurations, lists and indexes that are odd: read where others read them, and clearly refused elsewhere."""

from __future__ import annotations

import json
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Store, digest_of
from hypothesis import given
from hypothesis import strategies as st
from layers import END, file
from producers import FULL_NAME, LOWER, REF_NAME, UPPER, config
from saved import listed, manifest, write

from ocikit.errors import (
    AmbiguousImageError,
    BlobNotFoundError,
    DigestMismatchError,
    ImageNotFoundError,
    LayoutError,
    LimitExceededError,
    ManifestError,
    OCIKitError,
    ParseError,
    VerificationError,
)
from ocikit.image import Policy, SystemContext, copy, import_directory, inspect, list_images, unpack
from ocikit.spec import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

ANY = Policy.insecure_accept_anything()
LINUX = SystemContext(os_choice="linux", architecture_choice="amd64")
BOM = b"\xef\xbb\xbf"
GZIPPED_NOTHING = bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000")


def saved(path: Path, about: bytes, *layers: bytes, **members: bytes) -> Path:
    """Write a file of ``docker save`` with this configuration."""
    names = [f"{number}.tar" for number in range(len(layers))]
    more = [(name.replace("_", "."), data) for name, data in members.items()]
    return write(path, [("c.json", about), *zip(names, layers, strict=True), *more, manifest(listed("c.json", names))])


def without(*keys: str, **more: Any) -> bytes:
    """Return a configuration that lacks some keys and has others."""
    document = config(LOWER, UPPER) | more
    return json.dumps({key: value for key, value in document.items() if key not in keys}).encode()


def spelled(change: Callable[[str], str]) -> bytes:
    """Return a configuration with the keys of its inner part spelled in another way."""
    document = config(LOWER, UPPER)
    document["config"] = {change(key): value for key, value in document["config"].items()}
    return json.dumps(document).encode()


DIFFS = [digest_of(LOWER), digest_of(UPPER)]
# All of these are images for skopeo 1.9.3, too.
ODD_CONFIGS: dict[str, bytes] = {
    "no history": without("history"),
    "history null": without(history=None),
    "history too short": without(history=[{}]),
    "history too long": without(history=[{"created": None, "comment": "x"}, {"empty_layer": None}] * 5),
    "no creation": without("created"),
    "creation null": without(created=None),
    "creation in year 1": without(created="0001-01-01T00:00:00Z"),
    "creation elsewhere": without(created="2024-02-03T04:05:06.1+05:30"),
    "no architecture": without("architecture"),
    "no system": without("os"),
    "empty platform": without(architecture="", os="", variant=""),
    "windows": without(**{"os": "windows", "os.version": "10.0.17763.1", "os.features": ["win32k"]}),
    "no inner part": without("config"),
    "inner part null": without(config=None),
    "nulls inside": without(config=dict.fromkeys(("Env", "Cmd", "Entrypoint", "Labels", "Volumes", "User"))),
    "null ports": without(config={"ExposedPorts": {"80/tcp": None}, "Volumes": {"/data": None}}),
    "no type of rootfs": without(rootfs={"diff_ids": DIFFS}),
    "unknown fields": without(x=1, config={"y": {"z": [None, 1.5]}}, container_config={"Cmd": None}, docker_version=""),
    "Docker's fields": without(config={"Healthcheck": {"Test": ["CMD", "x"]}, "Shell": ["sh"], "OnBuild": ["RUN x"]}),
    "huge labels": without(config={"Labels": {"a": "x" * (1 << 20)} | {str(n): "é" for n in range(5000)}}),
    "nested": without(x=json.loads("[" * 90 + "]" * 90)),
    "mixed case": without("rootfs", "os", OS="linux", rootfS={"Type": "layers", "DIFF_ids": DIFFS}),
    "lower case": spelled(str.lower),
    "upper case": spelled(str.upper),
    "pretty": json.dumps(config(LOWER, UPPER), indent="\t").encode() + b"\n\n",
    "escapes": json.dumps(config(LOWER, UPPER, author="\U0001f433 é")).encode(),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a directory where an image may be unpacked."""
    (tmp_path / "private").mkdir(mode=0o700)
    return tmp_path / "private"


@pytest.mark.parametrize("case", ODD_CONFIGS)
def test_odd_configurations(tmp_path: Path, here: Path, case: str) -> None:
    """They are shown, copied as they are, unpacked; skopeo takes the image as well."""
    archive = saved(tmp_path / "a.tar", ODD_CONFIGS[case], LOWER, UPPER)
    name = f"docker-archive:{archive}"
    found = inspect(name)
    assert str(found)
    assert found._repr_html_()
    copy.image(ANY, dest=f"oci:{here}/l:x", src=name, options=copy.CopyOptions(verify_diff_ids=True))
    assert inspect(f"oci:{here}/l:x").manifest.config.digest == digest_of(ODD_CONFIGS[case])
    unpack(name, here / "root", policy=ANY)
    assert (here / "root/etc/app").read_bytes() == b"two"
    if case in {"lower case", "upper case"}:
        assert (found.env, found.config and found.config.config.cmd) == (("PATH=/usr/bin",), ("/usr/bin/app",))
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", name, f"dir:{tmp_path}/d"], check=True)


REFUSED_CONFIGS: dict[str, tuple[bytes, str]] = {
    "creation empty": (without(created=""), r"\$\.created: expected a time"),
    "creation in words": (without(created="yesterday"), r"\$\.created: expected a time"),
    "creation a number": (without(created=1700000000), r"\$\.created: expected a string"),
    "variables in one string": (without(config={"Env": "A=b"}), r"\$\.config\.Env: expected an array"),
    "numbers for labels": (without(config={"Labels": {"a": 1}}), r"\$\.config\.Labels\.a: expected a string"),
    "upper-case digests": (without(rootfs={"diff_ids": [DIFFS[0].upper(), DIFFS[1]]}), "expected a digest"),
    "no algorithm": (without(rootfs={"diff_ids": [one[7:] for one in DIFFS]}), "expected a digest"),
    "no rootfs": (without("rootfs"), "is this a configuration"),
    "another rootfs": (without(rootfs={"type": "layers+base", "diff_ids": DIFFS}), "expected 'layers', found 'layers"),
    "byte order mark": (BOM + without(), "byte order mark"),
    "UTF-16": (without().decode().encode("utf-16"), "is not UTF-8"),
    "no UTF-8": (without()[:-1] + b',"x":"\xff"}', "is not UTF-8"),
    "half a character": (without()[:-1] + b',"x":"\\ud800"}', "half of a surrogate"),
    "not a number": (without()[:-1] + b',"x":NaN}', "NaN"),
    "a key twice": (without()[:-1] + b',"os":"x"}', r"\$\.os: key appears more than once"),
    "two spellings": (without()[:-1] + b',"OS":"x"}', r"\$\.OS: is there beside another spelling of 'os'"),
    "two odd spellings": (without("os")[:-1] + b',"OS":"x","oS":"y"}', r"\$\.OS: is there beside another spelling"),
    "two of rootfs": (without(rootFS={"diff_ids": []}), "rootfs is there in two spellings"),
    "cut": (without()[:-20], "not JSON"),
    "two documents": (without() + without(), "not JSON"),
    "too deep": (without(x=json.loads("[" * 120 + "]" * 120)), "nesting depth"),
    "too large": (without(x="x" * (4 << 20)), "limit 4,194,304"),
    "empty": (b"", "not JSON"),
    "binary": (LOWER, "not JSON"),
}


@pytest.mark.parametrize("case", REFUSED_CONFIGS)
def test_refused_configurations(tmp_path: Path, here: Path, case: str) -> None:
    """What has no meaning, or two, is refused where the image is used, with the place in the document."""
    data, message = REFUSED_CONFIGS[case]
    archive = saved(tmp_path / "a.tar", data, LOWER, UPPER)
    with pytest.raises((LayoutError, ManifestError, LimitExceededError), match=message) as caught:
        unpack(f"docker-archive:{archive}", here / "root", policy=ANY)
    assert "a.tar" in str(caught.value)
    assert not (here / "root").exists()


@given(st.randoms(use_true_random=False))
def test_any_case_means_the_same(random: Random) -> None:
    """However the keys of a configuration are spelled, it says the same; said twice in two ways it says nothing."""

    def again(value: Any) -> Any:
        if isinstance(value, list):
            return [again(one) for one in value]
        if isinstance(value, dict):
            return {"".join(random.choice((str.lower, str.upper))(c) for c in key): again(value[key]) for key in value}
        return value

    document = config(LOWER, UPPER, author="x") | {"config": {"Env": ["A=b"], "Cmd": ["x"], "WorkingDir": "/"}}
    assert Image.from_dict(again(document)) == Image.from_dict(document)
    key = random.choice(list(document))
    with pytest.raises(ParseError, match="beside another spelling"):
        Image.from_dict(document | {key.swapcase(): document[key]})


NOTHING = bytes(1024)
ODD_LAYERS: dict[str, list[bytes]] = {
    "none": [],
    "no bytes": [LOWER, b""],
    "an empty tar": [NOTHING, LOWER, NOTHING],
    "the same twice": [LOWER, UPPER, LOWER, UPPER],
    "many": [file(b"%d" % number) + END for number in range(120)],
}


@pytest.mark.parametrize("case", ODD_LAYERS)
def test_odd_layers(tmp_path: Path, here: Path, case: str) -> None:
    """Layers with nothing in them, or that are there several times, are layers."""
    layers = ODD_LAYERS[case]
    about = json.dumps(config(*layers)).encode()
    archive = saved(tmp_path / "a.tar", about, *layers)
    for dest in (f"oci:{here}/l:x", f"docker-archive:{here}/d.tar:x:1", f"dir:{here}/d"):
        copy.image(ANY, dest=dest, src=f"docker-archive:{archive}", options=copy.CopyOptions(verify_diff_ids=True))
    assert len(inspect(f"docker-archive:{here}/d.tar").layers) == len(layers)
    assert unpack(f"oci:{here}/l:x", here / "root", policy=ANY).layers == len(layers)


def entry(**members: Any) -> bytes:
    """Return a list with one image, some of whose members are others."""
    whole = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["0.tar", "1.tar"]} | members
    return json.dumps([{key: value for key, value in whole.items() if value != "none"}]).encode()


ODD_LISTS: dict[str, tuple[bytes, list[str | None]]] = {
    "tags null": (entry(RepoTags=None), [None]),
    "no tags": (entry(RepoTags="none"), [None]),
    "empty tags": (entry(RepoTags=[]), [None]),
    "odd tags": (entry(RepoTags=["", "<none>:<none>", "App:1", "a@sha256:" + "0" * 64]), ["", "<none>:<none>"]),
    "a tag twice": (entry(RepoTags=["app:1", "docker.io/library/app:1"]), ["app:1", "docker.io/library/app:1"]),
    "unknown fields": (entry(Parent="sha256:0", LayerSources={}, x=[1.5]), ["app:1"]),
    "dots": (entry(Config="./c.json", Layers=[".//0.tar", "./1.tar"]), ["app:1"]),
    "absolute": (entry(Config="/c.json", Layers=["/0.tar", "/1.tar"]), ["app:1"]),
    "lower case": (entry().replace(b"Config", b"config").replace(b"RepoTags", b"repotags"), ["app:1"]),
    "the same image twice": (entry()[:-1] + b"," + entry(RepoTags=["app:2"])[1:], ["app:1", "app:2"]),
}


@pytest.mark.parametrize("case", ODD_LISTS)
def test_odd_lists(tmp_path: Path, case: str) -> None:
    """Docker's list is nobody's specification: what its readers take is taken."""
    data, names = ODD_LISTS[case]
    members = [("c.json", without()), ("0.tar", LOWER), ("1.tar", UPPER), ("manifest.json", data)]
    archive = write(tmp_path / "a.tar", members)
    found = list_images(archive)
    assert [one.name for one in found][: len(names)] == names
    for one in found:
        assert one.reference is not None
        assert inspect(one.reference).manifest.config.digest == digest_of(without())
    (tmp_path / "inbox").mkdir()
    archive.rename(tmp_path / "inbox/a.tar")
    assert import_directory(tmp_path / "inbox", policy=ANY, dest=tmp_path / "there", into="one").imported


REFUSED_LISTS: dict[str, tuple[bytes, str]] = {
    "null": (b"null", "expected an array of images"),
    "an object": (b'{"schemaVersion":2,"layers":[]}', "expected an array of images"),
    "no config": (entry(Config="none"), r"\$\[0\]\.Config: expected the name of a member, found null"),
    "two spellings": (entry(config="x"), r"\$\[0\]\.Config: is there in two spellings"),
    "layers in a string": (entry(Layers="0.tar"), r"\$\[0\]\.Layers: expected an array of strings"),
    "a layer too few": (entry(Layers=["0.tar"]), "1 layers in manifest.json and 2 in c.json"),
    "a layer missing": (entry(Layers=["0.tar", "2.tar"]), "names 2.tar, which is not in the archive"),
    "out of the archive": (entry(Config="../c.json"), "not the name of a member"),
    "up and down": (entry(Config="x/../c.json"), "not the name of a member"),
    "half a character": (entry(Config="\ud800"), "half of a surrogate"),
    "byte order mark": (BOM + entry(), "byte order mark"),
    "two MiB": (entry(x="x" * (2 << 20)), "limit 1,048,576"),
}


@pytest.mark.parametrize("case", REFUSED_LISTS)
def test_refused_lists(tmp_path: Path, case: str) -> None:
    """A list that is none is an error with the place in it."""
    data, message = REFUSED_LISTS[case]
    members = [("c.json", without()), ("0.tar", LOWER), ("1.tar", UPPER), ("manifest.json", data)]
    archive = write(tmp_path / "a.tar", members)
    with pytest.raises((LayoutError, LimitExceededError), match=message):
        list_images(archive)


def oci(path: Path, change: Callable[[dict[str, Any], Store], object] = lambda _document, _store: None) -> Path:
    """Write a layout with one image, with an index.json that something was done to."""
    store = Store()
    image = store.image({"a": b"a"}, platform=False)
    document = {"schemaVersion": 2, "manifests": [image | {"annotations": {REF_NAME: "x"}}]}
    changed = change(document, store)
    store.layout(path, {})
    (path / "index.json").write_bytes(changed if isinstance(changed, bytes) else json.dumps(document).encode())
    return path


def first(**members: Any) -> Callable[[dict[str, Any], Store], object]:
    """Return what changes members of the first entry."""
    return lambda document, _store: document["manifests"][0].update(members)


ODD_INDEXES: dict[str, tuple[Callable[[dict[str, Any], Store], object], list[str | None]]] = {
    "type": (lambda document, _: document.update(mediaType=OCI_INDEX), ["x"]),
    "unknown fields": (lambda document, _: document.update(x=1.5, Y=None, annotations=None), ["x"]),
    "no annotations": (first(annotations=None), [None]),
    "empty name": (first(annotations={REF_NAME: ""}), [None]),
    "name of a registry": (first(annotations={REF_NAME: "quay.io/a/b:1@x"}), ["quay.io/a/b:1@x"]),
    "name that is none": (first(annotations={REF_NAME: "a b"}), ["a b"]),
    "containerd's name alone": (first(annotations={FULL_NAME: "quay.io/a/b:1"}), ["quay.io/a/b:1"]),
    "platform null": (first(platform=None, urls=None, data=None), ["x"]),
    "empty platform": (first(platform={}), ["x"]),
    "twice": (lambda document, _: document["manifests"].append(document["manifests"][0]), ["x", "x"]),
    "other entries": (
        lambda document, store: document["manifests"].insert(0, store.blob("application/x", b"x")),
        ["x"],
    ),
    "an index": (
        lambda document, store: document.update(manifests=[store.index(store.index(document["manifests"][0]))]),
        [None],
    ),
}


@pytest.mark.parametrize("case", ODD_INDEXES)
def test_odd_indexes(tmp_path: Path, case: str) -> None:
    """What an index.json says beside what is needed harms nothing."""
    change, names = ODD_INDEXES[case]
    path = oci(tmp_path / "inbox/layout", change)
    assert [one.name for one in list_images(path)] == names
    for one in list_images(path):
        assert one.reference is not None
        assert inspect(one.reference).config is not None
    done = import_directory(tmp_path / "inbox", policy=ANY, dest=tmp_path / "there", on_error="continue")
    assert bool(done.failed) == (case == "name that is none")


REFUSED_INDEXES: dict[str, tuple[Callable[[dict[str, Any], Store], object], type[OCIKitError], str]] = {
    "byte order mark": (lambda document, _: BOM + json.dumps(document).encode(), LayoutError, "byte order mark"),
    "no version": (lambda document, _: document.pop("schemaVersion"), LayoutError, "schemaVersion: expected 2"),
    "version in words": (lambda document, _: document.update(schemaVersion="2"), LayoutError, "found '2'"),
    "no manifests": (lambda document, _: document.pop("manifests") and None, LayoutError, "expected an array"),
    "nothing": (lambda document, _: document.update(manifests=None), ImageNotFoundError, "names are none"),
    "size with a fraction": (first(size=1.5), LayoutError, r"\$\.manifests\[0\]\.size: expected an integer"),
    "size in words": (first(size="7"), LayoutError, "expected an integer"),
    "negative size": (first(size=-1), LayoutError, "size"),
    "no size": (lambda document, _: document["manifests"][0].pop("size"), LayoutError, "size: is REQUIRED and missing"),
    "no type": (lambda document, _: document["manifests"][0].pop("mediaType"), ImageNotFoundError, "names are none"),
    "upper-case digest": (
        lambda document, _: document["manifests"][0].update(digest=document["manifests"][0]["digest"].upper()),
        LayoutError,
        "digest",
    ),
    "other digest": (first(digest=digest_of(b"x")), BlobNotFoundError, "it is not there"),
    "another type": (first(mediaType=OCI_INDEX), ManifestError, "does not belong in a Index"),
    "unknown type": (first(mediaType="application/x"), ImageNotFoundError, "no image is named 'x'"),
    "two of one name": (
        lambda document, store: document["manifests"].append(
            store.image({"b": b"b"}) | {"annotations": {REF_NAME: "x"}}
        ),
        AmbiguousImageError,
        "2 different images are named 'x'; choose @0 or @1",
    ),
    "half": (lambda document, _: json.dumps(document).encode()[:40], LayoutError, "not JSON"),
    "too large": (lambda document, _: document.update(x="x" * (4 << 20)), LimitExceededError, "limit 4,194,304"),
}


@pytest.mark.parametrize("case", REFUSED_INDEXES)
def test_refused_indexes(tmp_path: Path, case: str) -> None:
    """What an index.json must say it must say, in one way."""
    change, error, message = REFUSED_INDEXES[case]
    path = oci(tmp_path / "l", change)
    with pytest.raises(error, match=message):
        inspect(f"oci:{path}:x")


def test_names_of_containerd(tmp_path: Path) -> None:
    """An image is found by its name, and where none has that name by the one that containerd gave it."""
    full = "docker.io/library/app:latest"

    def change(document: dict[str, Any], store: Store) -> None:
        other = store.image({"b": b"b"}) | {"annotations": {REF_NAME: full}}
        document["manifests"][0]["annotations"] = {REF_NAME: "latest", FULL_NAME: full}
        document["manifests"].append(other)

    path = oci(tmp_path / "l", change)
    assert [one.name for one in list_images(path)] == ["latest", full]
    assert inspect(f"oci:{path}:{full}").digest == list_images(path)[1].descriptor.digest
    path = oci(tmp_path / "m", first(annotations={REF_NAME: "latest", FULL_NAME: full}))
    assert inspect(f"oci:{path}:{full}").digest == inspect(f"oci:{path}:latest").digest


def test_blobs_that_are_none(tmp_path: Path) -> None:
    """A directory or a link in the place of a blob is refused, and the wrong content is found out."""
    cases: list[tuple[Callable[[Path], object], tuple[type[Exception], ...]]] = [
        (lambda path: path.mkdir(), (LayoutError, BlobNotFoundError)),
        (lambda path: path.symlink_to(tmp_path / "elsewhere"), (LayoutError, BlobNotFoundError)),
        (lambda path: path.write_bytes(b"{}"), (VerificationError,)),
        (lambda path: path.write_bytes(bytes(7)), (VerificationError,)),
    ]
    for number, (make, error) in enumerate(cases):
        path = oci(tmp_path / str(number))
        blob = path / "blobs" / list_images(path)[0].descriptor.digest.replace(":", "/")
        (tmp_path / "elsewhere").write_bytes(blob.read_bytes())
        blob.unlink()
        make(blob)
        with pytest.raises(error):
            inspect(f"oci:{path}:x")


def test_a_layer_that_is_called_what_it_is_not(tmp_path: Path, here: Path) -> None:
    """How a layer is compressed is seen by its content; what vouches for that is the configuration."""
    store = Store()
    document = {
        "schemaVersion": 2,
        "config": store.json(OCI_CONFIG, config(LOWER)),
        "layers": [store.blob(OCI_LAYER, LOWER)],
    }
    path = store.layout(tmp_path / "l", {"x": store.json(OCI_MANIFEST, document)})
    unpack(f"oci:{path}:x", here / "root", policy=ANY)
    document["config"] = store.json(OCI_CONFIG, config(UPPER))
    path = store.layout(tmp_path / "m", {"x": store.json(OCI_MANIFEST, document)})
    with pytest.raises(DigestMismatchError, match="diffID"):
        unpack(f"oci:{path}:x", here / "other", policy=ANY)


def framed(data: bytes, extra: bytes = b"", *, named: bool = False) -> bytes:
    """Return a member of gzip with fields that few write: an extra field, a name and a comment."""
    flags = (4 if extra else 0) | (8 | 16 if named else 0)
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\1\2\3\4\2\3"
    head += len(extra).to_bytes(2, "little") + extra if extra else b""
    head += b"layer.tar\0no comment\0" if named else b""
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(data) + packer.flush()
    return head + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def skippable(data: bytes) -> bytes:
    """Return a frame that readers of zstd skip."""
    return b"\x5e\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def zstd(data: bytes) -> bytes:
    """Compress data by zstd."""
    return subprocess.run(["zstd", "-c", "-q"], input=data, check=True, capture_output=True).stdout


ZSTD_LAYER = OCI_LAYER.replace("gzip", "zstd")
ODD_COMPRESSION: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip with a name": (lambda data: framed(data, named=True), OCI_LAYER),
    "estargz": (
        lambda data: framed(data[:512]) + framed(data[512:]) + framed(b"", b"SG\x16\0" + b"0" * 16 + b"STARGZ"),
        OCI_LAYER,
    ),
    "gzip with an empty member": (lambda data: GZIPPED_NOTHING + framed(data), OCI_LAYER),
    "zstd:chunked": (lambda data: zstd(data[:512]) + zstd(data[512:]) + skippable(b"x") + skippable(b""), ZSTD_LAYER),
    "zstd behind a frame": (lambda data: skippable(b"") + zstd(data), ZSTD_LAYER),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD_COMPRESSION)
def test_odd_compression(tmp_path: Path, here: Path, case: str) -> None:
    """Layers made to be read in parts are layers; as all the bytes they are, and as all that comes out of them."""
    pack, kind = ODD_COMPRESSION[case]
    store = Store()
    document = {
        "schemaVersion": 2,
        "config": store.json(OCI_CONFIG, config(LOWER, UPPER)),
        "layers": [store.blob(kind, pack(one)) for one in (LOWER, UPPER)],
    }
    path = store.layout(tmp_path / "l", {"x": store.json(OCI_MANIFEST, document)})
    result = copy.image(
        ANY, dest=f"oci:{here}/l:x", src=f"oci:{path}:x", options=copy.CopyOptions(verify_diff_ids=True)
    )
    assert len(result.copied) == 3
    copy.image(ANY, dest=f"docker-archive:{here}/d.tar:x:1", src=f"oci:{path}:x")
    assert [layer.digest for layer in inspect(f"docker-archive:{here}/d.tar").layers] == DIFFS
    unpack(f"oci:{path}:x", here / "root", policy=ANY)
    assert (here / "root/etc/app").read_bytes() == b"two"
