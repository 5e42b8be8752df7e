"""Images in the very shape in which other programs publish them, byte by byte, without any code of ocikit.

Every maker of :data:`ARCHIVES` and :data:`LAYOUTS` puts one image or several, of the same two layers, into a directory
and says what is to be found: the names, and what skopeo is to be asked for, where version 1.9.3 can read it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
from typing import TYPE_CHECKING, Any, NamedTuple

from builders import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Store,
    digest_of,
)
from layers import END, directory, file, layer, symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: What is in every image, and in which layer.
LOWER = layer(directory(b"etc/"), file(b"etc/app", b"one"), file(b"etc/gone", b"gone"))
UPPER = layer(file(b"./etc/.wh.gone"), file(b"./etc/app", b"two"), file(b"/usr/bin/app", b"#!", mode=0o755))
FILES = {"etc/app": b"two", "usr/bin/app": b"#!"}
GONE = "etc/gone"
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
LAYOUT = file(b"oci-layout", b'{"imageLayoutVersion":"1.0.0"}', mode=0o444)
PLATFORM = {"architecture": "amd64", "os": "linux"}
STATEMENT = "application/vnd.in-toto+json"


class Made(NamedTuple):
    """What a maker made."""

    path: Path
    #: What ``list_images`` calls the images, in order.
    names: Sequence[str | None]
    #: What skopeo is to be asked for; empty where 1.9.3 cannot read it.
    peer: str = ""


def config(*diffs: bytes, **more: Any) -> dict[str, Any]:
    """Return a configuration as Docker writes it."""
    return {
        "architecture": "amd64",
        "config": {"Env": ["PATH=/usr/bin"], "Cmd": ["/usr/bin/app"], "OnBuild": None, "Labels": None},
        "created": "2024-02-03T04:05:06.123456789Z",
        "history": [{"created": "2024-02-03T04:05:06Z", "created_by": f"step {n}"} for n, _ in enumerate(diffs)],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(diff) for diff in diffs]},
    } | more


CONFIG = json.dumps(config(LOWER, UPPER), separators=(",", ":")).encode()
OTHER = json.dumps(config(LOWER, author="somebody else"), separators=(",", ":")).encode()
ID, OTHER_ID = hashlib.sha256(CONFIG).hexdigest(), hashlib.sha256(OTHER).hexdigest()
V1 = "a1" * 32, "b2" * 32, "c3" * 32


def hex_of(data: bytes) -> str:
    """Return the hexadecimal digits of a digest."""
    return hashlib.sha256(data).hexdigest()


def listing(*entries: tuple[str, Sequence[str], Sequence[str] | None], **more: Any) -> bytes:
    """Return manifest.json: of each image the configuration, the layers and the names."""
    made = [{"Config": about, "RepoTags": tags, "Layers": list(layers)} | more for about, layers, tags in entries]
    return file(b"manifest.json", json.dumps(made).encode())


def save(path: Path, *entries: bytes, end: bytes = END) -> Path:
    """Write a tar file."""
    path.write_bytes(b"".join(entries) + end)
    return path


def legacy(v1: str, content: bytes | None, link: bytes = b"") -> bytes:
    """Return the directory that Docker before 1.10 has for a layer."""
    name = v1.encode()
    inner = file(name + b"/layer.tar", content) if content is not None else symlink(name + b"/layer.tar", link)
    about = file(name + b"/json", json.dumps({"id": v1}).encode())
    return directory(name + b"/") + file(name + b"/VERSION", b"1.0") + about + inner


def blob(data: bytes, suffix: str = "") -> bytes:
    """Return the member for a blob of a layout."""
    return file(f"blobs/sha256/{hex_of(data)}{suffix}".encode(), data)


def docker_1_10(at: Path) -> Made:
    """A directory for each layer, members in pax format with times of nanoseconds."""
    repositories = json.dumps({"app": {"1": V1[1]}}).encode()
    path = save(
        at / "docker.tar",
        *(legacy(V1[0], LOWER), legacy(V1[1], UPPER)),
        file(f"{ID}.json".encode(), CONFIG, pax={b"mtime": b"1454000000.123456789"}),
        listing((f"{ID}.json", [f"{V1[0]}/layer.tar", f"{V1[1]}/layer.tar"], ["app:1"])),
        file(b"repositories", repositories),
    )
    return Made(path, ["app:1"], f"docker-archive:{path}")


def docker_17(at: Path) -> Made:
    """Two images, one without a name, one with two; a layer of both is a link to that of the other."""
    path = save(
        at / "docker.tar",
        *(legacy(V1[0], LOWER), legacy(V1[1], UPPER), legacy(V1[2], None, f"../{V1[0]}/layer.tar".encode())),
        *(file(f"{ID}.json".encode(), CONFIG), file(f"{OTHER_ID}.json".encode(), OTHER)),
        listing(
            (f"{ID}.json", [f"{V1[0]}/layer.tar", f"{V1[1]}/layer.tar"], ["app:1", "localhost:5000/team/app:latest"]),
            (f"{OTHER_ID}.json", [f"{V1[2]}/layer.tar"], None),
        ),
    )
    return Made(
        path, ["app:1", "localhost:5000/team/app:latest", None], f"docker-archive:{path}:docker.io/library/app:1"
    )


def windows_separators(at: Path) -> Made:
    """Members are listed with the separator of Windows and written with that of tar."""
    path = save(
        at / "windows.tar",
        *(legacy(V1[0], LOWER), legacy(V1[1], UPPER), file(f"{ID}.json".encode(), CONFIG)),
        listing((f"{ID}.json", [f"{V1[0]}\\layer.tar", f"{V1[1]}\\layer.tar"], ["app:1"])),
    )
    return Made(path, ["app:1"])  # only Docker on Windows reads it beside us


def _oci_manifest(about: bytes, layers: Sequence[tuple[bytes, str]]) -> bytes:
    described = [{"mediaType": kind, "digest": digest_of(data), "size": len(data)} for data, kind in layers]
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(about), "size": len(about)},
            "layers": described,
        }
    ).encode()


def _entry(data: bytes, full: str = "", kind: str = OCI_MANIFEST, **more: Any) -> dict[str, Any]:
    noted = {FULL_NAME: full, REF_NAME: full.rpartition(":")[2]} if full else {}
    noted |= more.pop("annotations", {})
    made = {"mediaType": kind, "digest": digest_of(data), "size": len(data)} | more
    return made | ({"annotations": noted} if noted else {})


def _index(*entries: dict[str, Any], media_type: str | None = OCI_INDEX) -> bytes:
    typed = {"mediaType": media_type} if media_type else {}
    return json.dumps({"schemaVersion": 2, **typed, "manifests": list(entries) or None}).encode()


PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = _oci_manifest(CONFIG, [(LOWER, PLAIN_LAYER), (UPPER, PLAIN_LAYER)])
OTHER_MANIFEST = _oci_manifest(OTHER, [(LOWER, PLAIN_LAYER)])
BLOBS = blob(LOWER) + blob(UPPER) + blob(CONFIG) + blob(MANIFEST)
PARTS = f"blobs/sha256/{ID}", [f"blobs/sha256/{hex_of(one)}" for one in (LOWER, UPPER)]
OTHER_PARTS = f"blobs/sha256/{OTHER_ID}", PARTS[1][:1]


def docker_25(at: Path) -> Made:
    """A layout, and beside it Docker's list, which says where layers came from."""
    sources = {digest_of(LOWER): {"mediaType": PLAIN_LAYER, "size": len(LOWER), "digest": digest_of(LOWER)}}
    path = save(
        at / "docker.tar",
        *(directory(b"blobs/"), directory(b"blobs/sha256/"), BLOBS),
        file(b"index.json", _index(_entry(MANIFEST, "docker.io/library/app:1"))),
        listing((*PARTS, ["app:1"]), LayerSources=sources),
        *(LAYOUT, file(b"repositories", json.dumps({"app": {"1": hex_of(UPPER)}}).encode())),
    )
    return Made(path, ["1"], f"docker-archive:{path}:app:1")


