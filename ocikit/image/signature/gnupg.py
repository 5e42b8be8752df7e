"""GnuPG, called to sign: it has the secret keys, and asks for what opens them.

Nothing here verifies, and no secret is ever in the words of a command, an environment or an error.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from ocikit.errors import SigningError
from ocikit.image.given import check_passphrase_kind

if TYPE_CHECKING:
    import subprocess

__all__ = ["check_passphrase", "check_secret_key", "sign_with_gpg"]

# A pipe takes this much without a reader (POSIX: at least 512, Linux: 65,536).
_MOST_PASSPHRASE: Final = 4096
_STATUS: Final = "[GNUPG:] "

_NONE: Final = "there is no secret key with this fingerprint, or it is revoked, has expired or is not for signing"
# The codes of an INV_SGNR line (doc/DETAILS of GnuPG).
_UNUSABLE: Final = {
    1: "there is no such key",
    2: "there is more than one such key",
    3: "the key is not for signing",
    4: "the key is revoked",
    5: "the key has expired",
    9: _NONE,
    13: "the key is disabled",
}
# The codes of a FAILURE line, less the source in the upper bits (libgpg-error).
_FAILED: Final = {
    11: "the passphrase is wrong, or one is needed and none was given",
    17: _NONE,
    54: "the secret key cannot be used: it is revoked, has expired or is not for signing",
    62: "whoever was to give the passphrase did not in time",
    85: "a passphrase is needed, and there is nobody to ask for it",
    177: "the passphrase is empty, and one is needed",
    99: "whoever was to give the passphrase declined",
    # ENOTTY: with a passphrase wanted, and no terminal to ask at.
    0x8066: "a passphrase is needed, and there is no terminal to ask at; give it, or have gpg-agent know it",
}


def check_passphrase(passphrase: bytes | str) -> bytes:
    """Return a passphrase as it is handed over.

    Raises:
        SigningError: It has a line feed or a zero byte in it, or is longer than 4,096 bytes.
        TypeError: It is neither text nor bytes.
    """
    check_passphrase_kind(passphrase)
    try:
        encoded = passphrase if isinstance(passphrase, bytes) else passphrase.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Without its cause, which has the passphrase in it.
        raise SigningError("the passphrase has characters in it that are none") from None
    if b"\n" in encoded or b"\0" in encoded or len(encoded) > _MOST_PASSPHRASE:
        raise SigningError(
            f"the passphrase is longer than {_MOST_PASSPHRASE:,} bytes, or than a line: the line feed at the end of a "
            "file does not belong to it"
        )
    return encoded


def sign_with_gpg(
    content: bytes, *, key: str, passphrase: bytes | str | None, home: str | os.PathLike[str] | None, timeout: float
) -> bytes:
    """Have ``gpg`` make a signed message.

    Args:
        content: What is to be signed.
        key: The fingerprint of the key.
        passphrase: What opens it; without one the agent knows it, or asks whom it is set up to ask.
        home: Where GnuPG keeps its keys, when that is not the place where it looks by itself.
        timeout: After how many seconds to give up.

    Raises:
        SigningError: It cannot: no such program, no such key, a wrong passphrase, too late.
    """
    words = ["--batch", "--no-tty", "--status-fd", "2", "--no-armor", "--no-textmode"]
    # What SHA-1 signs is accepted by nobody who is careful; an old configuration may prefer it.
    words += ["--personal-digest-preferences", "SHA512 SHA384 SHA256"]
    words += ["--homedir", os.fspath(home)] if home is not None else []
    words += ["--local-user", key, "--output", "-"]
    done = _run(words, ["--sign"], content, passphrase, timeout)
    said = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    made = [line for line in said if line.startswith(f"{_STATUS}SIG_CREATED ")]
    if done.returncode or not made:
        where = f" in {os.fspath(home)}" if home is not None else ""
        raise SigningError(f"gpg made no signature with the key {key}{where}: {_reason(said, done.returncode)}")
    if len(made) > 1:
        raise SigningError(
            f"gpg signed with {len(made)} keys; remove local-user from gpg.conf: exactly one is accepted"
        )
    return done.stdout


def check_secret_key(key: str, *, home: str | os.PathLike[str] | None, timeout: float) -> None:
    """Return when ``gpg`` is there and has a secret key. Whether it is open, and may sign, is known when it does.

    Args:
        key: The fingerprint of the key.
        home: As for :func:`sign_with_gpg`.
        timeout: Likewise.

    Raises:
        SigningError: There is no such program, or no such key.
    """
    words = ["--batch", "--no-tty", "--with-colons", *(["--homedir", os.fspath(home)] if home is not None else [])]
    if _run(words, ["--list-secret-keys", key], b"", None, timeout).returncode:
        where = f" in {os.fspath(home)}" if home is not None else ""
        raise SigningError(f"gpg has no secret key {key}{where}; gpg --list-secret-keys shows those that it has")


def _run(
    words: list[str], command: list[str], content: bytes, passphrase: bytes | str | None, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    import shutil  # noqa: PLC0415 - loaded when first needed
    import subprocess  # noqa: PLC0415

    program = shutil.which("gpg") or shutil.which("gpg2")
    if program is None:
        raise SigningError("signing needs the program gpg, which is not there; install the package gpg (or gnupg)")
    opened, extra = _handed_over(passphrase)
    try:
        return subprocess.run(
            [program, *words, *extra, *command],
            input=content,
            capture_output=True,
            check=False,
            timeout=timeout,
            pass_fds=opened,
            env=os.environ | {"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        # Without its cause: that has the words and what was written so far.
        raise SigningError(f"gpg did not answer within {timeout:g} s; it may wait for a passphrase") from None
    except OSError as error:
        raise SigningError(f"{program}: {error.strerror}") from error
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _handed_over(passphrase: bytes | str | None) -> tuple[tuple[int, ...], list[str]]:
    """Put a passphrase into a pipe; return what has to be open in gpg, and the words that tell it."""
    if passphrase is None:
        return (), []
    encoded = check_passphrase(passphrase)
    reading, writing = os.pipe()
    try:
        os.write(writing, encoded + b"\n")
    finally:
        os.close(writing)
    return (reading,), ["--pinentry-mode", "loopback", "--passphrase-fd", str(reading)]


def _reason(said: list[str], code: int) -> str:
    """Make one line of what gpg said: what its status lines mean, else its last words."""
    status = [line.removeprefix(_STATUS).split() for line in said if line.startswith(_STATUS)]
    for line in status:
        if line[0] == "INV_SGNR" and len(line) > 1 and _number(line[1]) in _UNUSABLE:
            return _UNUSABLE[_number(line[1])]
    for line in status:
        if line[0] == "FAILURE" and len(line) > 2 and _number(line[2]) & 0xFFFF in _FAILED:
            return _FAILED[_number(line[2]) & 0xFFFF]
    words = [line for line in said if line and not line.startswith(_STATUS)]
    last = re.sub(r"[^\x20-\x7e]", "?", words[-1])[:200] if words else "it said nothing"
    return f"exit code {code}: {last}"


def _number(word: str) -> int:
    return int(word) if word.isascii() and word.isdigit() else 0
