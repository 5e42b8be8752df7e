"""The images of the matrix: stand-ins with the traits of real ones, and real ones from a directory, on request.

A row is a name and what makes the image: the original, in the form in which such images are found. Originals are made
without any code of ocikit, and what is to be expected of the image is read from the files of the original by hand.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from builders import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Store,
    config_of,
    digest_of,
)
from stores import Tar

if TYPE_CHECKING:
    from collections.abc import Callable

#: The variable that names a directory with real images; without it there are only the stand-ins.
VARIABLE: Final = "OCIKIT_IMAGES"
PLATFORM: Final = {"architecture": "amd64", "os": "linux"}
CREATED: Final = "2024-09-26T21:31:42.123456789Z"
ZSTD_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
ABOUT: Final[dict[str, Any]] = {
    "created": CREATED,
    "config": {
        "User": "1000:100",
        "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "EMPTY="],
        "Entrypoint": ["/bin/busybox"],
        "Cmd": ["sh", "-c", "echo 'äöü' \"$0\""],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"com.example.title": "ünïcode", "com.example.empty": "", "maintainer": "nobody <nobody@example>"},
        "StopSignal": "SIGQUIT",
    },
}


class Original(NamedTuple):
    """An image in the form in which it was found.

    Attributes:
        transport: The transport of that form.
        name: Its image name.
        plain_name: Its image name for those who cannot read it compressed as a whole.
        manifest: The bytes of its manifest or index; empty where the form has none.
        config: The bytes of the configuration of the image for this platform.
        layers: The layers of that image as files, as they are stored.
        plain: The same layers, decompressed.
    """

    transport: str
    name: str
    plain_name: str
    manifest: bytes
    config: bytes
    layers: tuple[Path, ...]
    plain: tuple[Path, ...]

    @property
    def is_index(self) -> bool:
        """Whether it has several platforms."""
        return b'"manifests"' in self.manifest


def _unpacked(data: bytes) -> bytes:
    program = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}.get(data[:2])
    if program is None:
        return data
    return subprocess.run([program, "-dc"], input=data, check=True, capture_output=True).stdout


def _packed(data: bytes, program: str) -> bytes:
    return subprocess.run([program, "-1", "-c"], input=data, check=True, capture_output=True).stdout


def _files(work: Path, kind: str, contents: list[bytes]) -> tuple[Path, ...]:
    paths = tuple(work / f"{kind}-{number}.tar" for number in range(len(contents)))
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    return paths


def _of_layout(layout: Path, name: str, work: Path) -> Original:
    """Read a layout with one image, or one of several platforms."""

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    data = blob(entry["digest"])
    document = json.loads(data)
    if "manifests" in document:
        document = json.loads(blob(next(e["digest"] for e in document["manifests"] if _fits(e["platform"]))))
    layers = [blob(one["digest"]) for one in document["layers"]]
    return Original(
        transport="oci",
        name=f"oci:{layout}:{name}",
        plain_name=f"oci:{layout}:{name}",
        manifest=data,
        config=blob(document["config"]["digest"]),
        layers=_files(work, "layer", layers),
        plain=_files(work, "plain", [_unpacked(one) for one in layers]),
    )


def _fits(platform: dict[str, str]) -> bool:
    return PLATFORM.items() <= platform.items()


def _of_saved(archive: Path, work: Path) -> Original:
    """Read a file of ``docker save`` that is compressed as a whole and has one image."""
    whole = work / "saved.tar"
    whole.write_bytes(_unpacked(archive.read_bytes()))
    with tarfile.open(whole) as members:

        def member(name: str) -> bytes:
            found = members.extractfile(name)
            assert found is not None, name
            return found.read()

        (entry,) = json.loads(member("manifest.json"))
        layers = [member(name) for name in entry["Layers"]]
        config = member(entry["Config"])
    plain = _files(work, "plain", layers)
    return Original("docker-archive", f"docker-archive:{archive}", f"docker-archive:{whole}", b"", config, plain, plain)


# Stand-ins


def _busybox() -> bytes:
    """One program, and its names: some of them hard links, as in the image of that name."""
    tar = Tar().add("bin", type_=tarfile.DIRTYPE, mode=0o755)
    tar.add("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755)
    for name in ("sh", "ls", "cat"):
        tar.add(f"bin/{name}", type_=tarfile.LNKTYPE, linkname="bin/busybox", mode=0o755)
    return tar.add("tmp", type_=tarfile.DIRTYPE, mode=0o1777).add("etc/passwd", b"root:x:0:0::/:/bin/sh\n").done()


def _alpine() -> bytes:
    """Many links to one program, packages, a database; members that begin with ``./``."""
    tar = Tar(tarfile.USTAR_FORMAT).add("./bin", type_=tarfile.DIRTYPE, mode=0o755)
    tar.add("./bin/busybox", Path("/bin/busybox").read_bytes()[:50_000], mode=0o755)
    for number in range(100):
        tar.add(f"./bin/name{number}", type_=tarfile.SYMTYPE, linkname="/bin/busybox", mode=0o777)
    tar.add("./bin/bbsuid", b"x" * 14_000, mode=0o4711).add("./etc/shadow", b"root:*::0:::::\n", mode=0o640, gid=42)
    tar.add("./lib/apk/db/installed", b"P:musl\nV:1.2.5\n" * 500).add("./var/lock", type_=tarfile.DIRTYPE)
    return tar.add("./var/run", type_=tarfile.SYMTYPE, linkname="../run").done()


def _debian() -> list[bytes]:
    """Devices, set-uid files, hard links, long names, attributes; then a layer that changes and removes."""
    tar = Tar()
    for name in ("dev", "usr", "usr/bin", "usr/share", "usr/share/doc", "usr/share/ca-certificates", "gone", "var"):
        tar.add(name, type_=tarfile.DIRTYPE, mode=0o755)
    tar.add("bin", type_=tarfile.SYMTYPE, linkname="usr/bin")
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        tar.add(f"dev/{name}", type_=tarfile.CHRTYPE, devmajor=1, devminor=minor, mode=0o666)
    tar.add("dev/initctl", type_=tarfile.FIFOTYPE, mode=0o600)
    tar.add("usr/bin/perl", b"p" * 70_000, mode=0o755)
    tar.add("usr/bin/perl5.36.0", type_=tarfile.LNKTYPE, linkname="usr/bin/perl", mode=0o755)
    tar.add("usr/bin/passwd", b"s" * 6000, mode=0o4755).add("usr/bin/chage", b"g" * 8000, mode=0o2755, gid=42)
    for number in range(200):
        directory = f"usr/share/doc/{'package' * 20}-{number}"
        tar.add(directory, type_=tarfile.DIRTYPE, mode=0o755).add(f"{directory}/copyright", b"GPL\n" * number)
    tar.add("usr/bin/labelled", b"l", pax_headers={"SCHILY.xattr.user.test": "välue"})
    tar.add("usr/share/ca-certificates/NetLock_Arany_=Class_Gold=_Főtanúsítvány.crt", b"c" * 1476)
    tar.add("gone/file", b"gone").add("var/cache", type_=tarfile.DIRTYPE, mode=0o755).add("var/cache/old", b"old")
    above = Tar().add(".wh.gone").add("var", type_=tarfile.DIRTYPE, mode=0o755)
    above.add("var/cache", type_=tarfile.DIRTYPE, mode=0o700).add("var/cache/.wh..wh..opq").add("var/cache/new", b"n")
    return [tar.done(), above.done()]


def _add_image(store: Store, plain: list[bytes], types: list[str], **platform: str) -> Descriptor:
    """Add an image with these layers in these types; the steps in its making are one more than its layers."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        OCI_LAYER: lambda data: gzip.compress(data, 6, mtime=0),
        ZSTD_LAYER: lambda data: _packed(data, "zstd"),
    }
    history: list[dict[str, Any]] = [
        {"created": CREATED, "created_by": f"ADD layer {number}"} for number in range(len(plain))
    ]
    history.insert(1, {"created": CREATED, "created_by": 'CMD ["sh"]', "empty_layer": True})
    config = config_of(*map(digest_of, plain), **ABOUT, history=history, **platform)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.json(OCI_CONFIG, config),
        "layers": [store.blob(kind, packers[kind](data)) for kind, data in zip(types, plain, strict=True)],
    }
    return store.json(OCI_MANIFEST, document, platform=PLATFORM | platform)


