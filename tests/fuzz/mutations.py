"""Ways to make something wrong that was right: text, bytes, JSON documents as trees, tar files member by member.

Everything is drawn from the generator that is passed, so that a seed makes the same case again.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import json
import lzma
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

BLOCK = 512

INTERESTING: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 2**31, 2**63, -(2**63), 2**64, 10**400, 0.5, 1e308, -0.0),
    *("", "a", "\0", "\x1b[31m", "é", "\u202e", "\ud800", "../../etc/passwd", "/", "@0", "x" * 5000, "1.0.0", "2.0.0"),
    *("sha256:" + "0" * 64, "sha256:" + "0" * 63, "sha512:" + "a" * 128, "md5:" + "0" * 32, "blake3:" + "b" * 64, ":"),
    *("2024-01-02T03:04:05Z", "0000-00-00T00:00:00Z", "linux", "amd64", "unknown", "layers"),
    *([], {}, [[]], [None], {"": {}}, [{}] * 50),
)

NUMBERS = (0, 1, 7, 8, 511, 512, 513, 0o777, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -1)


def text(random: Random, pieces: Sequence[str], most: int = 12) -> str:
    """Return some pieces one after the other, some of them damaged."""
    made = "".join(random.choice(pieces) for _ in range(random.randrange(most)))
    if made and random.random() < 0.3:
        at = random.randrange(len(made))
        made = (
            made[:at]
            + chr(random.choice([0, 9, 10, 32, 47, 58, 64, 92, 127, 160, 0x202E, 0xD800, 0x1F600]))
            + made[at:]
        )
    return made


def damaged(random: Random, data: bytes) -> bytes:
    """Return bytes with some of them changed, lost, doubled or put elsewhere."""
    made = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(made) + 1)
        end = min(len(made), at + random.choice([1, 1, 2, 4, 8, 64, BLOCK, 4096]))
        match random.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << random.randrange(8)
            case 1:
                made[at:end] = random.randbytes(end - at)
            case 2:
                del made[at:end]
            case 3:
                made[at:at] = made[at:end]
            case 4:
                del made[at:]
            case 5:
                made[at:at] = random.choice([b"\0" * BLOCK, b"\xff" * 9, b"}", b"[" * 200, b'"', random.randbytes(20)])
            case _:
                made += random.randbytes(random.randrange(30))
    return bytes(made)


def compressed(random: Random, data: bytes) -> bytes:
    """Return data as it is, or compressed in some way."""
    ways = (bytes, bytes, lambda one: gzip.compress(one, 1), lambda one: bz2.compress(one, 1), _xz)
    packed: bytes = random.choice(ways)(data)
    return packed


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


# --------------------------------------------------------------------------------------------------------------- JSON


def tree(random: Random, document: Any, keys: Sequence[str]) -> Any:
    """Return a document with some of its nodes changed.

    Args:
        random: What is drawn from.
        document: A document of plain data; not changed.
        keys: Keys that mean something in such documents.
    """
    made = copy.deepcopy(document)
    for _ in range(random.choice([0, 1, 1, 1, 2, 3, 6])):
        made = _changed(random, made, keys)
    return made


def _changed(random: Random, document: Any, keys: Sequence[str]) -> Any:
    places = [*_places(document)]
    if not places or random.random() < 0.03:
        return random.choice(INTERESTING)
    holder, at = random.choice(places)
    match random.randrange(8):
        case 0 | 1:
            holder[at] = copy.deepcopy(random.choice(INTERESTING))
        case 2:
            del holder[at]
        case 3:
            source, where = random.choice(places)
            holder[at] = copy.deepcopy(source[where])
        case 4 if isinstance(holder, list):
            holder[at:at] = [copy.deepcopy(holder[at])] * random.choice([1, 2, 50])
        case 5 if isinstance(holder, dict):
            name = random.choice([*keys, str(at).upper(), str(at) + "x"])
            holder[name] = holder.pop(at)
        case 6:
            holder[at] = random.choice([[holder[at]], {str(random.choice(keys)): holder[at]}])
        case _ if isinstance(holder, dict):
            source, where = random.choice(places)
            holder[random.choice(keys)] = copy.deepcopy(source[where])
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Return every place in a document: what holds it, and where it is in that."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(found) < 5000:
        holder = waiting.pop()
        steps = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for step in steps:
            found.append((holder, step))
            waiting.append(holder[step])
    return found


def written(random: Random, document: Any) -> bytes:
    """Write a document, mostly as JSON."""
    data = json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    if random.random() < 0.05:
        data = b'{"schemaVersion":2,' + data[1:]  # mostly a key that is there twice
    if random.random() < 0.03:
        data = b"[" * 3000 + data + b"]" * 3000
    return damaged(random, data) if random.random() < 0.15 else data


# ---------------------------------------------------------------------------------------------------------------- tar


def tar_file(random: Random, data: bytes) -> bytes:
    """Return a tar file with headers changed, members lost or doubled, checksums mostly put right again."""
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        headers = [number for number, block in enumerate(blocks) if block[257:262] == b"ustar"]
        if not headers:
            break
        at = random.choice(headers)
        match random.randrange(6):
            case 0 | 1 | 2:
                blocks[at] = _header(random, blocks[at])
            case 3:
                del blocks[at]
            case 4:
                blocks[at:at] = [blocks[random.choice(headers)]]
            case _:
                blocks[at:at] = [_extended(random), random.randbytes(40).ljust(BLOCK, b"\0")]
    made = b"".join(blocks)
    return damaged(random, made) if random.random() < 0.2 else made


# Where a field of a header is, and how long it is.
FIELDS = {"name": (0, 100), "mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12), "type": (156, 1)}
FIELDS |= {"link": (157, 100), "magic": (257, 8), "devmajor": (329, 8), "prefix": (345, 155)}
NAMES = (
    *(b"", b"/", b"..", b"../x", b"index.json", b"oci-layout", b"./index.json", b"blobs/sha256/x", b"\xff\xfe"),
    *(b"manifest.json", b"a/" * 49, b".wh.x", b".wh..wh..opq", b"x" * 100),
)
TYPES = b"\0" + b"01234567LKxgSDMV?"


def _header(random: Random, block: bytes) -> bytes:
    name = random.choice([*FIELDS])
    start, length = FIELDS[name]
    if name in {"name", "link", "prefix"}:
        value = random.choice(NAMES)
    elif name == "type":
        value = bytes([random.choice(TYPES)])
    elif name == "magic":
        value = random.choice([b"ustar\x0000", b"ustar  \0", b"\0" * 8])
    else:
        number = random.choice(NUMBERS)
        octal = b"%o" % abs(number)
        value = octal if random.random() < 0.6 else b"\x80" + (number % 2**88).to_bytes(11, "big")[-length + 1 :]
        value = (
            random.choice([value, b" " * length, b"-1", b"9x", b"\xff" * length]) if random.random() < 0.2 else value
        )
    made = bytearray(block.ljust(BLOCK, b"\0"))
    made[start : start + length] = value[:length].ljust(length, b"\0")
    return _summed(made) if random.random() < 0.9 else bytes(made)


def _summed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _extended(random: Random) -> bytes:
    block = bytearray(BLOCK)
    block[:5], block[124:135], block[257:265] = b"./pax", b"%011o" % random.choice([0, 40, 600, 2**30]), b"ustar\x0000"
    block[156] = random.choice(b"xgLK")
    return _summed(block)
