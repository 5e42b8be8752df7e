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
    │   ├── RegistryError                    a registry refuses, or cannot be reached
    │   │   ├── RegistryAccessError          it refuses because of who asks (PermissionError)
    │   │   └── UploadLostError              it has lost what was sent of a blob; the blob may be put again
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

from ocikit.errors._containers import (
    BundleError,
    CgroupError,
    ContainerError,
    DetachedError,
    ExistError,
    HookError,
    InvalidIDError,
    NotExistError,
    NotPausedError,
    NotRunningError,
    PausedError,
    RunningError,
    RunTimeoutError,
    ServiceError,
    SetupError,
    StateError,
)
from ocikit.errors._images import (
    AmbiguousImageError,
    BlobNotFoundError,
    BlockedRegistryError,
    CompressionError,
    CredentialsError,
    DigestChangeError,
    DigestMismatchError,
    EncryptionError,
    ImageError,
    ImageNotFoundError,
    InvalidConfigurationError,
    InvalidPolicyError,
    InvalidReferenceError,
    InvalidSignatureError,
    LayerError,
    LayoutBusyError,
    LayoutError,
    ManifestError,
    ManifestTypeRejectedError,
    PolicyError,
    PolicyNotFoundError,
    PolicyRequirementError,
    RegistryAccessError,
    RegistryError,
    ShortNameError,
    SigningError,
    SizeMismatchError,
    TransportError,
    UnpackError,
    UploadLostError,
    VerificationError,
)
from ocikit.errors._roots import (
    InvalidDigestError,
    LimitExceededError,
    MissingDependencyError,
    NotSupportedError,
    OCIKitError,
    ParseError,
    SpecError,
    SystemCallError,
    UnsupportedFieldError,
    ValidationError,
)

__all__ = [
    "AmbiguousImageError",
    "BlobNotFoundError",
    "BlockedRegistryError",
    "BundleError",
    "CgroupError",
    "CompressionError",
    "ContainerError",
    "CredentialsError",
    "DetachedError",
    "DigestChangeError",
    "DigestMismatchError",
    "EncryptionError",
    "ExistError",
    "HookError",
    "ImageError",
    "ImageNotFoundError",
    "InvalidConfigurationError",
    "InvalidDigestError",
    "InvalidIDError",
    "InvalidPolicyError",
    "InvalidReferenceError",
    "InvalidSignatureError",
    "LayerError",
    "LayoutBusyError",
    "LayoutError",
    "LimitExceededError",
    "ManifestError",
    "ManifestTypeRejectedError",
    "MissingDependencyError",
    "NotExistError",
    "NotPausedError",
    "NotRunningError",
    "NotSupportedError",
    "OCIKitError",
    "ParseError",
    "PausedError",
    "PolicyError",
    "PolicyNotFoundError",
    "PolicyRequirementError",
    "RegistryAccessError",
    "RegistryError",
    "RunTimeoutError",
    "RunningError",
    "ServiceError",
    "SetupError",
    "ShortNameError",
    "SigningError",
    "SizeMismatchError",
    "SpecError",
    "StateError",
    "SystemCallError",
    "TransportError",
    "UnpackError",
    "UnsupportedFieldError",
    "UploadLostError",
    "ValidationError",
    "VerificationError",
]

# They are known by this room's name, whichever module of it they stand in.
for _name in __all__:
    globals()[_name].__module__ = __name__
