"""Documents that other tools write are read, valid, and written back with the same meaning."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from ocikit.errors import NotSupportedError
from ocikit.spec import (
    Descriptor,
    Digest,
    DockerManifest,
    Document,
    Features,
    Image,
    ImageLayout,
    Index,
    LinuxIDMapping,
    LinuxNamespace,
    Manifest,
    Mount,
    Spec,
    State,
    UserDatabase,
    image_to_runtime,
    mediatypes,
    rootless,
)

CLASSES: dict[str, type[Document]] = {
    mediatypes.IMAGE_INDEX: Index,
    mediatypes.IMAGE_MANIFEST: Manifest,
    mediatypes.IMAGE_CONFIG: Image,
    mediatypes.DOCKER_MANIFEST: DockerManifest,
    mediatypes.DOCKER_CONFIG: Image,
}


def _run(*command: str | Path, cwd: Path | None = None) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, cwd=cwd, timeout=120).stdout


def _meaning(data: Any) -> Any:
    """JSON data without what means the same as its absence to the tools that write it: null and empty."""
    if isinstance(data, dict):
        items = {name: _meaning(value) for name, value in data.items()}
        return {name: value for name, value in items.items() if value is not False and value not in (None, "", [], {})}
    return [_meaning(item) for item in data] if isinstance(data, list) else data


def _read(cls: type[Document], raw: bytes) -> Document:
    """Read a document of a peer and prove that nothing of it is lost."""
    document = cls.from_json(raw)
    assert document.validate() == ()
    assert _meaning(document.to_dict()) == _meaning(json.loads(raw))
    assert cls.from_json(document.to_json()) == document
    return document


def _read_layout(layout: Path) -> list[Document]:
    """Read every document of an image layout, following descriptors."""
    found = [
        _read(ImageLayout, (layout / "oci-layout").read_bytes()),
        _read(Index, (layout / "index.json").read_bytes()),
    ]
    queue = [*found[1].manifests]  # type: ignore[attr-defined]
    while queue:
        descriptor: Descriptor = queue.pop()
        cls = CLASSES.get(descriptor.media_type)
        if cls is None:
            continue  # a layer
        raw = (layout / "blobs" / descriptor.digest.algorithm / descriptor.digest.hex).read_bytes()
        descriptor.verify(raw)
        document = _read(cls, raw)
        found.append(document)
        if isinstance(document, Manifest):
            queue += [document.config, *document.layers]
        elif isinstance(document, Index):
            queue += document.manifests
    return found


@pytest.fixture(scope="module")
def umoci_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with an image that umoci made, which says everything an image can say."""
    base = tmp_path_factory.mktemp("umoci")
    tree = base / "tree" / "etc"
    tree.mkdir(parents=True)
    (tree / "passwd").write_text("app:x:1000:1001::/home/app:/bin/sh\n")
    (tree / "group").write_text("app:x:1001:\nwheel:x:10:app\n")
    _run("umoci", "init", "--layout", "image", cwd=base)
    _run("umoci", "new", "--image", "image:t", cwd=base)
    _run("umoci", "insert", "--rootless", "--image", "image:t", "tree", "/", cwd=base)
    settings = {
        "config.user": "app",
        "config.env": "FOO=bar",
        "config.entrypoint": "/bin/x",
        "config.cmd": "arg",
        "config.workingdir": "/srv",
        "config.label": "com.example=\u00fc",
        "config.stopsignal": "SIGINT",
        "config.exposedports": "80/tcp",
        "config.volume": "/data",
        "author": "Alyssa",
        "created": "2024-09-26T21:31:42.015925234+05:30",
        "manifest.annotation": "com.example.key=value",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    _run("umoci", "config", "--image", "image:t", *options, cwd=base)
    return base / "image"


def test_umoci_images_are_read(umoci_layout: Path) -> None:
    """Everything that umoci puts into a layout."""
    documents = _read_layout(umoci_layout)
    (image,) = (document for document in documents if isinstance(document, Image))
    assert image.config.user == "app"
    assert image.config.labels == {"com.example": "\u00fc"}
    assert image.created is not None
    assert image.created.datetime.microsecond == 15925
    assert [entry.empty_layer for entry in image.history] == [False, True]


def test_skopeo_conversions_are_read(umoci_layout: Path, tmp_path: Path) -> None:
    """What skopeo makes of an image, in OCI and in Docker's format."""
    source = f"oci:{umoci_layout}:t"
    _run("skopeo", "copy", "--insecure-policy", source, f"oci:{tmp_path}/oci:copy")
    assert len(_read_layout(tmp_path / "oci")) == 4
    _run("skopeo", "copy", "--insecure-policy", "--format=v2s2", source, f"dir:{tmp_path}/docker")
    raw = (tmp_path / "docker" / "manifest.json").read_bytes()
    manifest = _read(DockerManifest, raw)
    assert isinstance(manifest, DockerManifest)
    config = (tmp_path / "docker" / manifest.config.digest.hex).read_bytes()
    manifest.config.verify(config)
    _read(Image, config)
    with pytest.raises(ValueError, match="another kind of document"):
        Manifest.from_json(raw)


def test_buildah_images_are_read(tmp_path: Path) -> None:
    """What buildah commits, in OCI and in Docker's format, with fields that only Docker has."""
    store: list[str | Path] = [
        "buildah",
        "--root",
        tmp_path / "store",
        "--runroot",
        tmp_path / "run",
        "--storage-driver",
        "vfs",
    ]
    container = _run(*store, "from", "scratch").decode().strip()
    _run(*store, "config", "--user", "1:2", "--env", "A=b", "--cmd", "sh", "--port", "80", container)
    _run(*store, "config", "--volume", "/data", "--label", "a=b", "--healthcheck", "CMD true", container)
    push = [*store, "commit", "--signature-policy", _permissive(tmp_path), "--disable-compression"]
    _run(*push, "--format", "oci", container, f"oci:{tmp_path}/oci:t")
    assert len(_read_layout(tmp_path / "oci")) == 4
    _run(*push, "--format", "docker", container, f"dir:{tmp_path}/docker")
    manifest = DockerManifest.from_json((tmp_path / "docker" / "manifest.json").read_bytes())
    image = _read(Image, (tmp_path / "docker" / manifest.config.digest.hex).read_bytes())
    assert isinstance(image, Image)
    assert image.config.extra["Healthcheck"]["Test"] == ["CMD", "true"]
    assert image.config.exposed_ports == {"80": {}}


def _permissive(directory: Path) -> Path:
    policy = directory / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return policy


@pytest.mark.parametrize("rootless", [False, True])
def test_the_default_is_what_runc_writes(rootless: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of the test
    """Spec.default() is, byte for byte, what runc spec writes, but for the version and what older ones have ambient."""
    _run("runc", "spec", *(["--rootless"] if rootless else []), cwd=tmp_path)
    raw = (tmp_path / "config.json").read_bytes()
    ours = Spec.default(rootless=rootless, cgroup_namespace=Path("/sys/fs/cgroup/cgroup.controllers").exists())
    # Not one of them is inheritable, so none is granted: asked for in vain up to runc 1.1, and not at all from 1.2 on.
    expected = re.sub(r',\s*"ambient": \[[^]]*\]', "", raw.decode().rstrip("\n"))
    version = json.loads(raw)["ociVersion"]
    assert ours.to_json(indent="\t").decode().replace('"1.3.0"', json.dumps(version), 1) == expected
    _read(Spec, raw)


def test_any_configuration_can_be_made_rootless() -> None:
    """Namespaces, mappings, mounts and limits change as runc changes them, and nothing else does."""
    spec = Spec.default().with_linux(
        namespaces=(*(LinuxNamespace(type=name) for name in ("pid", "network", "mount")), LinuxNamespace(type="user")),
        uid_mappings=(LinuxIDMapping(container_id=0, host_id=7, size=70),),
    )
    tmpfs = Mount(destination="/tmp", type="tmpfs", source="t", options=("uid=5", "gid=6", "mode=1777"))
    spec = evolve(spec, mounts=(*spec.mounts, tmpfs, Mount(destination="//sys/", type="sysfs", source="sysfs")))
    found = rootless(spec, uid=1000, gid=1001)
    assert found.linux is not None
    assert [one.type for one in found.linux.namespaces] == ["pid", "mount", "user"]
    assert found.linux.uid_mappings == (LinuxIDMapping(container_id=0, host_id=1000, size=1),)
    assert found.linux.gid_mappings == (LinuxIDMapping(container_id=0, host_id=1001, size=1),)
    assert found.linux.resources is None
    assert found.mounts[-2].options == ("mode=1777",)
    assert found.mounts[-1].options == ("rbind", "nosuid", "noexec", "nodev", "ro")
    assert "gid=5" not in found.mounts[2].options
    assert evolve(found, linux=spec.linux, mounts=spec.mounts) == spec


def test_a_rootless_default_can_be_for_somebody_else() -> None:
    """The ids of a rootless configuration are the caller's unless stated."""
    own = Spec.default(rootless=True).linux
    other = Spec.default(rootless=True, uid=1000, gid=0).linux
    assert own is not None
    assert other is not None
    assert (own.uid_mappings[0].host_id, own.gid_mappings[0].host_id) == (os.geteuid(), os.getegid())
    assert (other.uid_mappings[0].host_id, other.gid_mappings[0].host_id) == (1000, 0)


def test_a_rootless_default_needs_ids_where_the_platform_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off POSIX nobody has numeric ids to map to; stated ones work everywhere."""
    monkeypatch.delattr(os, "geteuid")
    with pytest.raises(NotSupportedError, match="give uid and gid"):
        Spec.default(rootless=True)
    assert Spec.default(rootless=True, uid=5, gid=6).linux is not None


def test_crun_configurations_are_read(tmp_path: Path) -> None:
    """What crun spec writes."""
    _run("crun", "spec", cwd=tmp_path)
    _read(Spec, (tmp_path / "config.json").read_bytes())


def test_runc_features_are_read() -> None:
    """What runc says it can do."""
    features = _read(Features, _run("runc", "features"))
    assert isinstance(features, Features)
    assert features.linux is not None
    assert features.linux.cgroup is not None
    assert features.linux.cgroup.v1 is True
    assert features.linux.selinux is not None
    assert features.linux.net_devices is None
    assert features.hooks == ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def test_what_features_leave_out_stays_unknown() -> None:
    """An empty list of features is no support, an absent one is not known, and both are written back so."""
    features = Features.from_json('{"ociVersionMin":"1.0.0","ociVersionMax":"1.3.0","hooks":[],"linux":{}}')
    assert (features.hooks, features.mount_options) == ((), None)
    assert features.to_json() == b'{"ociVersionMin":"1.0.0","ociVersionMax":"1.3.0","hooks":[],"linux":{}}'


def test_the_state_that_runc_reports_is_read(tmp_path: Path) -> None:
    """The state of a created container, with the time of its creation."""
    _run("runc", "spec", cwd=tmp_path)
    rootfs = tmp_path / "rootfs" / "bin"
    rootfs.mkdir(parents=True)
    (rootfs / "sh").write_bytes(Path("/bin/busybox").read_bytes())
    (rootfs / "sh").chmod(0o755)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"]["terminal"] = False
    config["annotations"] = {"com.example": "x"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    runc = ["runc", "--root", str(tmp_path / "state")]
    name = f"ocikit-spec-{os.getpid()}"
    with (tmp_path / "log").open("wb") as log:
        create = [*runc, "create", "--bundle", str(tmp_path), name]
        subprocess.run(create, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60)
    try:
        state = _read(State, _run(*runc, "state", name))
    finally:
        _run(*runc, "delete", "--force", name)
    assert isinstance(state, State)
    assert (state.id, state.status, state.bundle) == (name, "created", str(tmp_path))
    assert state.pid > 0
    assert state.annotations == {"com.example": "x"}
    assert state.created is not None
    assert state.started is None
    assert set(state.extra) == {"rootfs", "owner"}


def test_conversion_agrees_with_umoci(umoci_layout: Path, tmp_path: Path) -> None:
    """The tool umoci turns the same image into the same command, user, directory, environment and annotations."""
    _run("umoci", "raw", "unpack", "--rootless", "--image", f"{umoci_layout}:t", tmp_path / "rootfs")
    etc = tmp_path / "rootfs" / "etc"
    users = UserDatabase.parse(passwd=(etc / "passwd").read_bytes(), group=(etc / "group").read_bytes())
    (image,) = (document for document in _read_layout(umoci_layout) if isinstance(document, Image))
    config = tmp_path / "config.json"
    command: list[str | Path] = [
        "umoci",
        "raw",
        "runtime-config",
        "--image",
        f"{umoci_layout}:t",
        "--rootfs",
        tmp_path / "rootfs",
    ]
    _run(*command, config)
    theirs = _read(Spec, config.read_bytes())
    ours = image_to_runtime(image, users=users)
    assert isinstance(theirs, Spec)
    assert theirs.process is not None
    assert ours.process is not None
    for name in ("args", "cwd", "user"):
        assert getattr(ours.process, name) == getattr(theirs.process, name)
    assert set(ours.process.env) == set(theirs.process.env) - {"TERM=xterm", "HOME=/home/app"}
    assert ours.annotations == theirs.annotations
    assert ours.validate() == ()


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    """Digests are those that the rest of the world computes."""
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(1000))
    for algorithm in ("sha256", "sha512"):
        expected = _run(f"{algorithm}sum", path).split()[0].decode()
        assert Digest.from_bytes(path.read_bytes(), algorithm) == f"{algorithm}:{expected}"
