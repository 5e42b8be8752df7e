"""Errors about images, registries, signatures and policies: see :mod:`ocikit.errors`."""

from __future__ import annotations

from ocikit.errors._roots import OCIKitError, _AtPathError, _FailedCallError

__all__ = [
    "AmbiguousImageError",
    "BlobNotFoundError",
    "BlockedRegistryError",
    "CompressionError",
    "CredentialsError",
    "DigestChangeError",
    "DigestMismatchError",
    "EncryptionError",
    "ImageError",
    "ImageNotFoundError",
    "InvalidConfigurationError",
    "InvalidPolicyError",
    "InvalidReferenceError",
    "InvalidSignatureError",
    "LayerError",
    "LayoutBusyError",
    "LayoutError",
    "ManifestError",
    "ManifestTypeRejectedError",
    "PolicyError",
    "PolicyNotFoundError",
    "PolicyRequirementError",
    "RegistryAccessError",
    "RegistryError",
    "ShortNameError",
    "SigningError",
    "SizeMismatchError",
    "TransportError",
    "UnpackError",
    "UploadLostError",
    "VerificationError",
]


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


class RegistryError(ImageError):
    """A registry refuses a request, answers with nonsense, or cannot be reached; ``status`` is 0 where it said nothing.

    Args:
        what: What was asked for, and where.
        reason: What it says, or why it says nothing.
        status: The status of HTTP.
        code: The code of the distribution specification (``MANIFEST_UNKNOWN``), where there is one.
        detail: What the registry adds to it.
        remedy: What to do about it, when that is known.
        retry_after: For how many seconds the registry wants to be left alone, when it says so.
    """

    _arguments = ("what", "reason", "status", "code", "detail", "remedy", "retry_after")

    def __init__(  # noqa: PLR0917 - as they come back from another process
        self,
        what: str,
        reason: str,
        status: int = 0,
        code: str = "",
        detail: str = "",
        remedy: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.what, self.reason, self.status = what, reason, status
        self.code, self.detail, self.remedy, self.retry_after = code, detail, remedy, retry_after
        super().__init__(f"{what}: {self.answer}" + (f"; {remedy}" if remedy else ""))

    @property
    def answer(self) -> str:
        """What the registry says, in one line; the reason where it says nothing."""
        said = ": ".join(part for part in (self.code, self.reason, self.detail) if part)
        later = f", to be asked again after {self.retry_after:g} s" if self.retry_after is not None else ""
        return f"the registry answers {self.status} ({said}){later}" if self.status else f"{said}{later}"


class RegistryAccessError(RegistryError, PermissionError):
    """A registry refuses because of who asks: nobody, somebody without the right, or with wrong credentials."""


class UploadLostError(RegistryError):
    """A registry has lost what was sent of a blob. Nothing is stored; the same content may be put once more."""


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