def _stand_in(plain: list[bytes], types: list[str], name: str, work: Path) -> Original:
    store = Store()
    return _of_layout(store.layout(work / "layout", {name: _add_image(store, plain, types)}), name, work)


def _busybox_image(work: Path) -> Original:
    return _stand_in([_busybox()], [OCI_LAYER], "busybox:1.35.0", work)


def _alpine_image(work: Path) -> Original:
    return _stand_in([_alpine()], [OCI_LAYER], "alpine", work)


def _debian_image(work: Path) -> Original:
    return _stand_in(_debian(), [ZSTD_LAYER, OCI_LAYER], "bookworm-slim", work)


def _several_platforms(work: Path) -> Original:
    """Five platforms; two of them have programs, the others something small."""
    store = Store()
    others = ({"architecture": "arm64", "variant": "v8"}, {"architecture": "arm", "variant": "v7"})
    more = ({"architecture": "386"}, {"architecture": "riscv64"})
    images = [_add_image(store, [_busybox()], [OCI_LAYER])]
    images += [_add_image(store, [_alpine()], [OCI_LAYER], **one) for one in others[:1]]
    images += [_add_image(store, [Tar().add(str(one)).done()], [OCI_LAYER], **one) for one in (*others[1:], *more)]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": images}
    layout = store.layout(work / "layout", {"1.35.0": store.json(OCI_INDEX, index)})
    return _of_layout(layout, "1.35.0", work)


