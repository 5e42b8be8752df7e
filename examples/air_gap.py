"""An air gap: a build service signs an image, a file is carried over, and a host without a network runs what is proven.

``python examples/air_gap.py``, as root. The service makes a key pair, packs busybox of this machine, signs it while it
copies it into an archive, and hands over three files: the archive, its public key, and a policy. The host is another
process, in a network namespace with nothing in it. It verifies the archive under the policy file, runs it, and refuses
what somebody else signed. Everything is made below one temporary directory, and nothing is left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pack_busybox import pack

import ocikit
from ocikit import image, runtime
from ocikit.errors import PolicyRequirementError
from ocikit.image import signature

REPOSITORY = "registry.example.com/team/tools"
NAME = f"{REPOSITORY}:1.0"


def build(work: Path, carried: Path) -> None:
    """Sign an image with a new key, and put what a host needs into the directory ``carried``."""
    keys = signature.generate_key_pair("a passphrase from a vault")
    (carried / "service.pub").write_bytes(keys.public_pem)
    key = signature.PrivateKey.read(keys.private_pem, "a passphrase from a vault", what="the key of the service")
    copied = image.copy.image(
        image.Policy.insecure_accept_anything(),  # what the service itself has built
        src=f"oci-archive:{pack(work / 'busybox.tar.gz')}",
        dest=f"oci-archive:{carried / 'tools.tar'}:1.0",
        options=image.copy.CopyOptions(signers=(signature.SigstoreSigner(key),), sign_identity=NAME),
    )
    print(f"service  signed {copied.digest}")
    print(f"service  as     {NAME}")


def write_policy(carried: Path) -> None:
    """Write the policy of the host: nothing runs but what the service has signed as one of its tools."""
    policy = image.Policy(
        requirements=[signature.Reject()],
        transports={
            "oci-archive": {
                "": [
                    signature.SigstoreSigned(
                        key_path=carried / "service.pub",
                        signed_identity=signature.ExactRepository(docker_repository=REPOSITORY),
                    )
                ]
            }
        },
    )
    (carried / "policy.json").write_bytes(policy.to_json())


def host(carried: Path, work: Path) -> None:
    """Verify what was carried over, run it, and refuse what is not proven."""
    policy = image.Policy.from_file(carried / "policy.json")
    archive = f"oci-archive:{carried / 'tools.tar'}:1.0"
    print(indented("host", str(policy.explain(archive))))
    verified = image.verify(archive, policy)
    for found in verified.signatures:
        print(f"host     {found.docker_reference} is signed by the key {found.key[:16]}…")
    bundle = ocikit.bundle.create(archive, work / "bundle", policy=policy, args=["echo", "proven, unpacked and run"])
    done = runtime.run(work / "run", f"ocikit-air-gap-{os.getpid()}", bundle)
    print(f"host     | {done.stdout.decode().strip()}")

    forged = f"oci-archive:{carried / 'forged.tar'}:1.0"
    try:
        ocikit.bundle.create(forged, work / "never", policy=policy)
    except PolicyRequirementError as error:
        print(f"host     refused: {error.failures[0]}")
    else:
        sys.exit("what somebody else signed was accepted")


def forge(work: Path, carried: Path) -> None:
    """Be somebody else: sign under the same name, with a key that nobody trusts."""
    stranger = signature.SigstoreSigner(signature.PrivateKey.generate())
    image.copy.image(
        image.Policy.insecure_accept_anything(),
        src=f"oci-archive:{work / 'busybox.tar.gz'}",
        dest=f"oci-archive:{carried / 'forged.tar'}:1.0",
        options=image.copy.CopyOptions(signers=(stranger,), sign_identity=NAME),
    )


def indented(who: str, text: str) -> str:
    """Say in every line who says it."""
    return "\n".join(f"{who:<8} {line}" for line in text.splitlines())


def main(directory: Path) -> None:
    """Be the service, then let a process without a network be the host."""
    for name in ("service", "carried", "host"):
        (directory / name).mkdir(mode=0o700)
    build(directory / "service", directory / "carried")
    forge(directory / "service", directory / "carried")
    write_policy(directory / "carried")
    subprocess.run(
        ["/usr/bin/unshare", "--net", sys.executable, __file__, str(directory / "carried"), str(directory / "host")],
        check=True,
    )


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("the host runs containers, which takes root")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if len(sys.argv) == 3:
        host(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="ocikit-air-gap-") as temporary:
            main(Path(temporary))
