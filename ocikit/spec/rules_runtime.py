"""The MUSTs of the runtime specification 1.3.0 that can be seen in a document alone, outside the Linux section.

Words such as rlimit types are those of Linux. The sections of other platforms are not looked into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocikit.spec import vocabulary
from ocikit.spec._checks import (
    Finding,
    Rule,
    absolute,
    annotation_keys,
    distinct,
    one_of,
    required,
    semantic_version,
)
from ocikit.spec.runtime import Mount, POSIXRlimit, Process, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]


def _spec(spec: Spec) -> Iterator[Finding]:
    yield from semantic_version(spec.oci_version, "ociVersion")
    yield from _root_presence(spec)
    yield from annotation_keys(spec.annotations)
    if spec.process is not None and spec.windows is None and not spec.process.args:
        yield ["process", "args"], "at least one entry is REQUIRED"
    yield from _mapped_mounts(spec)
    if spec.linux is None and (spec.solaris, spec.zos, spec.freebsd) != (None, None, None):
        for index, mount in enumerate(spec.mounts):
            yield from absolute(mount.destination, "mounts", index, "destination")


def _root_presence(spec: Spec) -> Iterator[Finding]:
    if spec.windows is not None and spec.windows.get("hyperv") is not None:
        if spec.root is not None:
            yield ["root"], "must not be set for Hyper-V containers"
    elif spec.root is None:
        yield ["root"], "is REQUIRED"


def _mapped_mounts(spec: Spec) -> Iterator[Finding]:
    if spec.linux is not None and any(namespace.type == "user" for namespace in spec.linux.namespaces):
        return
    for index, mount in enumerate(spec.mounts):
        if not mount.uid_mappings and not {"idmap", "ridmap"}.isdisjoint(mount.options):
            yield (
                ["mounts", index, "options"],
                "asks for mapped ids, which needs uidMappings and gidMappings or a user namespace",
            )


def _root(root: Root) -> Iterator[Finding]:
    yield from required(root.path, "path")


def _mount(mount: Mount) -> Iterator[Finding]:
    yield from required(mount.destination, "destination")
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        lacking = "gidMappings" if mount.uid_mappings else "uidMappings"
        yield [lacking], "uidMappings and gidMappings must be specified together"


def _process(process: Process) -> Iterator[Finding]:
    yield from absolute(process.cwd, "cwd")
    yield from distinct((limit.type for limit in process.rlimits), "type", "rlimits", "type")


def _rlimit(limit: POSIXRlimit) -> Iterator[Finding]:
    yield from one_of(limit.type, vocabulary.RLIMIT_TYPES, "type")
    if limit.soft > limit.hard:
        yield ["soft"], f"must not exceed hard, which is {limit.hard}; found {limit.soft}"


#: What is checked in an object of each class.
RULES: Final[Mapping[type, Rule]] = {
    Mount: _mount,
    POSIXRlimit: _rlimit,
    Process: _process,
    Root: _root,
    Spec: _spec,
}
