"""From the configuration of an image to that of a container (image specification, conversion.md).

A pure function: what it needs to know about the root file system, the names of users and
groups, is handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ocikit.errors import ValidationError
from ocikit.spec import annotation_keys
from ocikit.spec.default import DEFAULT_PATH
from ocikit.spec.runtime import Mount, Process, Root, Spec, User
from ocikit.spec.users import PasswdEntry, UserDatabase, parse_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ocikit.spec.image import Image, ImageConfig
    from ocikit.spec.users import UserLookup

__all__ = ["image_to_runtime", "library_base", "resolve_user", "tmpfs_volume"]

# A volume here would hide what the runtime itself relies on, or the whole image (CVE-2019-16884).
_NO_VOLUMES: Final = frozenset({"proc", "sys", "dev"})


def image_to_runtime(
    image: Image,
    *,
    users: UserLookup | None = None,
    rootfs: str = "rootfs",
    base: Spec | None = None,
    args: Sequence[str] | None = None,
    env: Iterable[str] = (),
    volume: Callable[[str], Mount] | None = None,
) -> Spec:
    """The configuration of a container that runs an image.

    Args:
        image: The configuration of the image.
        users: Where user and group names are looked up; None knows no names, so that only ids work.
        rootfs: The root file system, as config.json names it: absolute or relative to the bundle.
        base: What everything that the image does not decide is taken from. None is
            ``Spec.default()`` with a writable root, no terminal and no command.
        args: The whole command, instead of the image's entrypoint and command.
        env: ``NAME=value`` entries that replace those of the same name, or are added.
        volume: Makes the mount for each directory that the image declares a volume, such as
            :func:`tmpfs_volume`; None leaves volumes in the root file system.

    Returns:
        The image's environment comes first, then entries of the base whose names the image does
        not use. Annotations are those of the base, then the automatic ones, then the image's
        labels, the later winning. ``HOME`` is left to the runtime, which knows the home directory.

    Raises:
        ValidationError: The image names a user or group that is not there, a relative working
            directory, no command at all, or a volume over something the runtime relies on.
    """
    if base is None:
        base = library_base()
    config = image.config
    process = base.process or Process(cwd="/")
    return evolve(
        base,
        root=evolve(base.root, path=rootfs) if base.root is not None else Root(path=rootfs),
        process=evolve(
            process,
            user=resolve_user(config.user, users) if config.user else process.user,
            args=_args(config, args, process.args),
            env=_env((config.env, process.env), env),
            cwd=_cwd(config.working_dir) or process.cwd or "/",
        ),
        mounts=(*base.mounts, *_volumes(config, volume)),
        annotations={**base.annotations, **_automatic_annotations(image), **config.labels},
    )


def resolve_user(text: str, users: UserLookup | None = None) -> User:
    """Whom a ``User`` of an image configuration means.

    Args:
        text: ``user``, ``uid``, ``user:group``, ``uid:gid``, ``uid:group`` or ``user:gid``. An
            empty group is as none.
        users: Where names are looked up; None knows none.

    Returns:
        Ids are taken verbatim, whether anybody has them or not. Without a group it is the
        primary group of the user, or 0 for an id that nobody has. Supplementary groups are
        those of a user who is given by name and without a group; otherwise there are none.

    Raises:
        ValidationError: The text names nobody, or is not in that form.
    """
    if users is None:
        users = UserDatabase()
    name, separator, group = text.partition(":")
    if not name or ":" in group:
        raise _refused(f"expected user, uid, user:group or uid:gid, found {text[:80]!r}")
    uid = parse_id(name)
    entry = users.user(name if uid is None else uid)
    if uid is None:
        if entry is None:
            raise _refused(_nobody("user", name, "passwd"))
        uid = entry.uid
    if separator and group:
        return User(uid=uid, gid=_resolve_group(group, users))
    if entry is None:
        return User(uid=uid, gid=0)
    return User(uid=uid, gid=entry.gid, additional_gids=_supplementary(name, entry, users))


def _supplementary(name: str, entry: PasswdEntry, users: UserLookup) -> tuple[int, ...]:
    # conversion.md: not for a user who is given by id.
    return users.groups_of(entry.name) if parse_id(name) is None else ()


def _resolve_group(name: str, users: UserLookup) -> int:
    gid = parse_id(name)
    if gid is not None:
        return gid
    entry = users.group(name)
    if entry is None:
        raise _refused(_nobody("group", name, "group"))
    return entry.gid


def _nobody(kind: str, name: str, file: str) -> str:
    if name.isdecimal():
        return f"expected a {kind} id from 0 to 4294967294, found {name[:80]!r}"
    return f"expected a {kind} in /etc/{file} of the image, found none named {name[:80]!r}"


def _refused(reason: str, path: str = "$.config.User") -> ValidationError:
    return ValidationError((f"{path}: {reason}",))


def tmpfs_volume(destination: str) -> Mount:
    """A volume in memory, empty at first and gone with the container."""
    return Mount(destination=destination, type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "mode=755"))


def library_base(*, rootless: bool = False) -> Spec:
    """The configuration for a program that is run by a program: ``Spec.default()``, adjusted.

    The root is writable; there is no terminal and no command.

    Args:
        rootless: As for :meth:`Spec.default`.
    """
    spec = Spec.default(rootless=rootless)
    process = spec.process or Process(cwd="/")
    return evolve(
        spec,
        process=evolve(process, terminal=False, args=(), env=(DEFAULT_PATH,)),
        root=Root(path="rootfs"),
    )


def _args(config: ImageConfig, stated: Sequence[str] | None, fallback: tuple[str, ...]) -> tuple[str, ...]:
    args = (*config.entrypoint, *config.cmd) if stated is None else tuple(stated)
    if args or fallback:
        return args or fallback
    raise _refused("names no command, and none is given; pass args", "$.config")


def _env(inherited: Iterable[tuple[str, ...]], stated: Iterable[str]) -> tuple[str, ...]:
    image, base = inherited
    names = {_name(entry) for entry in image}
    result = [*image, *(entry for entry in base if _name(entry) not in names)]
    for entry in stated:
        places = [index for index, other in enumerate(result) if _name(other) == _name(entry)]
        if places:
            result[places[0]] = entry
            for index in reversed(places[1:]):
                del result[index]
        else:
            result.append(entry)
    return tuple(result)


def _name(entry: str) -> str:
    return entry.partition("=")[0]


def _cwd(working_dir: str) -> str:
    if working_dir and not working_dir.startswith("/"):
        raise _refused(f"expected an absolute path, found {working_dir[:80]!r}", "$.config.WorkingDir")
    return working_dir


def _volumes(config: ImageConfig, volume: Callable[[str], Mount] | None) -> list[Mount]:
    if volume is None:
        return []
    for path in config.volumes:
        if not _may_be_volume(path):
            reason = "expected an absolute path that is not the root and not below /proc, /sys or /dev"
            raise _refused(f"{reason}, found {path[:80]!r}", "$.config.Volumes")
    return [volume(path) for path in config.volumes]


def _may_be_volume(path: str) -> bool:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return path.startswith("/") and bool(parts) and ".." not in parts and parts[0] not in _NO_VOLUMES


def _automatic_annotations(image: Image) -> dict[str, str]:
    """The annotations that follow from the configuration; nothing is said about what it leaves out."""
    values = {
        annotation_keys.OS: image.os,
        annotation_keys.ARCHITECTURE: image.architecture,
        annotation_keys.VARIANT: image.variant,
        annotation_keys.OS_VERSION: image.os_version,
        annotation_keys.OS_FEATURES: ",".join(image.os_features),
        annotation_keys.AUTHOR: image.author,
        annotation_keys.CREATED: image.created,
        annotation_keys.STOP_SIGNAL: image.config.stop_signal,
        annotation_keys.EXPOSED_PORTS: ",".join(sorted(image.config.exposed_ports)),
    }
    return {name: str(value) for name, value in values.items() if value}
