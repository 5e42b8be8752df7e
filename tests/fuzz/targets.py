"""What is fuzzed: each target makes a case from a generator and gives it to the library, which may refuse it.

What a target lets through beside the errors that are documented is a bug, and so is what it asserts.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "image"))

import certificate_targets
import mutations
import openpgp_cases
import openpgp_maker
import recipients
from builders import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Store, digest_of, tar_of
from bundle_targets import BUNDLE_TARGETS
from signature_targets import SIGNATURE_TARGETS
from kept_signatures import one_of_each, openpgp, sign, signatures

from ocikit import image
from ocikit.errors import OCIKitError
from ocikit.image import Policy, SystemContext, layout, transports
from ocikit.image.encryption import DecryptConfig, EncryptConfig, LayerOptions, unwrap_options, wrap_options
from ocikit.image.attachment_manifest import signed_digest
from ocikit.image.history import history_lines
from ocikit.image.layer_search import find_in_layer
from ocikit.image.layout.attaching import parse_signatures
from ocikit.image.lookaside.stores import Store as LookasideStore
from ocikit.image.manifest import guess_media_type, parse_manifest
from ocikit.image.platform import choose_instance
from ocikit.image.reference import parse_normalized_named
from ocikit.image.signature.openpgp.keyring import Keyring
from ocikit.image.signature.openpgp.message import verify_message
from ocikit.image.registries_d.reading import signature_storage
from ocikit.image.stored_signature import parse_signature
from ocikit.spec import Image, Index, mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ocikit.image.signature.openpgp.message import SignedMessage
    from ocikit.image.stored_signature import StoredSignature

    Target = Callable[[Random, Path], None]

#: What a call may raise for bad input. Every other ValueError is nobody's decision.
REFUSALS = (OCIKitError, OSError)
ANYTHING = Policy.insecure_accept_anything()
SYSTEM = SystemContext(os_choice="linux", architecture_choice="amd64")
KEYS = (
    *(
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "digest",
        "size",
        "data",
    ),
    *("urls", "platform", "os", "architecture", "variant", "artifactType", "fsLayers", "history", "rootfs", "diff_ids"),
    *("type", "created", "created_by", "empty_layer", "Env", "Cmd", "Labels", "User", "imageLayoutVersion", "Digest"),
    *("org.opencontainers.image.ref.name", "data", "RepoTags", "Layers", "Config"),
)


def refused(call: Callable[[], object]) -> bool:
    """Make a call; tell whether it was refused with an error that bad input may be refused with."""
    try:
        call()
    except REFUSALS:
        return True
    return False


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


def config_of(diff_ids: list[str]) -> dict[str, Any]:
    """Return a configuration that uses most of what there is."""
    return {
        "created": "2024-01-02T03:04:05.678901234Z",
        "author": "somebody",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "0:0",
            "Env": ["PATH=/bin"],
            "Cmd": ["sh"],
            "Entrypoint": None,
            "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": "2024-01-02T03:04:05Z", "created_by": "ADD"},
            {"created_by": "ENV", "empty_layer": True},
        ],
    }


def written(random: Random, document: Any, share: float) -> bytes:
    """Write a document, and in a share of all cases one that is wrong."""
    if random.random() >= share:
        return json.dumps(document).encode()
    return mutations.written(random, mutations.tree(random, document, KEYS))


def a_layer(random: Random) -> bytes:
    """Return a layer, mostly as it should be."""
    plain = tar_of({"bin/sh": b"#!", "etc/passwd": b"root:x:0:0::/:/bin/sh\n"})
    return mutations.tar_file(random, plain) if random.random() < 0.3 else plain


class MadeImage:
    """An image of which every document may be wrong, while all digests and sizes are right.

    What is wrong everywhere is refused at the door: a third of all images has no wrong document, and the others few.
    """

    def __init__(self, random: Random) -> None:
        self.store = Store()
        self._random = random
        self._share = random.choice([0.0, 0.15, 0.5])
        plain = a_layer(random)
        packed = mutations.compressed(random, plain)
        layer = self.store.blob(random.choice([OCI_LAYER, mediatypes.IMAGE_LAYER]), packed)
        config = self.document(OCI_CONFIG, config_of([digest_of(plain)]))
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": {"a": "b"},
        }
        self.manifest = self.document(OCI_MANIFEST, manifest)
        self.manifest["platform"] = {"os": "linux", "architecture": "amd64"}
        referrer = self.document(OCI_MANIFEST, manifest | {"subject": self.manifest, "artifactType": "x/y"})
        entries = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [self.manifest, referrer]}
        self.index = self.document(OCI_INDEX, entries)
        self.names = {"image": self.manifest, "index": self.index, "": referrer}

    def document(self, media_type: str, document: Any) -> dict[str, Any]:
        """Add a document that may be wrong; return its descriptor."""
        return self.store.blob(media_type, written(self._random, document, self._share))


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
    _damage_files(random, path, most=1)
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
    _damage_files(random, path)
    look_at(f"dir:{path}", scratch)


def layouts(random: Random, scratch: Path) -> None:
    """A layout whose files are wrong is checked, repaired, listed, tidied and copied, or all of this refused."""
    made = MadeImage(random)
    path = made.store.layout(scratch / "layout", made.names)
    if random.random() < 0.4:
        index = mutations.tree(random, json.loads((path / "index.json").read_bytes()), KEYS)
        (path / "index.json").write_bytes(mutations.written(random, index))
    _damage_files(random, path)
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


def signed_layouts(random: Random, scratch: Path) -> None:
    """A layout with signatures whose entries and files are wrong: they are read, added to and go, or are refused."""
    made = MadeImage(random)
    digest = made.manifest["digest"]
    path = made.store.layout(scratch / "signed", {"v1": made.manifest, "": made.index})
    sign(f"oci:{path}:v1", *one_of_each(digest, random.choice(["a", "b"])))
    if random.random() < 0.6:
        index = mutations.tree(random, json.loads((path / "index.json").read_bytes()), (*KEYS, *SIGNED_KEYS))
        (path / "index.json").write_bytes(mutations.written(random, index))
    _damage_files(random, path)
    refused(lambda: signatures(f"oci:{path}:v1"))
    refused(lambda: signatures(f"oci:{path}:@1", digest))
    refused(lambda: sign(f"oci:{path}:v1", *one_of_each(digest, "c")))
    found: list[tuple[bytes, ...]] = []
    added = not refused(lambda: sign(f"oci:{path}:v1", openpgp("d")))
    if added and not refused(lambda: found.append(signatures(f"oci:{path}:v1"))):
        assert openpgp("d") in found[0]
    refused(lambda: image.delete(f"oci:{path}:v1"))
    refused(lambda: layout.fsck(path, threads=2))


SIGNED_KEYS = ("kind", "vnd.ocikit.subject", "dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/image")


def signature_blobs(random: Random, scratch: Path) -> None:
    """What a place keeps as a signature is taken apart and kept in a layout, or refused."""
    del scratch
    blob = mutations.damaged(random, random.choice(one_of_each(digest_of(b""), "a")))
    found: list[StoredSignature] = []
    if not refused(lambda: found.append(parse_signature(blob))):
        assert parse_signature(found[0].to_blob()) == found[0]
        refused(lambda: parse_signatures([blob], "it"))
        refused(lambda: signed_digest(getattr(found[0], "payload", b"")))


CONFIGURED = (
    *(
        "default-docker:",
        "docker:",
        "\n",
        "\n  ",
        "\n    ",
        "lookaside: ",
        "file:///a",
        "https://b",
        "use-sigstore-attachments: ",
    ),
    *(
        "true",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!",
        "<<: ",
        "? ",
        "| ",
        "> ",
        "'",
        '"',
        "---\n",
        "# ",
        "a.b/c: ",
        "\t",
        "\0",
        "2001-01-01",
    ),
)


def registries(random: Random, scratch: Path) -> None:
    """A file of registries.d is read, and its stores are used or refused."""
    (scratch / "a.yaml").write_bytes(mutations.text(random, CONFIGURED, 30).encode(errors="surrogatepass"))
    sys = SystemContext(registries_dir_path=str(scratch))
    named = parse_normalized_named(random.choice(["a.b/c/d:1", "a.b/c", "x"]))
    found: list[str] = []
    if not refused(lambda: found.append(signature_storage(named, sys))):
        refused(lambda: LookasideStore.parse(found[0]))


def _damage_files(random: Random, path: Path, *, most: int = 2) -> None:
    """Make some files of a directory wrong, or something else than files."""
    for _ in range(min(most, random.choice([0, 0, 0, 1, 2]))):
        # Never a link: what is written through one is somebody else's.
        files = [one for one in sorted(path.rglob("*")) if one.is_file() and not one.is_symlink()]
        if not files:
            return
        file = random.choice(files)
        match random.randrange(6):
            case 0:
                file.unlink()
            case 1:
                file.unlink()
                file.symlink_to(random.choice(["/dev/zero", file.name, "none"]))
            case 2:
                file.unlink()
                file.mkdir()
            case _:
                file.write_bytes(mutations.damaged(random, file.read_bytes()))


def layers(random: Random, scratch: Path) -> None:
    """A layer is gone through to its end, or refused."""
    del scratch
    data = mutations.tar_file(random, tar_of({"a/b": b"x" * 700, "c": b"", ".wh.d": b"", "é" * 80: b"long"}))
    packed = mutations.compressed(random, data)
    packed = mutations.damaged(random, packed) if random.random() < 0.3 else packed
    refused(lambda: find_in_layer(io.BytesIO(packed), b"a/b", 64, what="layer"))
    refused(lambda: str(image.identify(packed)))


# Keys of these kinds, or their signatures, are others in every process, and a seed has to make the same case again.
UNLIKE = (openpgp_cases.RSA.body, openpgp_cases.P256.body)
OPENPGP = [
    (case.keyring, case.message)
    for case in openpgp_cases.accepted()
    if not any(body in case.keyring for body in UNLIKE)
]


def openpgp(random: Random, scratch: Path) -> None:
    """A message is refused, or has the content that was signed, whatever was done to it and to the keyring."""
    del scratch
    keyring, message = random.choice(OPENPGP)
    match random.randrange(4):
        case 0:
            keyring = mutations.damaged(random, keyring)
        case 1:
            message = mutations.damaged(random, message)
        case 2:
            keyring = mutations.damaged(random, keyring)
            message = mutations.damaged(random, message)
        case _:
            keyring = openpgp_maker.armored(keyring)
            keyring = mutations.damaged(random, keyring)
    found = []
    if refused(lambda: found.append(Keyring.read(keyring, what="keys"))):
        return
    made: list[SignedMessage] = []
    if not refused(lambda: made.append(verify_message(message, found[0], now=openpgp_maker.NOW))):
        assert made[0].content in {openpgp_maker.CONTENT, openpgp_maker.CONTENT * 90, b""}
        assert made[0].fingerprint in {one.fingerprint for one in found[0].certificates}


# --------------------------------------------------------------------------------------------------- encrypted layers


@functools.cache
def _wrapped() -> tuple[DecryptConfig, LayerOptions, dict[str, str], tuple[bytes, ...]]:
    """Return keys, what is wrapped for them in all ways, and the forms of keys."""
    own = [DecryptConfig.from_private_key(recipients.private_pem(name)) for name in ("rsa", "P-256")]
    to = [EncryptConfig.from_public_key(recipients.public_pem(name)) for name in ("rsa", "P-256")]
    to.append(EncryptConfig.from_certificate(recipients.certificate("rsa")))
    options = LayerOptions(symmetric_key=b"k" * 32, nonce=b"n" * 16, hmac=b"h" * 32)
    annotations = wrap_options(to[0].combined(*to[1:]), options)
    annotations = wrap_options(to[1], options, annotations)  # one more, for one recipient
    jwk = {"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB", "d": "AQAB", "n": "AQAB", "e": "AQAB"}
    keys = [
        recipients.private_pem("rsa"),
        recipients.public_pem("P-256"),
        recipients.certificate("rsa"),
        json.dumps(jwk).encode(),
    ]
    return own[0].combined(own[1]), options, annotations, tuple(keys)


def encryption(random: Random, scratch: Path) -> None:
    """What unwraps the key of a layer gives that key or is refused; keys are read or refused."""
    config, options, annotations, keys = _wrapped()
    changed = dict(annotations)
    for name in random.sample([*changed], random.choice([1, 1, 2, 3])):
        packets = [_packet(random, packet) for packet in changed[name].split(",")]
        changed[name] = ",".join(packets) if random.random() < 0.95 else mutations.text(random, [*packets, ",", "="])
    found: list[LayerOptions] = []
    if not refused(lambda: found.append(unwrap_options(config, changed))):
        assert (found[0].symmetric_key, found[0].nonce) == (options.symmetric_key, options.nonce)
    file = scratch / "key"
    file.write_bytes(mutations.damaged(random, random.choice(keys)))
    refused(lambda: DecryptConfig.from_keys(str(file)))
    refused(lambda: EncryptConfig.from_recipients(f"{random.choice(['jwe', 'pkcs7'])}:{file}"))


def _packet(random: Random, packet: str) -> str:
    """Change what is wrapped: a JWE as a tree, with its protected header, other things as bytes."""
    data = base64.b64decode(packet)
    if not data.startswith(b"{"):
        return base64.b64encode(mutations.damaged(random, data)).decode()
    document = json.loads(data)
    if "protected" in document and random.random() < 0.5:
        header = json.loads(base64.urlsafe_b64decode(document["protected"] + "=="))
        header = mutations.written(random, mutations.tree(random, header, JWE_KEYS))
        document["protected"] = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    else:
        document = mutations.tree(random, document, JWE_KEYS)
    return base64.b64encode(mutations.written(random, document)).decode()


JWE_KEYS = (
    *("protected", "unprotected", "header", "recipients", "encrypted_key", "iv", "ciphertext", "tag", "aad", "alg"),
    *("enc", "epk", "kty", "crv", "x", "y", "apu", "apv", "crit", "zip", "cipher", "hmac", "cipheroptions", "nonce"),
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
        **BUNDLE_TARGETS,
        **SIGNATURE_TARGETS,
        "openpgp": openpgp,
        "encryption": encryption,
        "signed-layouts": signed_layouts,
        "signature-blobs": signature_blobs,
        "registries": registries,
    }
    if "docker-archive" in transports.list_names():
        found["docker-archives"] = docker_archives
    return found | certificate_targets.TARGETS


#: Every target by name.
TARGETS = _targets()
