"""Images of which every document may be wrong, while all digests and sizes are right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import mutations
from builders import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Store, digest_of, tar_of

from ocikit.spec import mediatypes

if TYPE_CHECKING:
    from random import Random

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
