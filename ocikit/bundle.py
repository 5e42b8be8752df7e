"""An image becomes a bundle: a root file system and the config.json that any OCI runtime runs unchanged.

    bundle = create("oci:/var/lib/app/pipeline:latest", "/var/lib/app/run/pipeline")
    runtime.run("/run/runc", "app_once", bundle)

The one place where image and specification meet a directory. What may be unpacked, and what is verified on the way,
is said in :mod:`ocikit.image.unpacking`; what a configuration of an image means for a container in
:mod:`ocikit.spec.conversion`. Nothing is run here.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from ocikit._fs import DIRECTORY, Descriptor, atomic_write, open_in_root, remove_tree
from ocikit.errors import BundleError, LimitExceededError, ValidationError
from ocikit.image.limits import DEFAULT_LIMITS, Limits
from ocikit.image.opened import OpenedImage, open_image
from ocikit.image.place import new_directory
from ocikit.image.unpacking import UnpackResult, unpack_into
from ocikit.spec import Spec
from ocikit.spec.conversion import image_to_runtime, library_base
from ocikit.spec.users import UserDatabase, parse_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ocikit.image.signature.context import PolicyContext
    from ocikit.image.signature.rules import PolicyRules
    from ocikit.image.types import ImageReference, SystemContext
    from ocikit.spec import Digest, Image, Mount

__all__ = ["Bundle", "create"]

_ROOTFS: Final = "rootfs"
_CONFIG: Final = "config.json"
# The oldest that has all that is in the configuration: runtimes refuse versions that came after them.
_OCI_VERSION: Final = "1.0.2"
# Users and groups of an image; real files have a few kilobytes.
_ACCOUNTS_LIMIT: Final = 4 << 20
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@frozen(kw_only=True)
class Bundle:
    """A bundle on disk; stands for its path wherever a path is taken.

    Attributes:
        path: Where it is, absolute.
        spec: What its config.json says.
        image: What was unpacked into its root file system.
    """

    path: Path
    # Both are longer than anybody wants to read where a bundle is shown.
    spec: Spec = field(repr=False)
    image: UnpackResult = field(repr=False)

    @property
    def rootfs(self) -> Path:
        """The root file system."""
        return self.path / _ROOTFS

    @property
    def image_digest(self) -> Digest:
        """The digest of the manifest of the image."""
        return self.image.digest

    def __fspath__(self) -> str:
        return str(self.path)

    def delete(self) -> None:
        """Remove the bundle from disk, through no link, whatever its modes; one that is not there is removed already.

        No container may be using it, and nothing may be mounted below it: what is mounted would be emptied.

        Raises:
            OSError: As the system calls give it.
        """
        try:
            parent = Descriptor(os.open(self.path.parent, DIRECTORY & ~os.O_NOFOLLOW))
        except FileNotFoundError:
            return
        with parent:
            remove_tree(self.path.name, dir_fd=parent.fd)


@frozen(kw_only=True)
class _Wishes:
    """What the caller wants other than the image does; see :func:`create`."""

    args: tuple[str, ...] | None
    env: tuple[str, ...]
    cwd: str | None
    user: str | None
    mounts: tuple[Mount, ...]
    hostname: str
    annotations: Mapping[str, str]
    spec_hook: Callable[[Spec], Spec] | None
    rootless: bool


def create(
    image: str | ImageReference,
    path: str | os.PathLike[str],
    *,
    policy: PolicyRules | PolicyContext | None = None,
    sys: SystemContext | None = None,
    args: Sequence[str] | None = None,
    env: Mapping[str, str] | Iterable[str] = (),
    cwd: str | None = None,
    user: str | None = None,
    mounts: Iterable[Mount] = (),
    hostname: str = "ocikit",
    annotations: Mapping[str, str] | None = None,
    spec_hook: Callable[[Spec], Spec] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    rootless: bool = False,
) -> Bundle:
    """Make a bundle of an image; it appears when it is whole, and when anything fails there is nothing.

    The configuration is that of ``runc spec``, with a writable root and without a terminal, then what the
    image says, then what is given here. Volumes of the image are plain directories of the root file system.

    Args:
        image: A reference or a name such as ``"oci:/var/lib/app/images:latest"``.
        path: The bundle; it does not exist or is empty. It and missing directories above it get mode 0700.
        policy: Which images may be used; None for the policy of the system (:meth:`Policy.default`).
        sys: The circumstances; of an index they choose the platform.
        args: The whole command, in place of the image's entrypoint and command.
        env: Variables that replace those of the same name or are added; a mapping, or ``NAME=value`` each.
        cwd: The working directory, absolute, in place of the image's.
        user: ``user[:group]`` in place of the image's; names are looked up in the image.
        mounts: Mounted after all others; see :class:`~ocikit.spec.Mount`.
        hostname: The host name of the container.
        annotations: Added to those that follow from the image; these win.
        spec_hook: Is given the configuration and returns the one to write.
        limits: The bounds on what the image may hold.
        rootless: For a user without privileges: every file is the caller's, who is root in the container.

    Raises:
        BundleError: The image has no command, not that user, another operating system; ``args`` or ``env`` are not
            lists of what they should be; or the result is not valid.
        OCIKitError: As :func:`ocikit.image.unpacking.unpack`.
    """
    wishes = _Wishes(
        args=_listed(args, "args") if args is not None else None,
        env=_entries(env),
        cwd=cwd,
        user=user,
        mounts=tuple(mounts),
        hostname=hostname,
        annotations=annotations or {},
        spec_hook=spec_hook,
        rootless=rootless,
    )
    with open_image(image, policy=policy, sys=sys) as opened:
        return _create(opened, Path(os.path.abspath(path)), wishes, limits)


def _create(image: OpenedImage, path: Path, wishes: _Wishes, limits: Limits) -> Bundle:
    config = _adjusted(image.config, wishes)
    with new_directory(path, keeps_others_out=True) as bundle_fd:
        os.mkdir(_ROOTFS, 0o700, dir_fd=bundle_fd)
        with Descriptor(os.open(_ROOTFS, DIRECTORY, dir_fd=bundle_fd)) as root:
            result = unpack_into(image, root.fd, str(path / _ROOTFS), limits=limits, rootless=wishes.rootless)
            try:
                spec = _spec(config, wishes, root.fd)
            except ValidationError as error:
                raise BundleError(f"{image.source.reference}: {error}") from error
        atomic_write(bundle_fd, _CONFIG, spec.to_json(indent=2), durable=False)
    return Bundle(path=path, spec=spec, image=result)


def _spec(image: Image, wishes: _Wishes, root_fd: int) -> Spec:
    spec = image_to_runtime(
        image,
        users=_users(root_fd, image),
        rootfs=_ROOTFS,
        base=_base(wishes),
        args=wishes.args,
        env=wishes.env,
    )
    spec = evolve(
        _for_user_namespace(spec) if wishes.rootless else spec,
        mounts=(*spec.mounts, *wishes.mounts),
        annotations={**spec.annotations, **wishes.annotations},
    )
    if wishes.spec_hook is not None:
        spec = wishes.spec_hook(spec)
        if not isinstance(spec, Spec):
            raise BundleError(f"spec_hook: expected it to return a Spec, it returned {type(spec).__name__}")
    return spec.check()


def _entries(env: Mapping[str, str] | Iterable[str]) -> tuple[str, ...]:
    entries = tuple(f"{name}={value}" for name, value in env.items()) if hasattr(env, "items") else _listed(env, "env")
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if not (name and equals):
            raise BundleError(f"env: expected NAME=value, found {entry!r}")
    return entries


def _listed(words: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(words, str):
        raise BundleError(f"{what}: expected a list such as {[words]!r}, found the text {words!r}")
    return tuple(words)


def _adjusted(image: Image, wishes: _Wishes) -> Image:
    """Put what the caller wants in the place of what the image says, before either is interpreted."""
    if image.os not in {"", "linux"}:
        raise BundleError(f"the image is for {image.os!r}; bundles are made of images for linux")
    config = image.config
    if wishes.user is not None:
        config = evolve(config, user=wishes.user)
    if wishes.cwd is not None:
        config = evolve(config, working_dir=wishes.cwd)
    return evolve(image, config=config)


def _base(wishes: _Wishes) -> Spec:
    return evolve(library_base(rootless=wishes.rootless), oci_version=_OCI_VERSION, hostname=wishes.hostname)


def _users(root_fd: int, image: Image) -> UserDatabase:
    """Read the users and groups of the image, unless its user is given by two numbers."""
    user, _, group = image.config.user.partition(":")
    if not user or (parse_id(user) is not None and parse_id(group) is not None):
        return UserDatabase()
    return UserDatabase.parse(
        passwd=_read_regular(root_fd, "etc/passwd"),
        group=_read_regular(root_fd, "etc/group"),
    )


def _read_regular(root_fd: int, name: str) -> bytes:
    """Read a file of the image; what is missing, or is no regular file, is empty."""
    try:
        place = open_in_root(root_fd, name, os.O_PATH)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return b""
        raise
    with Descriptor(place):
        # A device or a FIFO in its place must not even be opened.
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return b""
        with Path(f"/proc/self/fd/{place}").open("rb") as file:
            data = file.read(_ACCOUNTS_LIMIT + 1)
    if len(data) > _ACCOUNTS_LIMIT:
        raise LimitExceededError(f"bytes of /{name} of the image", _ACCOUNTS_LIMIT, remedy="give user='uid:gid'")
    return data


def _for_user_namespace(spec: Spec) -> Spec:
    """Take what only exists outside of a user namespace with one user in it from the process."""
    process = spec.process
    if process is None:
        return spec
    if process.user.uid or process.user.gid:
        raise BundleError(
            f"the image runs as user {process.user.uid}:{process.user.gid}, and without privileges there is only "
            "root in a container; pass user='0:0'"
        )
    return evolve(spec, process=evolve(process, user=evolve(process.user, additional_gids=())))
