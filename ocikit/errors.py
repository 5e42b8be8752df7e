"""Every error ocikit raises, in one tree.

::

    OCIKitError
    ├── NotSupportedError                    this platform, kernel or build cannot do it (NotImplementedError)
    │   └── UnsupportedFieldError            a field of a spec is set that ocikit does not act on
    ├── MissingDependencyError               a library is needed that is not installed (ImportError)
    ├── SystemCallError                      a system call failed outside any family below (OSError)
    ├── LimitExceededError                   input is larger, deeper or longer than the stated limit (ValueError)
    ├── SpecError                            documents of the runtime and image specifications
    │   ├── ParseError                       not JSON, or a value of the wrong type (ValueError)
    │   ├── ValidationError                  a MUST of the specification is violated (ValueError)
    │   └── InvalidDigestError               not a digest in the grammar of the image specification (ValueError)
    ├── ImageError                           images, where they are stored and how they are moved
    │   ├── InvalidReferenceError            not a reference in the grammar of its transport (ValueError)
    │   ├── ImageNotFoundError               the place exists, the image in it does not (LookupError)
    │   ├── AmbiguousImageError              the reference fits more than one image (LookupError)
    │   ├── BlobNotFoundError                a manifest refers to content that is not there (LookupError)
    │   ├── ManifestError                    a manifest that contradicts itself or its media type (ValueError)
    │   ├── ManifestTypeRejectedError        the destination does not accept this manifest type
    │   ├── DigestChangeError                a manifest would have to change and must not (ValueError)
    │   ├── LayoutError                      a layout, archive or directory is damaged or not one (ValueError)
    │   ├── TransportError                   what was registered is no transport, or its name is taken (ValueError)
    │   ├── LayoutBusyError                  whoever asks has the layout open in a way that excludes it
    │   ├── CompressionError                 compressed data is damaged or of an unknown kind (ValueError)
    │   ├── VerificationError                content is not what it is claimed to be (ValueError)
    │   │   ├── DigestMismatchError          the bytes have another digest
    │   │   ├── SizeMismatchError            there are more or fewer bytes
    │   │   └── InvalidSignatureError        a signature does not prove what it should
    │   ├── SigningError                     a signature could not be made
    │   ├── EncryptionError                  a layer could not be encrypted or decrypted (ValueError)
    │   ├── LayerError                       a layer cannot be applied as it stands (ValueError)
    │   ├── UnpackError                      the file system refused while a layer was applied (OSError)
    │   ├── InvalidConfigurationError        a file about registries or credentials is malformed (ValueError)
    │   ├── BlockedRegistryError             registries.conf blocks what was asked for (PermissionError)
    │   ├── ShortNameError                   a short name stands for nothing, or for too much (LookupError)
    │   ├── CredentialsError                 credentials could not be read, stored or removed
    │   └── PolicyError                      the signature policy
    │       ├── InvalidPolicyError           policy.json is malformed (ValueError)
    │       ├── PolicyNotFoundError          no policy was given and none was found (LookupError)
    │       └── PolicyRequirementError       the policy does not allow this image (PermissionError)
    ├── BundleError                          image and specification do not make a bundle (ValueError)
    ├── ContainerError                       the life of a container
    │   ├── InvalidIDError                   a container id outside the grammar (ValueError)
    │   ├── ExistError                       a container with this id exists
    │   ├── NotExistError                    no container has this id (LookupError)
    │   ├── NotRunningError                  the operation needs a running container
    │   ├── RunningError                     the operation needs a stopped container
    │   ├── PausedError                      the container is paused
    │   ├── NotPausedError                   the container is not paused
    │   ├── RunTimeoutError                  a container that was run did not end in time (TimeoutError)
    │   ├── DetachedError                    whoever was attached to a container is so no more
    │   ├── StateError                       state on disk is damaged or not to be trusted (ValueError)
    │   ├── SetupError                       a step of making the container failed (OSError)
    │   ├── HookError                        a hook of the configuration failed
    │   └── CgroupError                      a cgroup could not be made, joined or removed (OSError)
    └── ServiceError                         the service over images, snapshots and containers

Bad input is also a ``ValueError``, a failed system call also an ``OSError``. Every
message says what was expected, what was found, where, and, when it is known, what to do.
"""

from __future__ import annotations

import os
from typing import ClassVar