def docker_25_without_names(at: Path) -> Made:
    """The index lists nothing, in Go's way, while Docker's list has an image."""
    path = save(at / "d.tar", BLOBS, file(b"index.json", _index()), listing((*PARTS, None)), LAYOUT)
    return Made(path, [None], f"docker-archive:{path}")


def docker_25_with_and_without_names(at: Path) -> Made:
    """The index leaves out the image that has no name."""
    index = _index(_entry(MANIFEST, "docker.io/library/app:1"))
    path = save(
        at / "docker.tar",
        *(BLOBS, blob(OTHER), blob(OTHER_MANIFEST), file(b"index.json", index)),
        listing((*PARTS, ["app:1"]), (*OTHER_PARTS, None)),
        LAYOUT,
    )
    return Made(path, ["app:1", None], f"docker-archive:{path}:app:1")


def docker_25_of_one_tag(at: Path) -> Made:
    """The index calls several images by the same tag, and tells them apart by what containerd calls them."""
    names = "docker.io/library/app:latest", "quay.io/team/db:latest"
    index = _index(_entry(MANIFEST, names[0]), _entry(OTHER_MANIFEST, names[1]))
    path = save(
        at / "docker.tar",
        *(BLOBS, blob(OTHER), blob(OTHER_MANIFEST), file(b"index.json", index)),
        listing((*PARTS, ["app:latest"]), (*OTHER_PARTS, ["quay.io/team/db:latest"])),
        LAYOUT,
    )
    return Made(path, names, f"docker-archive:{path}:app")


