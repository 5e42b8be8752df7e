"""Simple signing: what images are called, signed by OpenPGP (containers-signature(5)).

Signatures are verified here and made by ``gpg``, which has the secret keys.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit import __version__
from ocikit.errors import InvalidSignatureError, LimitExceededError, SigningError
from ocikit.image.signature.gnupg import check_passphrase, check_secret_key, sign_with_gpg
from ocikit.image.signature.openpgp.message import unverified_message, verify_message
from ocikit.image.signature.payload import Payload, PayloadType, read_payload
from ocikit.image.stored_signature import SimpleSignature

if TYPE_CHECKING:
    import datetime as dt
    import os

    from ocikit.image.reference import Named
    from ocikit.image.signature.openpgp.keyring import Keyring
    from ocikit.image.signature.openpgp.message import SignedMessage
    from ocikit.spec import Digest

__all__ = ["SimpleSigner", "verify_simple"]

# Of version 4 and of version 6; shorter names of keys can be made to fit another key.
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_CREATOR: Final = f"ocikit {__version__}"


def _without_spaces(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"key_fingerprint: expected text, hexadecimal digits, found {type(text).__name__}")
    return re.sub(r"[ \t]", "", text).removeprefix("0x").upper()


@frozen(kw_only=True)
class SimpleSigner:
    """Signs with a key that GnuPG has, by calling ``gpg``.

    Attributes:
        key_fingerprint: The fingerprint of the key in full, 40 or 64 hexadecimal digits; that of a primary key stands
            for the newest key of it that may sign.
        passphrase: What opens the key. Without one GnuPG's agent knows it, or asks whom it is set up to ask.
        gnupg_home: Where GnuPG keeps its keys, when that is not the place where it looks by itself.
        creator: What the signature says about the program that made it.
        timeout: After how many seconds to give up.
    """

    key_fingerprint: str = field(converter=_without_spaces)
    passphrase: bytes | str | None = field(default=None, repr=False)
    gnupg_home: str | os.PathLike[str] | None = None
    creator: str = _CREATOR
    timeout: float = 60

    def __attrs_post_init__(self) -> None:
        if not _FINGERPRINT.fullmatch(self.key_fingerprint):
            raise SigningError(
                f"{self.key_fingerprint!r} is not the fingerprint of a key: expected 40 (or 64) hexadecimal digits, as "
                "gpg --list-secret-keys shows them"
            )
        if self.passphrase is not None:
            check_passphrase(self.passphrase)

    @property
    def description(self) -> str:
        """The key, for messages and logs."""
        return f"the OpenPGP key {self.key_fingerprint}"

    def prepare(self) -> None:
        """Return when gpg is there and has the key: what can be known before there is anything to sign.

        Raises:
            SigningError: There is no such program, or no such key.
        """
        check_secret_key(self.key_fingerprint, home=self.gnupg_home, timeout=self.timeout)

    def sign(self, digest: Digest, docker_reference: Named) -> SimpleSignature:
        """Sign a manifest.

        Args:
            digest: The digest of the manifest.
            docker_reference: What the image is called, with a tag or a digest.

        Raises:
            SigningError: gpg is not there, has no such key, cannot open it, does not answer in time, or makes something
                that nobody would accept.
        """
        if docker_reference.is_name_only:
            raise SigningError(
                f"{docker_reference} has neither a tag nor a digest; an image is signed under one of them"
            )
        payload = Payload(
            digest=digest, docker_reference=str(docker_reference), creator=self.creator, timestamp=int(time.time())
        )
        content = payload.to_json(PayloadType.SIMPLE)
        made = sign_with_gpg(
            content,
            key=self.key_fingerprint,
            passphrase=self.passphrase,
            home=self.gnupg_home,
            timeout=self.timeout,
        )
        try:
            said = unverified_message(made).untrusted_content
        except (InvalidSignatureError, LimitExceededError) as error:
            raise SigningError(f"gpg made something else than a signed message; look at gpg.conf: {error}") from error
        if said != content:
            raise SigningError("gpg signed something else than what it was given; look at gpg.conf")
        return SimpleSignature(message=made)


def verify_simple(
    signature: SimpleSignature, keyring: Keyring, *, now: dt.datetime | None = None
) -> tuple[SignedMessage, Payload]:
    """Verify a simple signature, and return who made it and what it says. Whether that fits an image is not looked at.

    Args:
        signature: The signature.
        keyring: The certificates whose signatures are accepted.
        now: The time at which signature and key have to hold, with its time zone; the present when it is not given.

    Raises:
        InvalidSignatureError: It is not one that is accepted, or what it says is malformed.
        LimitExceededError: It is larger than 4 MiB, or becomes so when it is decompressed.
    """
    message = verify_message(signature.message, keyring, now=now)
    return message, read_payload(message.content, PayloadType.SIMPLE)