# The tree above has a line for each.
# fmt: off
__all__ = [
    "AmbiguousImageError", "BlobNotFoundError", "BlockedRegistryError", "BundleError", "CgroupError",
    "CompressionError", "ContainerError", "CredentialsError", "DetachedError", "DigestChangeError",
    "DigestMismatchError", "EncryptionError", "ExistError", "HookError", "ImageError", "ImageNotFoundError",
    "InvalidConfigurationError", "InvalidDigestError", "InvalidIDError", "InvalidPolicyError",
    "InvalidReferenceError", "InvalidSignatureError", "LayerError", "LayoutBusyError", "LayoutError",
    "LimitExceededError", "ManifestError", "ManifestTypeRejectedError", "MissingDependencyError", "NotExistError",
    "NotPausedError", "NotRunningError", "NotSupportedError", "OCIKitError", "ParseError", "PausedError",
    "PolicyError", "PolicyNotFoundError", "PolicyRequirementError", "RunTimeoutError", "RunningError", "ServiceError",
    "SetupError", "ShortNameError", "SigningError", "SizeMismatchError", "SpecError", "StateError", "SystemCallError",
    "TransportError", "UnpackError", "UnsupportedFieldError", "ValidationError", "VerificationError",
]
# fmt: on


class OCIKitError(Exception):
    """Base of every error that ocikit raises; never raised itself."""

    # Names of the attributes that the constructor takes, for errors that take more than a message: an error crosses
    # the boundary of a process (multiprocessing, concurrent.futures) whole, with its notes.
    _arguments: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> str | tuple[object, ...]:
        if not self._arguments:
            return super().__reduce__()
        return type(self), tuple(getattr(self, name) for name in self._arguments), self.__dict__


class _FailedCallError(OCIKitError, OSError):
    """A failed system call: ``errno``, ``strerror`` and ``filename`` are set as in any OSError.

    Args:
        action: What was being done, in words ("mount proc").
        errno_: The error number.
        path: The path it was done at, when there is one.
        remedy: What the reader can do about it, when that is known.
    """

    _arguments = ("action", "errno", "filename", "remedy")

    def __init__(self, action: str, errno_: int, path: str | None = None, remedy: str | None = None) -> None:
        super().__init__(errno_, os.strerror(errno_), path)
        self.action = action
        self.remedy = remedy

    def __str__(self) -> str:
        where = f" at {self.filename}" if self.filename is not None else ""
        text = f"{self.action}{where}: {self.strerror} (errno {self.errno})"
        return f"{text}; {self.remedy}" if self.remedy else text


