"""What is fuzzed: each target makes a case from a generator and gives it to the library, which may refuse it.

What a target lets through beside the errors that are documented is a bug, and so is what it asserts.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "image"))

import bundle_targets
import certificate_targets
import configuration_targets
import encryption_targets
import mutations
import openpgp_targets
import place_targets
import registry_targets
import signature_targets
from builders import OCI_INDEX, OCI_MANIFEST, digest_of, tar_of
from made_images import KEYS, MadeImage, a_layer, config_of, written
from refusing import damage_files, refused

from ocikit import image
from ocikit.image import Policy, SystemContext, layout, transports
from ocikit.image.history import history_lines
from ocikit.image.layer_search import find_in_layer
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.image.platform import choose_instance
from ocikit.image.reference import parse_normalized_named
from ocikit.spec import Image, Index, mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Target = Callable[[Random, Path], None]

ANYTHING = Policy.insecure_accept_anything()
SYSTEM = SystemContext(os_choice="linux", architecture_choice="amd64")


# --------------------------------------------------------------------------------------------------------- references

PIECES = (
    *("oci", "oci-archive", "dir", "docker", "docker-archive", "docker-daemon", "tarball", "containers-storage", "sif"),
    *(
        ":",
        ":",
        "//",
        "/",
        "@",
        "@0",
        "@-1",
        "@99999999999999999999",
        "a",
        "A",
        "_",
        ".",
        "..",
        "-",
        "--",
        "+",
        "[",
        "]",
    ),
    *("example.com", "localhost:5000", "name", "latest", "sha256:" + "0" * 64, "x" * 300, " ", "\0", "é", "%", "tmp"),
)


def references(random: Random, scratch: Path) -> None:
    """A name is refused, or leads to a reference that is written as a name that leads to an equal one."""
    del scratch
    name = mutations.text(random, PIECES)
    if random.random() < 0.8:
        name = f"{random.choice(transports.list_names())}:{name}"
    found = []
    refused(lambda: parse_normalized_named(name))
    if refused(lambda: found.append(image.parse_image_name(name))):
        return
    (reference,) = found
    if getattr(reference, "stream", None) is not None:
        return  # a stream is read once, and nothing else is equal to it
    assert image.parse_image_name(image.image_name(reference)) == reference, name
    assert isinstance(reference.policy_configuration_identity, str)
    assert all(reference.policy_configuration_namespaces), name
    assert hash(reference) == hash(image.parse_image_name(str(reference)))


# ------------------------------------------------------------------------------------------------------------- policy

POLICY = {
    "default": [{"type": "reject"}],
    "transports": {
        "oci": {"/srv": [{"type": "insecureAcceptAnything"}], "": [{"type": "reject"}]},
        "docker": {
            "example.com/a": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": "YQ=="}],
            "*.example.com": [
                {
                    "type": "sigstoreSigned",
                    "keyPath": "/k",
                    "signedIdentity": {"type": "remapIdentity", "prefix": "a.b/c", "signedPrefix": "d.e/f"},
                }
            ],
        },
    },
}
POLICY_KEYS = (
    *("default", "transports", "type", "keyType", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"),
    *(
        "signedIdentity",
        "prefix",
        "signedPrefix",
        "dockerReference",
        "dockerRepository",
        "caPath",
        "rekorPublicKeyPath",
    ),
)


def policies(random: Random, scratch: Path) -> None:
    """A policy is refused, or is written as one that is the same, and decides without a crash."""
    data = mutations.written(random, mutations.tree(random, POLICY, POLICY_KEYS))
    found = []
    if not refused(lambda: found.append(Policy.from_bytes(data))):
        (policy,) = found
        assert Policy.from_bytes(policy.to_json()) == policy
        refused(lambda: image.copy.image(policy, dest=f"oci:{scratch}/no", src=f"oci:{scratch}/none"))


# ---------------------------------------------------------------------------------------------------------- documents


def documents(random: Random, scratch: Path) -> None:
    """Manifests, indexes and configurations are refused, or written as they were read, shown and validated."""
    del scratch
    made = MadeImage(random)
    for data in made.store.blobs.values():
        refused(lambda data=data: guess_media_type(data))  # type: ignore[misc]
        for media_type in (OCI_MANIFEST, OCI_INDEX, mediatypes.DOCKER_MANIFEST, mediatypes.DOCKER_MANIFEST_LIST):
            refused(lambda data=data, media_type=media_type: _manifest(data, media_type))  # type: ignore[misc]
        refused(lambda data=data: _config(data))  # type: ignore[misc]


def _manifest(data: bytes, media_type: str) -> None:
    found = parse_manifest(data, media_type)
    assert type(found).from_json(found.to_json()).to_dict() == found.to_dict()
    found.validate()
    if isinstance(found, Index):
        choose_instance(found, SYSTEM, what="x")


def _config(data: bytes) -> None:
    found = Image.from_json(data)
    assert Image.from_json(found.to_json()).to_dict() == found.to_dict()
    found.validate()
    for line in history_lines(found, ()):
        json.dumps(line.to_dict())


# ------------------------------------------------------------------------------------------------------------- places


def look_at(name: str, scratch: Path) -> None:
    """Do everything with an image that reads it."""
    found: list[image.ImageInspection] = []
    if not refused(lambda: found.append(image.inspect(name, SYSTEM))):
        assert str(found[0])
        assert found[0]._repr_html_()
        json.dumps(found[0].to_dict())
    refused(lambda: image.identify(name, member="bin/sh", sys=SYSTEM))
    for selection in image.copy.ImageListSelection.SYSTEM, image.copy.ImageListSelection.ALL:
        options = image.copy.CopyOptions(
            source_ctx=SYSTEM, image_list_selection=selection, remove_signatures=True, max_parallel=2
        )
        if not refused(lambda: image.copy.image(ANYTHING, dest=f"oci:{scratch}/to:x", src=name, options=options)):  # noqa: B023
            report = layout.fsck(scratch / "to")
            copied = {layout.ProblemKind.MISSING_BLOB, layout.ProblemKind.WRONG_DIGEST, layout.ProblemKind.UNREADABLE}
            wrong = [one for one in report if one.kind in copied and "layer" not in one.message]
            assert not wrong, (name, str(report))
    shutil.rmtree(scratch / "to", ignore_errors=True)


def archives(random: Random, scratch: Path) -> None:
    """An archive of a layout, damaged as a tar file or in its documents, is read or refused."""
    made = MadeImage(random)
    path = made.store.layout(scratch / "made", made.names)
    damage_files(random, path, most=1)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=random.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])) as tar:
        tar.add(path, ".")
    data = mutations.tar_file(random, stream.getvalue()) if random.random() < 0.4 else stream.getvalue()
    packed = mutations.compressed(random, data)
    (scratch / "a").write_bytes(mutations.damaged(random, packed) if random.random() < 0.1 else packed)
    refused(lambda: str(image.list_images(scratch / "a", nested=True)))
    look_at(f"oci-archive:{scratch}/a{random.choice([':image', ':index', ''])}", scratch)


def docker_archives(random: Random, scratch: Path) -> None:
    """An archive of `docker save`, damaged as a tar file or in its documents, is read or refused."""
    share = random.choice([0.0, 0.2, 0.6])
    plain = a_layer(random)
    config = written(random, config_of([digest_of(plain)]), share)
    name = digest_of(config).removeprefix("sha256:")
    listed = [{"Config": f"{name}.json", "RepoTags": ["example.com/a:1"], "Layers": ["l/layer.tar"]}]
    manifest = written(random, listed * random.choice([1, 1, 2]), share)
    files = {"l/layer.tar": mutations.compressed(random, plain), f"{name}.json": config, "manifest.json": manifest}
    data = tar_of(files)
    data = mutations.tar_file(random, data) if random.random() < 0.4 else data
    (scratch / "d").write_bytes(mutations.compressed(random, data))
    look_at(f"docker-archive:{scratch}/d{random.choice(['', ':example.com/a:1', ':@0'])}", scratch)


def directories(random: Random, scratch: Path) -> None:
    """A ``dir`` directory whose files are wrong is read or refused."""
    made = MadeImage(random)
    path = made.store.directory(scratch / "dir", random.choice([made.manifest, made.index]))
    if random.random() < 0.3:
        (path / "signature-1").write_bytes(random.randbytes(20))
    damage_files(random, path)
    look_at(f"dir:{path}", scratch)


def layouts(random: Random, scratch: Path) -> None:
    """A layout whose files are wrong is checked, repaired, listed, tidied and copied, or all of this refused."""
    made = MadeImage(random)
    path = made.store.layout(scratch / "layout", made.names)
    if random.random() < 0.4:
        index = mutations.tree(random, json.loads((path / "index.json").read_bytes()), KEYS)
        (path / "index.json").write_bytes(mutations.written(random, index))
    damage_files(random, path)
    reports = [layout.fsck(path, diff_ids=True, threads=2)]
    assert str(reports[0])
    assert reports[0]._repr_html_()
    json.dumps(reports[0].to_dict())
    refused(lambda: str(image.list_images(path, nested=True)))
    refused(lambda: str(layout.stat(path, random.choice(["image", "index", "@0"]), SYSTEM)))
    refused(lambda: layout.tag(path, random.choice(["image", "@1", "index"]), "other"))
    refused(lambda: layout.untag(path, random.choice(["image", "other", "index"])))
    look_at(f"oci:{path}:{random.choice(['image', 'index', 'other', '@2'])}", scratch)
    sound = layout.fsck(path, threads=2).ok
    refused(lambda: str(layout.gc(path)))
    after = layout.fsck(path, threads=2)
    assert after.ok or not sound, str(after)
    refused(lambda: layout.fsck(path, repair=True, drop_entries=random.random() < 0.5, threads=2))
    refused(lambda: image.delete(f"oci:{path}:@0"))


def layers(random: Random, scratch: Path) -> None:
    """A layer is gone through to its end, or refused."""
    del scratch
    data = mutations.tar_file(random, tar_of({"a/b": b"x" * 700, "c": b"", ".wh.d": b"", "é" * 80: b"long"}))
    packed = mutations.compressed(random, data)
    packed = mutations.damaged(random, packed) if random.random() < 0.3 else packed
    refused(lambda: find_in_layer(io.BytesIO(packed), b"a/b", 64, what="layer"))
    refused(lambda: str(image.identify(packed)))


#: Those of signatures and encryption, each where its makers are.
OTHERS = (
    bundle_targets,
    certificate_targets,
    configuration_targets,
    encryption_targets,
    openpgp_targets,
    place_targets,
    registry_targets,
    signature_targets,
)


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {
        "references": references,
        "policies": policies,
        "documents": documents,
        "layers": layers,
        "archives": archives,
        "directories": directories,
        "layouts": layouts,
    }
    if "docker-archive" in transports.list_names():
        found["docker-archives"] = docker_archives
    for room in OTHERS:
        found |= room.TARGETS
    return found


#: Every target by name.
TARGETS = _targets()
