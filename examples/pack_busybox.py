"""Pack the static busybox of this machine as a compressed OCI archive: the smallest image that is of any use.

Run it as ``python examples/pack_busybox.py busybox.tar.gz``. Nothing in here needs more than the classes of the
specification and the standard library: it shows what an image is.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
from pathlib import Path

from ocikit.spec import Descriptor, Digest, Image, ImageConfig, ImageLayout, Index, Manifest, RootFS, mediatypes

REF_NAME = "org.opencontainers.image.ref.name"
BUSYBOX = Path("/bin/busybox")


def layer() -> bytes:
    """Return an uncompressed layer: busybox, a link for each of its applets, and two files that say who is root."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("bin", "etc", "root", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(directory)
        for name, content in (*files.items(), ("bin/busybox", BUSYBOX.read_bytes())):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(content))
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return packed.getvalue()


def pack(archive: Path, name: str = "busybox:latest") -> Path:
    """Write the archive; return its path."""
    blobs: dict[str, bytes] = {}

    def store(media_type: str, content: bytes) -> Descriptor:
        digest = Digest.from_bytes(content)
        blobs[f"blobs/{digest.algorithm}/{digest.hex}"] = content
        return Descriptor(media_type=media_type, digest=digest, size=len(content))

    plain = layer()
    config = Image(
        architecture="amd64",
        os="linux",
        config=ImageConfig(cmd=("sh",), env=("PATH=/bin",)),
        rootfs=RootFS(type="layers", diff_ids=(Digest.from_bytes(plain),)),
    )
    manifest = Manifest(
        media_type=mediatypes.IMAGE_MANIFEST,
        config=store(mediatypes.IMAGE_CONFIG, config.to_json()),
        layers=(store(mediatypes.IMAGE_LAYER_GZIP, gzip.compress(plain, 6, mtime=0)),),
    )
    described = store(mediatypes.IMAGE_MANIFEST, manifest.to_json())
    named = Descriptor(
        media_type=described.media_type, digest=described.digest, size=described.size, annotations={REF_NAME: name}
    )
    blobs["index.json"] = Index(media_type=mediatypes.IMAGE_INDEX, manifests=(named,)).to_json()
    blobs["oci-layout"] = ImageLayout(image_layout_version="1.0.0").to_json()
    with tarfile.open(archive, mode="w:gz", compresslevel=1) as tar:
        for path in sorted(blobs, reverse=True):
            member = tarfile.TarInfo(path)
            member.size = len(blobs[path])
            tar.addfile(member, io.BytesIO(blobs[path]))
    return archive


if __name__ == "__main__":
    print(pack(Path(sys.argv[1] if len(sys.argv) > 1 else "busybox.tar.gz")))
