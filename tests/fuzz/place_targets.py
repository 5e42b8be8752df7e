"""Fuzzing of the places where signatures are kept: layouts, blobs, and what says where stores are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import mutations
from builders import digest_of
from kept_signatures import one_of_each, openpgp, sign, signatures
from made_images import KEYS, MadeImage
from refusing import damage_files, refused

from ocikit import image
from ocikit.image import SystemContext, layout
from ocikit.image.attachment_manifest import signed_digest
from ocikit.image.layout.attaching import parse_signatures
from ocikit.image.lookaside.stores import Store as LookasideStore
from ocikit.image.reference import parse_normalized_named
from ocikit.image.registries_d.reading import signature_storage
from ocikit.image.stored_signature import parse_signature

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from ocikit.image.stored_signature import StoredSignature


def signed_layouts(random: Random, scratch: Path) -> None:
    """A layout with signatures whose entries and files are wrong: they are read, added to and go, or are refused."""
    made = MadeImage(random)
    digest = made.manifest["digest"]
    path = made.store.layout(scratch / "signed", {"v1": made.manifest, "": made.index})
    sign(f"oci:{path}:v1", *one_of_each(digest, random.choice(["a", "b"])))
    if random.random() < 0.6:
        index = mutations.tree(random, json.loads((path / "index.json").read_bytes()), (*KEYS, *SIGNED_KEYS))
        (path / "index.json").write_bytes(mutations.written(random, index))
    damage_files(random, path)
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


#: The targets by name.
TARGETS = {"signed-layouts": signed_layouts, "signature-blobs": signature_blobs, "registries": registries}
