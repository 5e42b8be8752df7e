"""Programs that keep credentials: ``docker-credential-X get|store|erase|list``, in the protocol of Docker.

What it is about goes to the standard input of the program, and never into its arguments. It has bounded time, and what
it says has a bounded length. Nothing that could be a secret gets into an error.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import time
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ocikit._display.text import blanked
from ocikit.errors import CredentialsError, LimitExceededError, ParseError
from ocikit.image.context import DockerAuthConfig
from ocikit.spec._json import describe, dumps, loads

if TYPE_CHECKING:
    import subprocess

__all__ = ["TOKEN_USER", "erase_with", "exists", "get_from", "list_of", "store_with"]

#: The name of the user that stands for an identity token.
TOKEN_USER: Final = "<token>"  # noqa: S105 - a name, not a secret

# Some ask their user, or a service far away.
_PATIENCE_SECONDS: Final = 60.0
_MOST_BYTES: Final = 1 << 20
_CHUNK: Final = 1 << 16
_MOST_SHOWN: Final = 200
_NOT_FOUND: Final = "credentials not found in native keychain"


@frozen(kw_only=True)
class _Said:
    """How a program ended, and what it said."""

    code: int
    output: bytes = field(repr=False)

    @property
    def is_not_found(self) -> bool:
        """Whether it has nothing of what it was asked for; a host that ignores SIGCHLD learns of no code."""
        return self.output.decode(errors="replace").strip() == _NOT_FOUND


def get_from(program: str, server: str) -> DockerAuthConfig | None:
    """Return what a program has for a registry; None when it has nothing.

    Args:
        program: The X of its name.
        server: The registry.

    Raises:
        CredentialsError: It is not there, failed, took more than a minute, or said what nobody understands.
        LimitExceededError: It said more than 1 MiB.
    """
    said = _run(program, "get", server.encode())
    if said.is_not_found:
        return None
    _check(program, "get", said)
    answer = _object(program, "get", said.output)
    username, secret = (_text(program, answer, key) for key in ("Username", "Secret"))
    if username == TOKEN_USER:
        found = DockerAuthConfig(identity_token=secret)
    else:
        found = DockerAuthConfig(username=username, password=secret)
    return None if found.is_empty else found


def store_with(program: str, server: str, auth: DockerAuthConfig) -> None:
    """Have a program keep credentials.

    Args:
        program: The X of its name.
        server: The registry.
        auth: The credentials.

    Raises:
        CredentialsError: As for :func:`get_from`.
        LimitExceededError: As for :func:`get_from`.
    """
    username, secret = (TOKEN_USER, auth.identity_token) if auth.identity_token else (auth.username, auth.password)
    message = dumps({"ServerURL": server, "Username": username, "Secret": secret})
    _check(program, "store", _run(program, "store", message), hidden=(secret,))


def erase_with(program: str, server: str) -> bool:
    """Have a program forget what it has for a registry; say whether it had something, as far as it tells.

    Args:
        program: The X of its name.
        server: The registry.

    Raises:
        CredentialsError: As for :func:`get_from`.
        LimitExceededError: As for :func:`get_from`.
    """
    said = _run(program, "erase", server.encode())
    if said.is_not_found:
        return False
    _check(program, "erase", said)
    return True


def list_of(program: str) -> dict[str, str]:
    """Return the registries that a program has something for, each with the name of the user.

    Args:
        program: The X of its name.

    Raises:
        CredentialsError: As for :func:`get_from`.
        LimitExceededError: As for :func:`get_from`.
    """
    said = _run(program, "list", b"")
    _check(program, "list", said)
    found = _object(program, "list", said.output)
    return {server: user for server, user in found.items() if isinstance(user, str)}


def exists(program: str) -> bool:
    """Say whether a program is there.

    Args:
        program: The X of its name.
    """
    return _found(program) is not None


def _found(program: str) -> str | None:
    # A program in the current directory is whatever somebody put there.
    path = shutil.which(f"docker-credential-{program}")
    return path if path is not None and os.path.isabs(path) else None


def _run(program: str, action: str, message: bytes) -> _Said:
    import subprocess  # noqa: PLC0415 - for those who have such a program

    path = _found(program)
    if path is None:
        raise CredentialsError(f"docker-credential-{program}: expected a program of that name on PATH, found none")
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen([path, action], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{path}: could not be executed: {error}") from error
    try:
        output = _conversation(child, message, f"{path} {action}")
        # It has closed its output: what it does now is to end.
        child.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise CredentialsError(f"{path} {action}: closed its output and went on for a minute") from None
    finally:
        child.kill()
        child.wait()
        _close(child)
    return _Said(code=child.returncode, output=output)


def _close(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        # What could not be written to a program that is gone is of no interest.
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()


def _conversation(child: subprocess.Popen[bytes], message: bytes, what: str) -> bytes:
    """Hand a message to a program and return what it says, until it says no more."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    left, output = memoryview(message), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, event in ((child.stdin, selectors.EVENT_WRITE), (child.stdout, selectors.EVENT_READ)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, event)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise CredentialsError(f"{what}: did not end within {_PATIENCE_SECONDS:.0f} seconds, and was killed")
            for key, event in ready:
                if event & selectors.EVENT_WRITE:
                    left = left[_taken(key.fd, left) :]
                    is_done = not left
                else:
                    is_done = _is_at_end(key.fd, output, what)
                if is_done:
                    selector.unregister(key.fileobj)
                    if key.fileobj is child.stdin:
                        child.stdin.close()  # a program reads until its input ends
    return bytes(output)


def _taken(fd: int, left: memoryview) -> int:
    try:
        return os.write(fd, left) if left else 0
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(left)


def _is_at_end(fd: int, output: bytearray, what: str) -> bool:
    try:
        part = os.read(fd, _CHUNK)
    except BlockingIOError:
        return False
    output += part
    if len(output) > _MOST_BYTES:
        raise LimitExceededError(f"{what}: bytes of output", _MOST_BYTES)
    return not part


def _check(program: str, action: str, said: _Said, hidden: tuple[str, ...] = ()) -> None:
    if not said.code:
        return
    text = said.output.decode(errors="replace").strip()
    for secret in hidden:
        text = text.replace(secret, "…") if secret else text
    # What looks like an answer may have a secret in it; what is said of a failure is a line.
    shown = blanked(text[:_MOST_SHOWN]) if "{" not in text else ""
    raise CredentialsError(
        f"docker-credential-{program} {action}: ended with {said.code}" + (f"; it said: {shown}" if shown else "")
    )


def _object(program: str, action: str, data: bytes) -> dict[str, object]:
    what = f"docker-credential-{program} {action}"
    try:
        found = loads(data, max_bytes=_MOST_BYTES, max_depth=20)
    except ParseError as error:
        raise CredentialsError(f"{what}: expected a JSON object: {error.reason}") from None
    if not isinstance(found, dict):
        raise CredentialsError(f"{what}: expected a JSON object, found {describe(found)}")
    return found


def _text(program: str, answer: dict[str, object], key: str) -> str:
    value = answer.get(key, "")
    if not isinstance(value, str):
        raise CredentialsError(f"docker-credential-{program} get: {key}: expected a string, found {describe(value)}")
    return value