def docker_25_on_windows(at: Path) -> Made:
    """The manifest of the index has layers as a registry has them, which are in the archive in another form."""
    far = gzip.compress(LOWER, mtime=0)
    manifest = _oci_manifest(CONFIG, [(far, DOCKER_LAYER), (UPPER, PLAIN_LAYER)])
    index = _index(_entry(manifest, "docker.io/library/app:1"))
    path = save(
        at / "docker.tar",
        *(blob(LOWER), blob(UPPER), blob(CONFIG), blob(manifest), file(b"index.json", index)),
        listing((*PARTS, ["app:1"])),
        LAYOUT,
    )
    return Made(path, ["app:1"], f"docker-archive:{path}")


def _attested(*, sparse: bool = False) -> tuple[bytes, bytes]:
    """Return an index with an image and what BuildKit attests of it, and the members it leads to."""
    lower, upper = (gzip.compress(one, mtime=0) for one in (LOWER, UPPER))
    manifest = _oci_manifest(CONFIG, [(lower, OCI_LAYER), (upper, OCI_LAYER)])
    statement = b'{"_type":"https://in-toto.io/Statement/v0.1","predicate":{}}'
    about = b'{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
    attestation = _oci_manifest(about, [(statement, STATEMENT)])
    noted = {"vnd.docker.reference.digest": digest_of(manifest), "vnd.docker.reference.type": "attestation-manifest"}
    entries = [
        _entry(manifest, platform=PLATFORM),
        _entry(attestation, annotations=noted, platform={"architecture": "unknown", "os": "unknown"}),
    ]
    if sparse:
        entries.insert(1, _entry(b"elsewhere", platform={"architecture": "arm64", "os": "linux", "variant": "v8"}))
    parts = (lower, upper, CONFIG, manifest, statement, about, attestation)
    return _index(*entries), b"".join(map(blob, parts))


def docker_with_containerd(at: Path) -> Made:
    """An index of which one platform is there, compressed layers, attestations; Docker's list has that platform."""
    index, blobs = _attested(sparse=True)
    layers = [f"blobs/sha256/{hex_of(gzip.compress(one, mtime=0))}" for one in (LOWER, UPPER)]
    top = _index(_entry(index, "docker.io/library/app:1", OCI_INDEX))
    listed = listing((f"blobs/sha256/{ID}", layers, ["app:1"]))
    path = save(at / "docker.tar", blobs, blob(index), file(b"index.json", top), listed, LAYOUT)
    return Made(path, ["1"], f"docker-archive:{path}:app:1")


