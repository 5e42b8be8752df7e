"""What a user without privileges joins, where it keeps things, and root that is nobody outside."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rootless_calls import elsewhere, failure, output, spec_of

from ocikit import bundle, errors, runtime
from ocikit.image import Policy
from ocikit.spec import LinuxNamespace, LinuxTimeOffset, Mount, Root, Spec

if TYPE_CHECKING:
    from as_user import User

HAS_CLOCKS = Path("/proc/self/ns/time").exists()
KINDS = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}


def with_more(spec: Spec, *kinds: str, **linux: Any) -> Spec:
    """Add namespaces to a configuration."""
    assert spec.linux is not None
    kept = tuple(one for one in spec.linux.namespaces if one.type not in kinds)
    return spec.with_linux(namespaces=(*kept, *(LinuxNamespace(type=kind) for kind in kinds)), **linux)


# ---------------------------------------------------------------------------------------------------------- namespaces


def have_everything(container_id: str) -> str:
    """Have every namespace there is, a sysfs for the network, and clocks."""
    kinds = ["network", "cgroup", *(["time"] if HAS_CLOCKS else [])]
    offsets = {"monotonic": LinuxTimeOffset(secs=86_400)} if HAS_CLOCKS else {}
    sysfs = Mount(destination="/sys", type="sysfs", source="sysfs", options=("ro",))
    spec = spec_of(
        "sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/flags; hostname; cat /proc/self/timens_offsets || true"
    )
    mounts = (spec.mounts[0], spec.mounts[1], sysfs)
    return output(container_id, attrs.evolve(with_more(spec, *kinds, time_offsets=offsets), mounts=mounts))


def test_every_namespace(user: User, container_id: str) -> None:
    """In its own user namespace, a user has all the others, sets their clocks and has their loopback brought up."""
    lines = user.call(have_everything, container_id).splitlines()
    assert lines[:3] == ["lo", "0x9", "runc"]
    assert ["monotonic", "86400", "0"] in [line.split() for line in lines] or not HAS_CLOCKS


def join_another(container_id: str) -> list[Any]:
    """Join namespaces of a container; return what those are in there, and in the one that has joined."""
    holder = with_more(spec_of(), "network")
    with runtime.create(None, f"{container_id}-a", Path.home() / "bundle", spec=holder, stdin="null") as first:
        first.start()
        wait_for_program(first.pid)
        paths = tuple(LinuxNamespace(type=kind, path=f"/proc/{first.pid}/ns/{file}") for kind, file in KINDS.items())
        linux = {"namespaces": (*paths, LinuxNamespace(type="mount")), "uid_mappings": (), "gid_mappings": ()}
        script = f"for one in {' '.join(KINDS.values())}; do readlink /proc/self/ns/$one; done; cat /proc/self/uid_map"
        spec = attrs.evolve(spec_of("sh", "-c", script, linux=linux), hostname="")
        seen = output(f"{container_id}-b", spec).splitlines()
        expected = [os.readlink(f"/proc/{first.pid}/ns/{file}") for file in KINDS.values()]
        alone = {
            "namespaces": (paths[1], *(LinuxNamespace(type=one) for one in ("user", "mount", "pid", "ipc", "uts")))
        }
        return [seen, expected, failure(f"{container_id}-c", spec_of(linux=alone))]


def wait_for_program(pid: int) -> None:
    """Wait until a container has executed its program: before that, nobody is let in."""
    while Path(f"/proc/{pid}/comm").read_text().startswith("ocikit"):
        os.sched_yield()


def test_namespaces_of_another_container(user: User, container_id: str) -> None:
    """A user joins the namespaces of a container of its own together with their user namespace, and not without."""
    seen, expected, refused = user.call(join_another, container_id)
    assert seen[:-1] == expected
    assert seen[-1].split() == ["0", str(user.uid), "1"]
    assert refused[0] == "SetupError"
    assert "join network namespace" in refused[1]
    assert "in the user namespace that owns it" in refused[1]


# -------------------------------------------------------------------------------------------- root of a user namespace


def be_root(container_id: str) -> list[Any]:
    """Make a container without a user namespace, as root of one."""
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--ipc", "--pid", "--fork", "--mount-proc"]
    return [
        elsewhere(prefix, f"__import__('test_rootless_places').plain({container_id!r})"),
        elsewhere(prefix, "[t.runtime.default_root(), t.os.geteuid()]"),
        elsewhere([*prefix, "env", "USER=root"], "t.runtime.default_root()"),
    ]


def plain(container_id: str) -> str:
    """Make a container without a user namespace."""
    use = "stat -c %t:%T /dev/zero; head -c 1 /dev/zero >/dev/null"
    script = f"id -u; cat /proc/self/uid_map; {use}; readlink /proc/self/ns/user"
    spec = Spec.default().with_process(args=("sh", "-c", script), terminal=False)
    mounts = tuple(one for one in spec.mounts if one.type not in {"cgroup", "sysfs", "devpts"})
    return output(container_id, attrs.evolve(spec, mounts=mounts, root=Root(path=str(Path.home() / "rootfs"))))


def test_root_of_a_user_namespace(user: User, container_id: str) -> None:
    """Who is root in a user namespace needs no further one; devices are the host's; state is where the user's is."""
    printed, (root, uid), of_root = user.call(be_root, container_id)
    lines = printed.splitlines()
    assert (lines[0], lines[2]) == ("0", "1:5")
    assert lines[1].split() == ["0", "0", "1"] or lines[1].split() == ["0", str(user.uid), "1"]
    assert lines[3] != os.readlink("/proc/self/ns/user")
    assert (root, uid) == (f"{user.home}/run/runc", 0)
    assert of_root == "/run/runc"


# ------------------------------------------------------------------------------------------------------------- places


def have_no_place(container_id: str) -> list[str]:
    """Have no directory for state."""
    del os.environ["XDG_RUNTIME_DIR"]
    try:
        runtime.create(None, container_id, Path.home() / "bundle", spec=spec_of())
    except errors.OCIKitError as error:
        return [type(error).__name__, str(error)]
    return []


def test_a_user_without_a_runtime_directory(user: User, container_id: str) -> None:
    """The state of root is out of reach, and the error says where else it could be."""
    kind, text = user.call(have_no_place, container_id)
    assert kind in {"SystemCallError", "StateError"}
    assert "/run/runc" in text
    assert "XDG_RUNTIME_DIR" in text


def unpack_and_run(container_id: str) -> list[Any]:
    """Make a bundle of an image with somebody else's files in it, and run it."""
    layout = make_layout(Path.home() / "layout")
    made = bundle.create(
        f"oci:{layout}:one", Path.home() / "made", policy=Policy.insecure_accept_anything(), rootless=True
    )
    owner = (made.rootfs / "etc/of-user").stat()
    done = runtime.run(None, container_id, made)
    made.delete()
    return [done.exit_code, done.stdout.decode().splitlines(), [owner.st_uid, owner.st_gid]]


