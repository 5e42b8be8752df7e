"""What a signature of an image says: this manifest is called that (containers-signature(5)).

Both kinds of signatures sign the same document but for its ``type``. It is read strictly, and only after it was
verified: a member that one reader sees and another does not is how a signature is made to say two things.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ocikit.errors import InvalidDigestError, InvalidSignatureError, LimitExceededError, ParseError
from ocikit.spec import Digest
from ocikit.spec._json import describe, dumps, json_path, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

# The last second of the year 9999.
_LAST_SECOND: Final = 253_402_300_800

__all__ = ["Payload", "PayloadType", "read_payload"]


class PayloadType(enum.Enum):
    """The ``critical.type`` of a payload."""

    #: Signed by OpenPGP.
    SIMPLE = "atomic container signature"
    #: Signed by sigstore.
    SIGSTORE = "cosign container image signature"


@frozen(kw_only=True)
class Payload:
    """What a signature says of an image.

    Attributes:
        digest: The digest of the manifest.
        docker_reference: What the signer calls the image; any text.
        creator: The program that made the signature, when it says so.
        timestamp: When it was made, in seconds since the epoch, when it says so; nothing proves it.
        optional: What else the signer says.
    """

    digest: Digest
    docker_reference: str
    creator: str | None = None
    timestamp: int | None = None
    optional: Mapping[str, Any] = field(factory=dict)

    @property
    def created(self) -> dt.datetime | None:
        """``timestamp`` as a time; None when it says none, or one that no calendar has."""
        if self.timestamp is None or not 0 <= self.timestamp < _LAST_SECOND:
            return None
        return dt.datetime.fromtimestamp(self.timestamp, dt.UTC)

    def to_json(self, payload_type: PayloadType) -> bytes:
        """Write the document that is signed.

        Args:
            payload_type: For which kind of signature.
        """
        optional = dict(self.optional)
        if self.creator is not None:
            optional["creator"] = self.creator
        if self.timestamp is not None:
            optional["timestamp"] = self.timestamp
        critical = {
            "identity": {"docker-reference": self.docker_reference},
            "image": {"docker-manifest-digest": str(self.digest)},
            "type": payload_type.value,
        }
        return dumps({"critical": critical, "optional": optional})


def read_payload(data: bytes, payload_type: PayloadType) -> Payload:
    """Read what a signature says; the bytes were verified before.

    Args:
        data: The document.
        payload_type: The kind of signature that it was found in.

    Raises:
        InvalidSignatureError: It is malformed, says more or less than it may, or is of another type.
    """
    try:
        document = loads(data)
    except (ParseError, LimitExceededError) as error:
        raise InvalidSignatureError(f"what is signed is no JSON document: {error}") from error
    members = _exactly(document, "$", ("critical", "optional"))
    critical = _exactly(members["critical"], "$.critical", ("type", "image", "identity"))
    found = _text(critical["type"], "$.critical.type")
    if found != payload_type.value:
        raise _fault("$.critical.type", f"expected {payload_type.value!r}, found {found!r}")
    image = _exactly(critical["image"], "$.critical.image", ("docker-manifest-digest",))
    identity = _exactly(critical["identity"], "$.critical.identity", ("docker-reference",))
    optional = members["optional"]
    if optional is None and payload_type is PayloadType.SIGSTORE:
        optional = {}  # what cosign writes when it has nothing to say
    rest = dict(_object(optional, "$.optional"))
    creator, timestamp = rest.pop("creator", None), rest.pop("timestamp", None)
    return Payload(
        digest=_digest(image["docker-manifest-digest"], '$.critical.image["docker-manifest-digest"]'),
        docker_reference=_text(identity["docker-reference"], '$.critical.identity["docker-reference"]'),
        creator=None if "creator" not in _object(optional, "$.optional") else _text(creator, "$.optional.creator"),
        timestamp=None if timestamp is None else _whole(timestamp, "$.optional.timestamp"),
        optional=rest,
    )


def _fault(path: str, reason: str) -> InvalidSignatureError:
    return InvalidSignatureError(f"what is signed: {path}: {reason}")


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault(path, f"expected an object, found {describe(value)}")
    return value


def _exactly(value: object, path: str, keys: tuple[str, ...]) -> dict[str, Any]:
    members = _object(value, path)
    for key in keys:
        if key not in members:
            raise _fault(json_path([key], path), "missing")
    for key in members:
        if key not in keys:
            raise _fault(json_path([key], path), f"unknown; expected {', '.join(keys)} and nothing else")
    return members


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _fault(path, f"expected a string, found {describe(value)}")
    return value


def _whole(value: object, path: str) -> int:
    # A number of JSON has no type: 1.0 and 1e3 are whole.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise _fault(path, f"expected a whole number, found {describe(value)}")
    if abs(value) >= _MOST_SECONDS:
        raise _fault(path, f"{value!r} is no time in seconds")
    return int(value)


_MOST_SECONDS: Final = 2**63


def _digest(value: object, path: str) -> Digest:
    try:
        return Digest.parse(_text(value, path))
    except InvalidDigestError as error:
        raise _fault(path, str(error)) from error