def podman_save(at: Path) -> Made:
    """Layers by their digests, directories of old with links to them, times of 0."""
    names = [f"{hex_of(one)}.tar" for one in (LOWER, UPPER)]
    path = save(
        at / "podman.tar",
        *(file(name.encode(), data, mode=0o444, mtime=0) for name, data in zip(names, (LOWER, UPPER), strict=True)),
        *(legacy(v1, None, f"../{name}".encode()) for v1, name in zip(V1, names, strict=False)),
        file(f"{ID}.json".encode(), CONFIG),
        listing((f"{ID}.json", names, ["localhost/app:latest"])),
        file(b"repositories", b"{}"),
    )
    return Made(path, ["localhost/app:latest"], f"docker-archive:{path}")


def crane(at: Path) -> Made:
    """What go-containerregistry writes (crane, kaniko, apko): digests as names, layers compressed, foreign ones too."""
    packed = [gzip.compress(one, mtime=0) for one in (LOWER, UPPER)]
    names = [f"{hex_of(one)}.tar.gz" for one in packed]
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    foreign = {"mediaType": kind, "size": len(packed[0]), "digest": digest_of(packed[0]), "urls": ["https://a.example"]}
    path = save(
        at / "crane.tar",
        file(f"sha256:{ID}".encode(), CONFIG),
        *(file(name.encode(), data) for name, data in zip(names, packed, strict=True)),
        listing((f"sha256:{ID}", names, ["registry.example/app:1"]), LayerSources={digest_of(LOWER): foreign}),
    )
    return Made(path, ["registry.example/app:1"], f"docker-archive:{path}")


def jib(at: Path) -> Made:
    """Keys of Docker's list in camel case, directories before members."""
    packed = [gzip.compress(one, mtime=0) for one in (LOWER, UPPER)]
    names = [f"{hex_of(one)}.tar.gz" for one in packed]
    listed = [{"config": "config.json", "repoTags": ["app:1"], "layers": names}]
    path = save(
        at / "jib-image.tar",
        *(file(name.encode(), data) for name, data in zip(names, packed, strict=True)),
        file(b"config.json", CONFIG),
        file(b"manifest.json", json.dumps(listed).encode()),
    )
    return Made(path, ["app:1"], f"docker-archive:{path}")


def rules_docker(at: Path) -> Made:
    """The list comes last, a layer is a link to another member, the name is that of a label."""
    path = save(
        at / "image.tar",
        file(f"{ID}.json".encode(), CONFIG, mtime=0),
        file(f"{hex_of(LOWER)}/layer.tar".encode(), LOWER, mtime=0),
        file(b"upper.tar", UPPER, mtime=0),
        symlink(f"{hex_of(UPPER)}/layer.tar".encode(), b"../upper.tar"),
        file(b"repositories", b"{}"),
        listing(
            (f"{ID}.json", [f"{hex_of(one)}/layer.tar" for one in (LOWER, UPPER)], ["bazel/app:image"]),
        ),
    )
    return Made(path, ["bazel/app:image"])  # skopeo 1.9.3 takes the link for a layer of 0 bytes


def rules_oci(at: Path) -> Made:
    """Members are called like the blobs of a layout, layers with a suffix; there is no layout."""
    packed = [gzip.compress(one, mtime=0) for one in (LOWER, UPPER)]
    names = [f"blobs/sha256/{hex_of(one)}.tar.gz" for one in packed]
    path = save(
        at / "tarball.tar",
        listing((f"blobs/sha256/{ID}", names, ["app:latest"])),
        *(blob(CONFIG), *(blob(one, ".tar.gz") for one in packed)),
    )
    return Made(path, ["app:latest"], f"docker-archive:{path}")


