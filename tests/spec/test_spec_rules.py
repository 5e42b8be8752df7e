"""Validation of config.json, state and features: each MUST with a document that violates it."""

from __future__ import annotations

from typing import Any

import pytest

from ocikit.spec import ContainerProcessState, Document, Features, LinuxDevice, Process, Spec, State, vocabulary


def _with(path: str, value: Any) -> dict[str, Any]:
    """The default configuration, with another value at a dotted path."""
    data = Spec.default().to_dict()
    *parents, last = path.split(".")
    place: Any = data
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return data


def _resources(**resources: Any) -> dict[str, Any]:
    return _with("linux.resources", resources)


def _seccomp(**seccomp: Any) -> dict[str, Any]:
    return _with("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", **seccomp})


ID = {"containerID": 0, "hostID": 0, "size": 1}
BIND = {"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}
ARG = {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}

VIOLATIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no version": ({**_with("root.path", "r"), "ociVersion": None}, ["$.ociVersion: is REQUIRED"]),
    "version": (_with("ociVersion", "1.3"), ["$.ociVersion: expected a version such as 1.3.0"]),
    "version with leading zero": (_with("ociVersion", "1.03.0"), ["$.ociVersion: expected"]),
    "no root": (_with("root", None), ["$.root: is REQUIRED"]),
    "empty root": (_with("root", {}), ["$.root.path: is REQUIRED"]),
    "no args": (_with("process.args", []), ["$.process.args: at least one entry is REQUIRED"]),
    "no cwd": (_with("process.cwd", None), ["$.process.cwd: is REQUIRED"]),
    "relative cwd": (_with("process.cwd", "srv"), ["$.process.cwd: expected an absolute path, found 'srv'"]),
    "rlimits": (
        _with(
            "process.rlimits",
            [
                {"type": "RLIMIT_CPU", "soft": 1, "hard": 1},
                {"type": "RLIMIT_CPU", "soft": 2, "hard": 1},
                {"type": "RLIMIT_FUN", "soft": 1, "hard": 1},
                {"type": "", "soft": 1, "hard": 1},
            ],
        ),
        [
            "$.process.rlimits[1].type: repeats the type 'RLIMIT_CPU' of entry 0",
            "$.process.rlimits[1].soft: must not exceed hard, which is 1; found 2",
            "$.process.rlimits[2].type: expected one of RLIMIT_AS",
            "$.process.rlimits[3].type: is REQUIRED",
        ],
    ),
    "scheduler": (
        _with("process.scheduler", {"policy": "SCHED_FAST", "flags": ["SCHED_FLAG_RECLAIM", "X"]}),
        ["$.process.scheduler.policy: expected one of", "$.process.scheduler.flags[1]: expected one of"],
    ),
    "no scheduler policy": (_with("process.scheduler", {}), ["$.process.scheduler.policy: is REQUIRED"]),
    "io priority": (_with("process.ioPriority", {"class": "RT"}), ["$.process.ioPriority.class: expected one of"]),
    "no io priority class": (_with("process.ioPriority", {"priority": 1}), ["$.process.ioPriority.class: is REQUIRED"]),
    "affinity": (
        _with("process.execCPUAffinity", {"initial": "0-", "final": "3-1"}),
        ["$.process.execCPUAffinity.initial: expected numbers", "$.process.execCPUAffinity.final: expected numbers"],
    ),
    "annotation without key": (_with("annotations", {"": "x"}), ['$.annotations[""]: keys must not be empty']),
    "mount without destination": (_with("mounts", [{}]), ["$.mounts[0].destination: is REQUIRED"]),
    "half of the mappings": (
        _with("mounts", [{**BIND, "uidMappings": [ID]}, {"destination": "/b", "gidMappings": [ID]}]),
        ["$.mounts[0].gidMappings: uidMappings and gidMappings", "$.mounts[1].uidMappings: uidMappings and gid"],
    ),
    "mapped mount without mappings": (_with("mounts", [BIND]), ["$.mounts[0].options: asks for mapped ids"]),
    "hooks": (
        _with(
            "hooks",
            {
                "prestart": [{"path": "a"}],
                "createRuntime": [{"path": "/a", "timeout": 0}],
                "poststop": [{"path": "/a", "timeout": 1}, {"timeout": -1}],
            },
        ),
        [
            "$.hooks.prestart[0].path: expected an absolute path",
            "$.hooks.createRuntime[0].timeout: must be greater than zero, found 0",
            "$.hooks.poststop[1].path: is REQUIRED",
            "$.hooks.poststop[1].timeout: must be greater than zero, found -1",
        ],
    ),
    "namespaces": (
        _with("linux.namespaces", [{"type": "pid"}, {"type": "mnt"}, {"type": "pid", "path": "a"}, {}]),
        [
            "$.linux.namespaces[2].type: repeats the type 'pid' of entry 0",
            "$.linux.namespaces[1].type: expected one of cgroup, ipc, mount",
            "$.linux.namespaces[2].path: expected an absolute path",
            "$.linux.namespaces[3].type: is REQUIRED",
        ],
    ),
    "devices": (
        _with("linux.devices", [{"path": "dev/x", "type": "c", "major": 1}, {"path": "/x", "type": "p"}, {}]),
        [
            "$.linux.devices[0].path: expected an absolute path",
            "$.linux.devices[0].minor: is REQUIRED unless type is p",
            "$.linux.devices[2].path: is REQUIRED",
            "$.linux.devices[2].type: is REQUIRED",
            "$.linux.devices[2].major: is REQUIRED unless",
            "$.linux.devices[2].minor: is REQUIRED unless",
        ],
    ),
    "network devices of one name": (
        _with("linux.netDevices", {"a": {"name": "x"}, "b": {"name": "x"}, "x": {}, "c": {"name": "y%d"}}),
        ["$.linux.netDevices.b: is named 'x' in the container, as 'a' is", "$.linux.netDevices.x: is named 'x'"],
    ),
    "paths": (
        {**_with("linux.maskedPaths", ["/a", "b"])},
        ["$.linux.maskedPaths[1]: expected an absolute path, found 'b'"],
    ),
    "read-only paths": (_with("linux.readonlyPaths", [""]), ["$.linux.readonlyPaths[0]: is REQUIRED"]),
    "propagation": (_with("linux.rootfsPropagation", "public"), ["$.linux.rootfsPropagation: expected one of private"]),
    "clocks": (_with("linux.timeOffsets", {"realtime": {"secs": 1}}), ["$.linux.timeOffsets.realtime: expected one"]),
    "intel rdt": (
        _with("linux.intelRdt", {"schemata": ["L3:0=f", "a\nb"], "memBwSchema": "L3:0=1\n"}),
        [
            "$.linux.intelRdt.schemata[1]: must not contain newlines",
            "$.linux.intelRdt.memBwSchema: must not contain newlines",
            "$.linux.intelRdt.memBwSchema: must start with MB:",
        ],
    ),
    "memory policy": (
        _with("linux.memoryPolicy", {"mode": "BIND", "flags": ["STATIC"], "nodes": "x"}),
        [
            "$.linux.memoryPolicy.mode: expected one of",
            "$.linux.memoryPolicy.flags[0]: expected one of",
            "$.linux.memoryPolicy.nodes: expected numbers",
        ],
    ),
    "memory policy without nodes": (
        _with("linux.memoryPolicy", {"mode": "MPOL_BIND"}),
        ["$.linux.memoryPolicy.nodes: at least one node is REQUIRED for MPOL_BIND"],
    ),
    "memory policy with nodes": (
        _with("linux.memoryPolicy", {"mode": "MPOL_LOCAL", "nodes": "0"}),
        ["$.linux.memoryPolicy.nodes: must be empty for MPOL_LOCAL"],
    ),
    "personality": (
        _with("linux.personality", {"domain": "BSD", "flags": ["X"]}),
        ["$.linux.personality.domain: expected one of LINUX", "$.linux.personality.flags: no flags are defined"],
    ),
    "device rules": (
        _resources(devices=[{"allow": True, "type": "p"}, {"allow": False, "access": "rx"}]),
        ["$.linux.resources.devices[0].type: expected one of", "$.linux.resources.devices[1].access: expected a"],
    ),
    "memory": (
        _resources(memory={"limit": -2, "swap": -1, "swappiness": 101}),
        ["$.linux.resources.memory.limit: expected bytes, or -1", "$.linux.resources.memory.swappiness: expected 0"],
    ),
    "cpu": (
        _resources(cpu={"quota": 10, "burst": 11, "cpus": "0,,1", "mems": "a"}),
        [
            "$.linux.resources.cpu.burst: must not exceed quota, which is 10; found 11",
            "$.linux.resources.cpu.cpus: expected numbers",
            "$.linux.resources.cpu.mems: expected numbers",
        ],
    ),
    "block devices": (
        _resources(blockIO={"weightDevice": [{"major": 8, "minor": 0}]}),
        ["$.linux.resources.blockIO.weightDevice[0].weight: at least one of weight and leafWeight"],
    ),
    "huge pages": (
        _resources(hugepageLimits=[{"pageSize": "2MB", "limit": 0}, {"pageSize": "64kB", "limit": 0}]),
        ["$.linux.resources.hugepageLimits[1].pageSize: expected a size such as"],
    ),
    "network priorities": (
        _resources(network={"priorities": [{"priority": 1}]}),
        ["$.linux.resources.network.priorities[0].name: is REQUIRED"],
    ),
    "rdma": (
        _resources(rdma={"mlx5.1": {}}),
        ['$.linux.resources.rdma["mlx5.1"].hcaHandles: at least one of hcaHandles and hcaObjects is REQUIRED'],
    ),
    "seccomp": (
        _seccomp(
            defaultAction="ALLOW",
            defaultErrnoRet=1,
            architectures=["x86"],
            flags=["LOG"],
            listenerMetadata="x",
        ),
        [
            "$.linux.seccomp.defaultAction: expected one of",
            "$.linux.seccomp.defaultErrnoRet: must not be set because ALLOW takes no errno",
            "$.linux.seccomp.architectures[0]: expected one of",
            "$.linux.seccomp.flags[0]: expected one of",
            "$.linux.seccomp.listenerMetadata: must not be set without listenerPath",
        ],
    ),
    "system calls": (
        _seccomp(
            syscalls=[
                {"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": [ARG, {**ARG, "op": "EQ"}]},
                {"names": ["chmod"], "action": "SCMP_ACT_KILL", "errnoRet": 1},
                {},
            ]
        ),
        [
            "$.linux.seccomp.syscalls[0].names: at least one entry is REQUIRED",
            "$.linux.seccomp.syscalls[0].args[1].op: expected one of",
            "$.linux.seccomp.syscalls[1].errnoRet: must not be set because SCMP_ACT_KILL takes no errno",
            "$.linux.seccomp.syscalls[2].names: at least one entry is REQUIRED",
            "$.linux.seccomp.syscalls[2].action: is REQUIRED",
        ],
    ),
    "Hyper-V with a root": (
        {"ociVersion": "1.3.0", "root": {"path": "x"}, "windows": {"layerFolders": [], "hyperv": {}}},
        ["$.root: must not be set for Hyper-V containers"],
    ),
    "Windows without a root": ({"ociVersion": "1.3.0", "windows": {}}, ["$.root: is REQUIRED"]),
    "relative mount elsewhere": (
        {"ociVersion": "1.3.0", "root": {"path": "x"}, "mounts": [{"destination": "a"}], "freebsd": {}},
        ["$.mounts[0].destination: expected an absolute path"],
    ),
}


