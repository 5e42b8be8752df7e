"""OpenPGP by others: GnuPG with keys of its own, gpgv and Sequoia as second opinions."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pysequoia
from openpgp_maker import packet

from ocikit.image.signature.openpgp.packets import Tag, read_packets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["GnuPG", "by_gpgv", "by_sequoia", "copies_of", "damaged_packets"]


class GnuPG:
    """A home of GnuPG, whose agent ends with it.

    Args:
        home: Where it is; not far from the root, as there are sockets in it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700, exist_ok=True)

    def run(self, *words: str, content: bytes = b"", check: bool = True) -> bytes:
        """Run ``gpg``; return what it writes."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]
        done = subprocess.run([*command, *words], input=content, capture_output=True, check=False)
        assert done.returncode == 0 or not check, done.stderr.decode(errors="replace")
        return done.stdout

    def new_key(self, name: str, kind: str, *more: str, passphrase: str = "", expires: str = "never") -> str:
        """Make a primary key that signs; return its fingerprint."""
        words = ["--passphrase", passphrase, *more, "--quick-generate-key", name, kind, "sign", expires]
        self.run(*words)
        return self.fingerprints(name)[0]

    def fingerprints(self, name: str) -> list[str]:
        """Return the fingerprints of a key and its subkeys."""
        lines = self.run("--list-keys", "--with-colons", name).decode().splitlines()
        return [line.split(":")[9] for line in lines if line.startswith("fpr:")]

    def public(self, *names: str) -> bytes:
        """Return keys as they are exported."""
        return self.run("--export", *names)

    def signed(self, key: str, content: bytes, *more: str) -> bytes:
        """Return a message signed by exactly this key or subkey."""
        return self.run(
            "--passphrase", "", *more, "--local-user", f"{key}!", "--sign", "--output", "-", content=content
        )

    def edit(self, key: str, *answers: str) -> None:
        """Change a key by a dialogue."""
        words = ["--command-fd", "0", "--passphrase", "", "--expert", "--edit-key", key]
        self.run(*words, content="\n".join([*answers, "save", ""]).encode())

    def revoke(self, key: str) -> None:
        """Revoke a key by the certificate that was made with it."""
        made = (self.home / "openpgp-revocs.d" / f"{key}.rev").read_bytes()
        self.run("--import", content=made.replace(b":-----BEGIN", b"-----BEGIN"))

    def close(self) -> None:
        """End the agent, wait until it has ended, and remove what it keeps outside its home."""
        words = ["gpg-connect-agent", "--homedir", str(self.home), "--no-autostart", "GETINFO pid", "/bye"]
        said = subprocess.run(words, capture_output=True, check=False).stdout.split()
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=True)
        end = time.monotonic() + 20
        while said[:1] == [b"D"] and _runs(int(said[1])) and time.monotonic() < end:
            time.sleep(0.02)
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--remove-socketdir"], check=False, capture_output=True)


def _runs(pid: int) -> bool:
    """Tell whether a process has not ended; whoever is to reap it may take its time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def by_gpgv(keyring: bytes, message: bytes, scratch: Path) -> bool:
    """Ask gpgv whether a message has one signature, a good one."""
    (scratch / "ring.gpg").write_bytes(keyring)
    (scratch / "message").write_bytes(message)
    words = ["gpgv", "--homedir", str(scratch), "--status-fd", "1", "--keyring", str(scratch / "ring.gpg")]
    environment = os.environ | {"LC_ALL": "C"}
    words += ["--output", str(scratch / "content"), str(scratch / "message")]
    done = subprocess.run(words, capture_output=True, check=False, env=environment)
    (scratch / "content").unlink(missing_ok=True)
    status = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(b"[GNUPG:] ")]
    return done.returncode == 0 and status.count(b"NEWSIG") == status.count(b"GOODSIG") == 1


def by_sequoia(keyring: bytes, message: bytes) -> bool:
    """Ask Sequoia whether a message has one signature, a good one."""
    try:
        merged: dict[str, pysequoia.Cert] = {}
        for one in pysequoia.Cert.split_bytes(keyring):
            merged[one.fingerprint] = merged[one.fingerprint].merge(one) if one.fingerprint in merged else one
        certificates = [*merged.values()]
        done = pysequoia.verify(bytes=message, store=lambda _: certificates)
    except Exception:  # noqa: BLE001 - of every kind: whatever it is, it is no approval
        return False
    return len(done.valid_sigs) == 1


def copies_of(fingerprint: str, keyring: bytes) -> Iterator[bytes]:
    """Yield every copy of one certificate, whole and less a few signatures: peers give up at what is damaged.

    Revocations stay: without them a key would be better than it is.
    """
    copies: list[list[tuple[int, bytes]]] = []
    for one in read_packets(keyring, what="it", most=100):
        if one.tag == Tag.PUBLIC_KEY:
            copies.append([])
        if copies:
            copies[-1].append((one.tag, one.body))
    mine = [copy for copy in copies if _fingerprint(copy[0][1]) == fingerprint]
    yield b"".join(packet(*one) for copy in mine for one in copy)
    for copy in mine:
        loose = [at for at, (tag, body) in enumerate(copy) if tag == Tag.SIGNATURE and body[1:2] not in _REVOCATIONS]
        for count in range(3):
            for without in itertools.combinations(loose, count):
                yield b"".join(packet(*one) for at, one in enumerate(copy) if at not in without)


_REVOCATIONS = (b"\x20", b"\x28", b"\x30")


def _fingerprint(body: bytes) -> str:
    if body[:1] == b"\6":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324


def damaged_packets(source: Random, data: bytes) -> bytes:
    """Return packets of which some are lost, doubled, elsewhere, or have bytes changed, lost or more."""
    packets = [(one.tag, one.body) for one in read_packets(data, what="it", most=100)]
    for _ in range(source.randrange(1, 4)):
        at = source.randrange(len(packets)) if packets else 0
        match source.randrange(8):
            case 0:
                del packets[at : at + 1]
            case 1:
                packets[at:at] = packets[at : at + 1]
            case 2:
                source.shuffle(packets)
            case _ if packets and packets[at][1]:
                packets[at] = (packets[at][0], _damaged_body(source, packets[at][1]))
            case _:
                packets.append((source.randrange(64), source.randbytes(source.randrange(40))))
    return b"".join(packet(*one) for one in packets)


def _damaged_body(source: Random, body: bytes) -> bytes:
    made = bytearray(body)
    # Most of what matters is at the beginning: versions, kinds, times, subpackets.
    at = source.randrange(min(len(made), source.choice([4, 40, len(made)])))
    match source.randrange(4):
        case 0:
            del made[at]
        case 1:
            made.insert(at, source.randrange(256))
        case 2:
            made[at] = source.choice([0, 1, 2, 0x18, 0x20, 0x7F, 0x80, 0xFF])
        case _:
            made[at] ^= 1 << source.randrange(8)
    return bytes(made)