def nix(at: Path) -> Made:
    """A compressed file, members below ``./``, times of 1; the configuration is spelled as its author pleased."""
    about = config(LOWER, UPPER, created="1970-01-01T00:00:01+00:00", history=[])
    about["config"] = {"cmd": ["/usr/bin/app"], "env": ["A=b"], "Volumes": {"/data": None}}
    data = json.dumps(about, indent=4).encode()
    inner = io.BytesIO()
    for entry in (
        directory(b"./", mtime=1),
        directory(b"./" + V1[0].encode(), mtime=1),
        file(f"./{V1[0]}/layer.tar".encode(), LOWER, mtime=1),
        file(f"./{V1[1]}/layer.tar".encode(), UPPER, mtime=1),
        file(f"./{hex_of(data)}.json".encode(), data, mtime=1),
        listing((f"{hex_of(data)}.json", [f"{V1[0]}/layer.tar", f"{V1[1]}/layer.tar"], ["app:0za4k7"])),
    ):
        inner.write(entry)
    path = at / "docker-image-app.tar.gz"
    path.write_bytes(gzip.compress(inner.getvalue() + END + bytes(9 * 1024), mtime=0))
    return Made(path, ["app:0za4k7"])


def packed_by(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], Made]:
    """Return a maker of a file of ``docker save`` that was compressed afterwards."""

    def make(at: Path) -> Made:
        made = docker_17(at)
        path = at / name
        path.write_bytes(pack(made.path.read_bytes()))
        made.path.unlink()
        return Made(path, made.names)

    return make


def buildkit(at: Path) -> Made:
    """An archive of a layout whose only entry has no name, an index with attestations."""
    index, blobs = _attested()
    created = {"org.opencontainers.image.created": "2024-02-03T04:05:06Z"}
    top = _index(_entry(index, "", OCI_INDEX, annotations=created))
    path = save(at / "out.tar", directory(b"blobs/"), blobs, blob(index), file(b"index.json", top), LAYOUT)
    return Made(path, [None], f"oci-archive:{path}")


def buildkit_with_name(at: Path) -> Made:
    """An archive of a layout with the name in full and, as name of the image, its tag."""
    index, blobs = _attested()
    top = _index(_entry(index, "docker.io/library/app:1.2", OCI_INDEX))
    path = save(at / "out.tar", blobs, blob(index), file(b"index.json", top), LAYOUT)
    return Made(path, ["1.2"])


def nerdctl(at: Path) -> Made:
    """What nerdctl and ctr export: images of one tag in a layout, told apart by what containerd calls them."""
    names = "docker.io/library/app:latest", "docker.io/library/db:latest"
    index = _index(_entry(MANIFEST, names[0]), _entry(OTHER_MANIFEST, names[1]))
    path = save(at / "out.tar", BLOBS, blob(OTHER), blob(OTHER_MANIFEST), file(b"index.json", index), LAYOUT)
    return Made(path, names)


def store() -> tuple[Store, dict[str, Any]]:
    """Return a store with the image, layers compressed, and the descriptor of its manifest."""
    made = Store()
    layers = [made.blob(OCI_LAYER, gzip.compress(one, mtime=0)) for one in (LOWER, UPPER)]
    document = {"schemaVersion": 2, "config": made.blob(OCI_CONFIG, CONFIG), "layers": layers}
    return made, made.json(OCI_MANIFEST, document)


def umoci(at: Path) -> Made:
    """A layout whose documents state no type of their own."""
    made, image = store()
    path = made.layout(at / "layout", {"1.0": image})
    return Made(path, ["1.0"], f"oci:{path}:1.0")


def ko(at: Path) -> Made:
    """A layout without names: an index, as go-containerregistry appends it."""
    made, image = store()
    path = made.layout(at / "layout", {"": made.index(image | {"platform": PLATFORM})})
    return Made(path, [None], f"oci:{path}")


