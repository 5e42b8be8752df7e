"""Where a container's cgroups are, who makes them, and what is written into them."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from ocikit._tuples import NamedTuple
from ocikit.errors import OCIKitError
from ocikit.runtime.cgroups import hierarchies as cgroups
from ocikit.runtime.cgroups import limiting as cgroup_limits
from ocikit.runtime.cgroups import setup as cgroup_setup
from ocikit.runtime.cgroups import tree as cgroup_tree
from ocikit.runtime.cgroups.device_rules import device_rules
from ocikit.runtime.late_log import log as _log
from ocikit.runtime.limits import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocikit.runtime.cgroups.device_rules import DeviceRule
    from ocikit.runtime.cgroups.hierarchies import Hierarchies
    from ocikit.runtime.cgroups.rdt import Group
    from ocikit.runtime.limits import Write
    from ocikit.runtime.plan.compiler import CgroupMount
    from ocikit.runtime.systemd.bus import Variant
    from ocikit.runtime.systemd.names import Unit
    from ocikit.spec import LinuxIntelRdt, LinuxResources, Spec

__all__ = ["Placement", "find_place"]


class Placement(NamedTuple):
    """The cgroups of a container that is to be made, and their limits."""

    hierarchies: Hierarchies
    #: A directory for each hierarchy, by controller.
    paths: dict[str, str]
    #: Directories above them that do not exist yet, the outermost first.
    parents: tuple[str, ...]
    resources: LinuxResources | None
    writes: tuple[Write, ...]
    #: None for who may not set any: in a user namespace there are no devices but those of the host that its user has.
    rules: tuple[DeviceRule, ...]
    #: The unit of systemd that they belong to; None when we make them ourselves.
    unit: Unit | None = None
    #: The group for caches and bandwidth of memory; None when the configuration does not ask for one.
    rdt: Group | None = None
    #: Directories of it that are to be removed with the container.
    rdt_own: tuple[str, ...] = ()

    @property
    def joined_by_clone(self) -> str | None:
        """The v2 cgroup that init is cloned into; None when it cannot exist before init does."""
        return self.paths.get(cgroups.UNIFIED) if self.unit is None else None

    @property
    def joined_by_write(self) -> tuple[str, ...]:
        """The files that init writes itself into: ``tasks`` of each v1 hierarchy, and v2 when not by clone."""
        paths = dict.fromkeys(path for key, path in self.paths.items() if key != cgroups.UNIFIED)
        late = (self.paths[cgroups.UNIFIED],) if self.unit is not None and cgroups.UNIFIED in self.paths else ()
        groups = self.rdt.tasks if self.rdt is not None else ()
        return (*(f"{path}/tasks" for path in paths), *(f"{path}/cgroup.procs" for path in late), *groups)

    @property
    def may_be_late(self) -> bool:
        """Whether they may be made while init is: it joins those of v1 itself, and only those limit it."""
        limited_by_v1 = "devices" in self.paths and all(one.key != cgroups.UNIFIED for one in self.writes)
        return limited_by_v1 and self.unit is None and self.rdt is None

    def mounts(self) -> tuple[CgroupMount, ...]:
        """Return what a mount of type ``cgroup`` shows: all of v1, or v2 when there is nothing else."""
        from ocikit.runtime.plan.compiler import CgroupMount  # noqa: PLC0415 - with everything that makes plans

        if self.hierarchies.v2_only:
            return tuple(CgroupMount("", path) for path in self.paths.values())
        keys: dict[str, list[str]] = {}
        for key, hierarchy in self.hierarchies.by_key.items():
            if key != cgroups.UNIFIED and key in self.paths:
                keys.setdefault(hierarchy.mountpoint, []).append(key)
        return tuple(
            CgroupMount(os.path.basename(mountpoint), self.paths[of[0]], tuple(_mount_options(of)))
            for mountpoint, of in keys.items()
        )

    def make_first(self, made: list[str]) -> None:
        """Make the one that init is cloned into; :meth:`make` makes the others.

        Args:
            made: As for :meth:`make`.

        Raises:
            CgroupError: It is in use, or the kernel refuses.
        """
        first = {key: path for key, path in self.paths.items() if key == cgroups.UNIFIED}
        cgroup_setup.make(first, self.hierarchies, made)

    def make(self, made: list[str]) -> None:
        """Make the cgroups, with their limits.

        Args:
            made: Is told of each directory that did not exist before, the outermost first.

        Raises:
            CgroupError: They are in use, or the kernel refuses.
            SetupError: Caches or bandwidth of memory cannot be had as asked for.
        """
        cgroup_setup.make(self.paths, self.hierarchies, made, cgroup_setup.needed(self.writes))
        cgroup_limits.apply(self.paths, self.writes)
        if self.rules:
            cgroup_limits.limit_devices(self.paths, self.rules)
        if self.rdt is not None:
            from ocikit.runtime.cgroups import rdt  # noqa: PLC0415 - few hosts have it

            rdt.make(self.rdt)

    def start_unit(self, made: list[str], container_id: str, pid: int, extra: dict[str, Variant]) -> None:
        """Have systemd make the unit for a process, and add to its cgroups what systemd does not know.

        Args:
            made: As for :meth:`make`.
            container_id: For those who look at the unit.
            pid: The process; it is in the cgroups then.
            extra: Further properties of the unit.

        Raises:
            CgroupError: systemd, or the kernel, refuses.
        """
        from ocikit.runtime.systemd import properties, units  # noqa: PLC0415 - for those who use systemd only

        if self.unit is None:
            return
        found = properties.new_unit(self.unit, f"OCI container {container_id}", pid)
        found |= properties.limits(self.resources, self.rules, units.drivers(), v2=self.hierarchies.v2_only)
        units.start(self.unit, found | extra)
        made += [path for path in dict.fromkeys(self.paths.values()) if os.path.isdir(path)]
        self.make(made)

    def unmake(self, made: Sequence[str]) -> None:
        """Undo what was done; the processes are gone.

        Raises:
            CgroupError: There are others in it.
        """
        if self.unit is not None and made:  # else it was not started by us, and may be that of a namesake
            from ocikit.runtime.systemd import units  # noqa: PLC0415

            try:
                units.stop(self.unit)
            except OCIKitError as error:
                _log.warning("unit %s was not stopped: %s", self.unit.full_name, error)
        if self.rdt is not None:
            from ocikit.runtime.cgroups import rdt  # noqa: PLC0415 - as above

            rdt.remove(self.rdt_own, self.rdt.id)
        cgroup_tree.remove(reversed(made))


def _mount_options(keys: Sequence[str]) -> list[str]:
    return [option for key in keys for option in (("none", key) if key.startswith("name=") else (key,))]


def find_place(spec: Spec, container_id: str, *, systemd: bool, rootless: bool = False) -> Placement:
    """Find out where the cgroups of a container will be.

    Args:
        spec: Its configuration.
        container_id: Its id.
        systemd: Whether systemd makes them.
        rootless: Go without those that this user may not make, if no limit needs them.

    Raises:
        ValidationError: The configuration's path cannot be had.
        UnsupportedFieldError: It asks for a limit that would have to be ignored.
        CgroupError: This host's hierarchies cannot be found, or a limit needs a cgroup that this user may not make.
        NotSupportedError: There is no systemd here.
    """
    linux = spec.linux
    hierarchies = cgroups.detect()
    wanted = linux.cgroups_path if linux is not None else ""
    unit = None
    if systemd:
        unit, paths = _of_systemd(hierarchies, wanted, container_id)
    else:
        paths = cgroups.place(hierarchies, wanted, container_id)
    resources = linux.resources if linux is not None else None
    writes = limits(resources, hierarchies)
    if rootless and not systemd:
        from ocikit.runtime.cgroups import delegation  # noqa: PLC0415 - root has all of them

        planned, uid = paths, os.geteuid()
        paths = delegation.delegated(planned, hierarchies, container_id=container_id, wanted=wanted, uid=uid)
        delegation.check_limits(writes, paths, planned, uid)
    group = _rdt_group(linux.intel_rdt if linux is not None else None, container_id)
    return Placement(
        hierarchies,
        paths,
        cgroup_setup.missing_parents(paths.values(), hierarchies),
        resources,
        writes,
        () if rootless else device_rules(resources.devices if resources is not None else ()),
        unit,
        group,
        group.to_make() if group is not None else (),
    )


def _rdt_group(rdt: LinuxIntelRdt | None, container_id: str) -> Group | None:
    if rdt is None:
        return None
    from ocikit.runtime.cgroups.rdt import find_group  # noqa: PLC0415 - as above

    return find_group(rdt, container_id)


def _of_systemd(hierarchies: Hierarchies, wanted: str, container_id: str) -> tuple[Unit, dict[str, str]]:
    from ocikit.runtime.systemd import names, units  # noqa: PLC0415 - for those who use systemd only

    unit = names.unit_of(wanted, container_id, of_user=units.of_user())
    below = f"{units.manager_cgroup()}/{unit.path}".lstrip("/")
    return unit, {key: posixpath.join(one.mountpoint, below) for key, one in hierarchies.by_key.items()}