def make_layout(at: Path) -> Path:
    """Make an image layout by hand: busybox, a file of user 1000, and a device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        layer.add("/bin/busybox", "bin/busybox")
        for name, kind, change in (
            ("bin/sh", tarfile.SYMTYPE, {"linkname": "busybox"}),
            ("etc", tarfile.DIRTYPE, {"mode": 0o755}),
            ("etc/of-user", tarfile.REGTYPE, {"uid": 1000, "gid": 1000}),
            ("etc/device", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}),
        ):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            for field, value in change.items():
                setattr(entry, field, value)
            layer.addfile(entry)
    blobs = at / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    types = "application/vnd.oci.image"
    plain_layer = put(buffer.getvalue(), f"{types}.layer.v1.tar")
    script = ["sh", "-c", "id -u; busybox stat -c '%u %g' /etc/of-user; busybox ls /etc"]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Cmd": script, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [plain_layer["digest"]]},
    }
    head = {"schemaVersion": 2, "mediaType": f"{types}.manifest.v1+json", "layers": [plain_layer]}
    head["config"] = put(json.dumps(config).encode(), f"{types}.config.v1+json")
    manifest = put(json.dumps(head).encode(), f"{types}.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "one"}
    (at / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (at / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return at


def test_an_image(user: User, container_id: str) -> None:
    """An image is unpacked and run without privileges: all files are the user's, and devices are left out."""
    code, lines, owner = user.call(unpack_and_run, container_id)
    assert code == 0
    assert lines == ["0", "0 0", "of-user"]
    assert owner == [user.uid, user.gid]