def crane_pull(at: Path) -> Made:
    """A layout with manifests of Docker's type, as a registry served them."""
    made = Store()
    layers = [made.blob(DOCKER_LAYER, gzip.compress(one, mtime=0)) for one in (LOWER, UPPER)]
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": made.blob(DOCKER_CONFIG, CONFIG),
        "layers": layers,
    }
    path = made.layout(at / "layout", {"": made.json(DOCKER_MANIFEST, document)})
    return Made(path, [None], f"oci:{path}")


def cosign(at: Path) -> Made:
    """A layout of two entries without names: an image, and its signatures, which look like an image and are none."""
    made, image = store()
    payload = made.blob("application/vnd.dev.cosign.simplesigning.v1+json", b'{"critical":{}}')
    about = config() | {"rootfs": {"type": "layers", "diff_ids": [payload["digest"]]}, "config": {}}
    signed = {"schemaVersion": 2, "config": made.json(OCI_CONFIG, about), "layers": [payload]}
    kind = "kind"
    entries = [
        image | {"annotations": {kind: "dev.cosignproject.cosign/image"}},
        made.json(OCI_MANIFEST, signed) | {"annotations": {kind: "dev.cosignproject.cosign/sigs"}},
    ]
    path = made.layout(at / "layout", {})
    (path / "index.json").write_bytes(_index(*entries))
    return Made(path, [None])


def regctl(at: Path) -> Made:
    """An archive that is a layout with a tag for a name, and Docker's list of one image without a name."""
    made, image = store()
    blobs = b"".join(map(blob, made.blobs.values()))
    layers = [f"blobs/sha256/{hex_of(gzip.compress(one, mtime=0))}" for one in (LOWER, UPPER)]
    top = _index(image | {"annotations": {REF_NAME: "v1"}})
    listed = listing((f"blobs/sha256/{ID}", layers, None))
    path = save(at / "export.tar", LAYOUT, file(b"index.json", top), listed, blobs)
    return Made(path, ["v1"], f"oci-archive:{path}:v1")


def sha512(at: Path) -> Made:
    """A layout with blobs of both algorithms."""
    made = Store()
    packed = [gzip.compress(one, mtime=0) for one in (LOWER, UPPER)]
    layers = [made.blob(OCI_LAYER, data, algorithm=how) for data, how in zip(packed, ("sha256", "sha512"), strict=True)]
    document = {"schemaVersion": 2, "config": made.blob(OCI_CONFIG, CONFIG), "layers": layers}
    path = made.layout(at / "layout", {"1": made.json(OCI_MANIFEST, document)})
    return Made(path, ["1"])


ARCHIVES: dict[str, Callable[[Path], Made]] = {
    "docker 1.10": docker_1_10,
    "docker 17": docker_17,
    "docker on Windows": windows_separators,
    "docker 25": docker_25,
    "docker 25, no names": docker_25_without_names,
    "docker 25, some names": docker_25_with_and_without_names,
    "docker 25, one tag": docker_25_of_one_tag,
    "docker 25 on Windows": docker_25_on_windows,
    "docker with containerd": docker_with_containerd,
    "podman": podman_save,
    "crane": crane,
    "jib": jib,
    "rules_docker": rules_docker,
    "rules_oci": rules_oci,
    "nix": nix,
    "gzip": packed_by("app.tar.gz", gzip.compress),
    "gzip, members": packed_by("app.tgz", lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:])),
    "bzip2": packed_by("app.tar.bz2", bz2.compress),
    "xz, streams": packed_by("app.tar.xz", lambda data: lzma.compress(data[:5000]) + lzma.compress(data[5000:])),
    "buildkit": buildkit,
    "buildkit, name": buildkit_with_name,
    "nerdctl": nerdctl,
    "regctl": regctl,
}

LAYOUTS: dict[str, Callable[[Path], Made]] = {
    "umoci": umoci,
    "ko": ko,
    "crane pull": crane_pull,
    "cosign": cosign,
    "sha512": sha512,
}