def _pulled_image(work: Path) -> Original:
    """What a registry has of an image that Docker built: Docker's manifest, compressed layers; kept in a ``dir``."""
    store, plain = Store(), [_alpine(), Tar().add("etc/issue", b"welcome\n").done()]
    config = _docker_config(plain)
    packed = [_packed(one, "gzip") for one in plain]
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": store.blob(DOCKER_CONFIG, config),
        "layers": [store.blob(DOCKER_LAYER, one) for one in packed],
    }
    top = store.json(DOCKER_MANIFEST, document)
    name = f"dir:{store.directory(work / 'pulled', top)}"
    files = _files(work, "layer", packed), _files(work, "plain", plain)
    return Original("dir", name, name, store.blobs[top["digest"]], config, *files)


def _saved_image(work: Path) -> Original:
    """What ``docker save`` wrote before Docker 25: a directory for each layer, what only Docker knows in the config."""
    plain = [_alpine(), Tar().add("etc/motd", b"welcome\n").done()]
    archive = work / "saved.tar.gz"
    archive.write_bytes(_packed(_docker_save(_docker_config(plain), plain, "alpine:3.10"), "gzip"))
    return _of_saved(archive, work)


def _docker_config(plain: list[bytes]) -> bytes:
    """Return a configuration with what only Docker knows."""
    history: list[dict[str, Any]] = [{"created": CREATED, "created_by": "/bin/sh -c #(nop) ADD file:1 in / "}] * 2
    history.append({"created": CREATED, "created_by": "/bin/sh -c #(nop)  CMD", "empty_layer": True})
    only_docker = {"Hostname": "", "ArgsEscaped": True, "OnBuild": ["RUN x"], "Healthcheck": {"Test": ["NONE"]}}
    config = config_of(
        *map(digest_of, plain),
        created=CREATED,
        config=ABOUT["config"] | only_docker,
        container="7f4a36a667d1",
        docker_version="18.06.1-ce",
        history=history,
    )
    return json.dumps(config).encode()


def _docker_save(config: bytes, layers: list[bytes], name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as made:

        def add(path: str, data: bytes | None) -> None:
            member = tarfile.TarInfo(path)
            member.type, member.size = (tarfile.DIRTYPE, 0) if data is None else (tarfile.REGTYPE, len(data))
            made.addfile(member, io.BytesIO(data or b""))

        ids = [digest_of(b"id" + one)[7:] for one in layers]
        for number, (identifier, data) in enumerate(zip(ids, layers, strict=True)):
            parent = {"parent": ids[number - 1]} if number else {}
            add(f"{identifier}/", None)
            add(f"{identifier}/VERSION", b"1.0")
            add(f"{identifier}/json", json.dumps({"id": identifier, "os": "linux", **parent}).encode())
            add(f"{identifier}/layer.tar", data)
        member = f"{digest_of(config)[7:]}.json"
        add(member, config)
        entry = {"Config": member, "RepoTags": [name], "Layers": [f"{one}/layer.tar" for one in ids]}
        add("manifest.json", json.dumps([entry]).encode())
        repository, _, tag = name.partition(":")
        add("repositories", json.dumps({repository: {tag: ids[-1]}}).encode() + b"\n")
    return stream.getvalue()


# Real ones


def _real_layout(where: str, name: str) -> Callable[[Path], Original]:
    return lambda work: _of_layout(_place() / where, name, work)


def _real_tree(where: str, media_type: str) -> Callable[[Path], Original]:
    """Return what makes an image of a packed root file system."""

    def made(work: Path) -> Original:
        data = (_place() / where).read_bytes()
        store = Store()
        config = store.json(OCI_CONFIG, config_of(digest_of(_unpacked(data)), **ABOUT))
        layer = store.blob(media_type, data)
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        top = store.json(OCI_MANIFEST, document)
        return _of_layout(store.layout(work / "layout", {"real": top}), "real", work)

    return made


def _real_program(work: Path) -> Original:
    tar = Tar().add("hello", (_place() / "hello-world/hello").read_bytes(), mode=0o755)
    return _stand_in([tar.done()], [OCI_LAYER], "hello-world", work)


def _place() -> Path:
    return Path(os.environ[VARIABLE])


STAND_INS: Final[dict[str, Callable[[Path], Original]]] = {
    "busybox": _busybox_image,
    "alpine": _alpine_image,
    "debian": _debian_image,
    "platforms": _several_platforms,
    "pulled": _pulled_image,
    "saved": _saved_image,
}
REAL: Final[dict[str, Callable[[Path], Original]]] = {
    "real-busybox-glibc": _real_layout("busybox-oci/glibc-amd64", "busybox:1.37.0-glibc"),
    "real-busybox-musl": _real_layout("busybox-oci/musl-amd64", "busybox:1.37.0-musl"),
    "real-platforms": _real_layout("busybox-oci/multiarch", "1.37.0"),
    "real-alpine": _real_tree("alpine/alpine-minirootfs-3.20.3-x86_64.tar.gz", OCI_LAYER),
    "real-debian": _real_tree("debian/bookworm-slim-debootstrap.tar.zst", ZSTD_LAYER),
    "real-saved": lambda work: _of_saved(_place() / "docker-archive/alpine-310-docker-save.tar.gz", work),
    "real-hello": _real_program,
}
#: Every image there is in this run, by its name in the matrix.
IMAGES: Final = STAND_INS | (REAL if os.environ.get(VARIABLE) else {})