@pytest.mark.parametrize(("data", "expected"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations_of_a_configuration_are_found(data: dict[str, Any], expected: list[str]) -> None:
    """Every violated MUST of the runtime specification is reported once, where it is, and nothing else."""
    found = [str(violation) for violation in Spec.from_dict(data).validate()]
    assert len(found) == len(expected), found
    for violation, start in zip(found, expected, strict=True):
        assert violation.startswith(start)


VALID: dict[str, dict[str, Any]] = {
    "default": Spec.default().to_dict(),
    "rootless": Spec.default(rootless=True, uid=1000, gid=1000).to_dict(),
    "minimal": {"ociVersion": "1.0.0", "root": {"path": "rootfs"}},
    "pre-release": _with("ociVersion", "1.0.2-dev"),
    "build": _with("ociVersion", "1.3.0+dev"),
    "relative mount on Linux": _with("mounts", [{"destination": "a"}]),
    "unknown capability": _with("process.capabilities", {"bounding": ["CAP_FLY"]}),
    "mapped mount with mappings": _with("mounts", [{**BIND, "uidMappings": [ID], "gidMappings": [ID]}]),
    "mapped mount with a user namespace": {
        **_with("linux.namespaces", [{"type": "user"}]),
        "mounts": [BIND],
    },
    "recursive propagation": _with("linux.rootfsPropagation", "rslave"),
    "lists of CPUs": _resources(cpu={"cpus": "0-3,7, 9", "mems": "0", "burst": 5, "quota": -1}),
    "limit of no tasks": _resources(pids={"limit": 0}),
    "everything unlimited": _resources(memory={"limit": -1, "swap": -1, "swappiness": 0}),
    "errno with trace": _seccomp(syscalls=[{"names": ["a"], "action": "SCMP_ACT_TRACE", "errnoRet": 1}]),
    "notify": _seccomp(listenerPath="/run/agent", listenerMetadata="x", flags=[]),
    "windows": {
        "ociVersion": "1.3.0",
        "root": {"path": "\\\\?\\Volume{ec84d99e-3f02-11e7-ac6c-00155d7682cf}\\"},
        "process": {"cwd": "c:\\foo", "commandLine": "app.exe", "user": {"username": "me"}},
        "windows": {"layerFolders": ["C:\\layers"]},
    },
    "Hyper-V": {"ociVersion": "1.3.0", "windows": {"layerFolders": [], "hyperv": {}}},
}


@pytest.mark.parametrize("data", VALID.values(), ids=VALID)
def test_valid_configurations_have_no_violations(data: dict[str, Any]) -> None:
    """What the specification allows is not reported, however odd."""
    assert Spec.from_dict(data).validate() == ()


OTHERS: dict[str, tuple[type[Document], dict[str, Any], list[str]]] = {
    "state": (
        State,
        {},
        [
            "$.ociVersion: is REQUIRED",
            "$.id: is REQUIRED",
            "$.status: is REQUIRED",
            "$.bundle: is REQUIRED",
        ],
    ),
    "running without a process": (
        State,
        {"ociVersion": "1.3.0", "id": "a", "status": "running", "bundle": "b"},
        ["$.pid: is REQUIRED while the container is running", "$.bundle: expected an absolute path"],
    ),
    "state in a process state": (
        ContainerProcessState,
        {"pid": 1, "state": {"ociVersion": "1.3.0", "id": "a", "status": "created", "bundle": "/b"}},
        ["$.ociVersion: is REQUIRED", "$.state.pid: is REQUIRED while the container is created"],
    ),
    "features": (Features, {}, ["$.ociVersionMin: is REQUIRED", "$.ociVersionMax: is REQUIRED"]),
    "features with annotations": (
        Features,
        {"ociVersionMin": "1.0.0", "ociVersionMax": "x", "annotations": {"": ""}},
        ["$.ociVersionMax: expected a version", '$.annotations[""]: keys must not be empty'],
    ),
    "process alone": (Process, {"rlimits": []}, ["$.cwd: is REQUIRED"]),
    "device alone": (LinuxDevice, {"type": "x", "path": "/x", "major": 0, "minor": 0}, ["$.type: expected one of b"]),
}


@pytest.mark.parametrize(("cls", "data", "expected"), OTHERS.values(), ids=OTHERS)
def test_violations_elsewhere_are_found(cls: type[Document], data: dict[str, Any], expected: list[str]) -> None:
    """State, features, and any part of a configuration can be validated alone, with paths from there."""
    found = [str(violation) for violation in cls.from_dict(data).validate()]
    assert len(found) == len(expected), found
    for violation, start in zip(found, expected, strict=True):
        assert violation.startswith(start)


ORDER = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"]


@pytest.mark.parametrize("index", range(len(ORDER) - 1))
def test_versions_are_compared_as_semantic_versioning_does(index: int) -> None:
    """The newest version of a feature list must not be less than the oldest, pre-releases considered."""
    lower, higher = ORDER[index : index + 2]
    assert Features(oci_version_min=lower, oci_version_max=higher).validate() == ()
    assert Features(oci_version_min=lower, oci_version_max=f"{lower}+build").validate() == ()
    (violation,) = Features(oci_version_min=higher, oci_version_max=lower).validate()
    assert str(violation) == f"$.ociVersionMax: must not be less than ociVersionMin, which is {higher}"
    assert Features(oci_version_min="1.9.0", oci_version_max="1.10.0").validate() == ()


def test_a_path_with_a_colon_stays_whole() -> None:
    """A violation's path and reason are apart, whatever the keys look like."""
    spec = Spec(annotations={"a: b": 1})  # type: ignore[dict-item]
    (violation,) = spec.validate()
    assert violation.path == '$.annotations["a: b"]'


def test_words_of_the_specification_are_sorted_and_unique() -> None:
    """Lists of words are in order, so that a new one finds its place; capabilities are by number."""
    for name, words in vars(vocabulary).items():
        if name.isupper():
            assert len(set(words)) == len(words)
            if name not in {"CAPABILITIES", "HOOK_NAMES"}:
                assert list(words) == sorted(words), name
    assert vocabulary.CAPABILITIES.index("CAP_SYS_ADMIN") == 21
    assert vocabulary.CAPABILITIES.index("CAP_CHECKPOINT_RESTORE") == 40