class _AtPathError(OCIKitError):
    """Something is wrong at a place in a document.

    Args:
        path: The JSON path of the place (``$.mounts[3].options``); ``$`` is the document.
        reason: What was expected and what was found.
        source: The file it came from, when that is known.
    """

    _arguments = ("path", "reason", "source")

    def __init__(self, path: str, reason: str, source: str | None = None) -> None:
        super().__init__(f"{source}: {path}: {reason}" if source else f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.source = source


class NotSupportedError(OCIKitError, NotImplementedError):
    """This platform, kernel or build cannot do what was asked."""


class UnsupportedFieldError(_AtPathError, NotSupportedError):
    """A field of a specification is set that ocikit does not act on; ``path`` is the field, ``reason`` why.

    A field is never silently ignored: a container that lacks a protection its
    configuration asks for is worse than none.
    """


class MissingDependencyError(OCIKitError, ImportError):
    """A Python or system library is needed for this call and is not installed."""


class SystemCallError(_FailedCallError):
    """A system call failed outside any family of its own."""


class LimitExceededError(OCIKitError, ValueError):
    """Input is larger, deeper or longer than a stated limit allows.

    Args:
        what: What is counted ("manifest bytes").
        limit: The limit.
        found: The value found, when it is known.
        remedy: How to raise the limit, when the caller can.
    """

    _arguments = ("what", "limit", "found", "remedy")

    def __init__(self, what: str, limit: float, found: float | None = None, remedy: str | None = None) -> None:
        more = f", found {found:,}" if found is not None else ""
        super().__init__(f"{what}: limit {limit:,}{more}" + (f"; {remedy}" if remedy else ""))
        self.what = what
        self.limit = limit
        self.found = found
        self.remedy = remedy

    def within(self, where: str) -> LimitExceededError:
        """Return the error with the place where it was found, for whoever knows more of that."""
        return LimitExceededError(f"{where}: {self.what}", self.limit, self.found, self.remedy)


class SpecError(OCIKitError):
    """Base of the errors about documents of the specifications."""


class ParseError(_AtPathError, SpecError, ValueError):
    """A document is not JSON, or a value in it has the wrong type; ``path`` is the value."""


class ValidationError(SpecError, ValueError):
    """A document violates one or more MUSTs of its specification.

    Args:
        violations: Every violation, each as ``"<JSON path>: <what is wrong>"``.
    """

    _arguments = ("violations",)

    def __init__(self, violations: tuple[str, ...]) -> None:
        super().__init__("; ".join(violations))
        self.violations = violations


class InvalidDigestError(SpecError, ValueError):
    """A string is not a digest in the grammar of the image specification (descriptor.md)."""


class ImageError(OCIKitError):
    """Base of the errors about images, where they are stored and how they are moved."""


class InvalidReferenceError(ImageError, ValueError):
    """A string is not a reference in the grammar of its transport."""


class ImageNotFoundError(ImageError, LookupError):
    """The place exists and can be read; the image that was asked for is not in it."""


class AmbiguousImageError(ImageError, LookupError):
    """The reference fits more than one image, or the platform none in particular."""


class BlobNotFoundError(ImageError, LookupError):
    """A manifest refers to content that is not there."""


class ManifestError(ImageError, ValueError):
    """A manifest is malformed, of an unknown type, or contradicts itself or its media type."""


class ManifestTypeRejectedError(ImageError):
    """The destination does not accept a manifest of this type; another type may be tried."""


class DigestChangeError(ImageError, ValueError):
    """A copy would have to change a manifest that must stay as it is.

    Attributes:
        manifest: The manifest.
        changes: What would change in it.
        reasons: Why it must not.
    """

    _arguments = ("manifest", "changes", "reasons")

    def __init__(self, manifest: str, changes: tuple[str, ...], reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"{manifest}: would get another digest: {'; '.join(changes)}. It must keep this one: {'; '.join(reasons)}"
        )
        self.manifest = manifest
        self.changes = changes
        self.reasons = reasons


class LayoutError(ImageError, ValueError):
    """A layout, archive or directory is damaged, or is not one at all."""


class LayoutBusyError(ImageError):
    """A thread asks for a layout in a way that its own open source or destination excludes: it would wait for ever."""


class TransportError(ImageError, ValueError):
    """What is registered as a transport has not the interface of one, or another has its name."""


class CompressionError(ImageError, ValueError):
    """Compressed data is damaged, truncated, or of a kind that cannot be read here."""


class VerificationError(ImageError, ValueError):
    """Content is not what it is claimed to be."""


class DigestMismatchError(VerificationError):
    """Bytes have another digest than the one they were asked for by.

    Args:
        what: What was verified ("layer 2 of oci:/x:1", "diffID of layer 0").
        expected: The digest that was claimed.
        actual: The digest of the bytes.
    """

    _arguments = ("what", "expected", "actual")

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(f"{what}: expected digest {expected}, found {actual}")
        self.what = what
        self.expected = expected
        self.actual = actual


class SizeMismatchError(VerificationError):
    """There are more or fewer bytes than claimed.

    Args:
        what: What was verified.
        expected: The size that was claimed, in bytes.
        actual: The number of bytes found; at least this many when reading stopped early.
    """

    _arguments = ("what", "expected", "actual")

    def __init__(self, what: str, expected: int, actual: int) -> None:
        super().__init__(f"{what}: expected {expected:,} bytes, found {actual:,}")
        self.what = what
        self.expected = expected
        self.actual = actual


class InvalidSignatureError(VerificationError):
    """A signature is malformed, made by somebody else, or not about what it should be; the message says which."""


class SigningError(ImageError):
    """A signature could not be made: no such key, a wrong passphrase, a program that is missing or failed."""


class EncryptionError(ImageError, ValueError):
    """A layer could not be encrypted or decrypted: no key fits, or what is there is damaged."""


class LayerError(ImageError, ValueError):
    """A layer is malformed, or asks for something that is never done (such as leaving the root)."""


class UnpackError(ImageError, _FailedCallError):
    """The file system refused while a layer was applied."""


class InvalidConfigurationError(_AtPathError, ImageError, ValueError):
    """A file about registries, credentials or certificates is malformed; nothing of it is used."""


class BlockedRegistryError(ImageError, PermissionError):
    """registries.conf blocks what was asked for; the message has the entry and its file."""


class ShortNameError(ImageError, LookupError):
    """A short name stands for no image, or for several where only one is allowed; the message lists them."""


class CredentialsError(ImageError):
    """Credentials could not be read, stored or removed: a helper failed, a key fits no place. Never has a secret."""


class PolicyError(ImageError):
    """Base of the errors about the signature policy."""


class InvalidPolicyError(_AtPathError, PolicyError, ValueError):
    """policy.json is malformed; nothing of it is used. ``path`` is the fault, ``source`` the file, if it is one."""


class PolicyNotFoundError(PolicyError, LookupError):
    """No policy was given and none was found; none is ever invented."""


class PolicyRequirementError(PolicyError, PermissionError):
    """The policy does not allow this image; the message names each requirement that failed and why.

    Args:
        message: The message.
        failures: Each requirement that failed, with every reason, by itself.
    """

    _arguments = ("message", "failures")

    def __init__(self, message: str, failures: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.failures = failures


class BundleError(OCIKitError, ValueError):
    """An image and the wishes of the caller do not make a bundle."""


class ContainerError(OCIKitError):
    """Base of the errors about the life of a container."""


class InvalidIDError(ContainerError, ValueError):
    """A container id is empty, too long, or has bytes outside ``A-Za-z0-9_+-.``."""


class ExistError(ContainerError):
    """A container with this id exists."""


class NotExistError(ContainerError, LookupError):
    """No container has this id."""


class NotRunningError(ContainerError):
    """The operation needs a running container."""


class RunningError(ContainerError):
    """The operation needs a container that is stopped."""


class PausedError(ContainerError):
    """The container is paused, which the operation does not allow."""


class NotPausedError(ContainerError):
    """The container is not paused."""


class RunTimeoutError(ContainerError, TimeoutError):
    """A container that was run did not end in time, and was killed.

    Args:
        message: Which one, and how long it had.
        stdout: What it had written to its standard output by then.
        stderr: What it had written to its standard error by then.
    """

    _arguments = ("message", "stdout", "stderr")

    def __init__(self, message: str, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(message)
        self.message = message
        self.stdout = stdout
        self.stderr = stderr


class DetachedError(ContainerError):
    """Whoever was attached to a container did not read fast enough and was let go, or its monitor was killed."""


class StateError(ContainerError, ValueError):
    """State on disk is damaged, or belongs to somebody who must not be trusted with it."""


class SetupError(ContainerError, _FailedCallError):
    """A step of making the container failed: ``action`` is the step, ``errno`` and ``filename`` the failure."""


class HookError(ContainerError):
    """A hook of the configuration failed, and with it what it was run for; the container is gone.

    Args:
        path: The JSON path of the hook (``$.hooks.createRuntime[1]``).
        program: What it executes.
        reason: What became of it, in words ("was killed: its time was up").
        exit_code: Its exit code; None when it did not come to have one.
        signal: The signal that ended it; None when none did.
        output: The end of what it wrote to its standard output and error.
    """

    _arguments = ("path", "program", "reason", "exit_code", "signal", "output")

    def __init__(  # noqa: PLR0917 - an error is copied by its arguments in their order
        self,
        path: str,
        program: str,
        reason: str,
        exit_code: int | None = None,
        signal: int | None = None,
        output: bytes = b"",
    ) -> None:
        kind, _, number = path.removeprefix("$.hooks.").rstrip("]").partition("[")
        # What a program of the container wrote must not reach a terminal as it stands.
        said = "".join(
            one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
            for one in output.decode(errors="backslashreplace").strip()
        )
        ends = (("exit code", exit_code), ("signal", signal))
        end = ", ".join(f"{name} {value}" for name, value in ends if value is not None)
        found = f"{program} {reason}" + (f" ({end})" if end else "") + (f"; it wrote: {said}" if said else "")
        super().__init__(f"{path}: error running {kind} hook #{number}: {found}")
        self.path = path
        self.program = program
        self.reason = reason
        self.exit_code = exit_code
        self.signal = signal
        self.output = output


class CgroupError(ContainerError, _FailedCallError):
    """A cgroup could not be made, configured, joined or removed."""


class ServiceError(OCIKitError):
    """Base of the errors of the service."""
