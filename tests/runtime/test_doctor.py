"""What the doctor says of a host is what containers there can do, for whoever asks, wherever it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from rootless_calls import V2_ONLY, elsewhere, failure, spec_of
from seccomp_profiles import arg, call, profile

from ocikit import runtime
from ocikit.errors import OCIKitError
from ocikit.runtime import Diagnosis, Finding, FindingStatus
from ocikit.runtime.plan.namespace_kinds import NAMESPACES
from ocikit.spec import LinuxCapabilities, LinuxIDMapping, LinuxNamespace, LinuxResources, Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from as_user import User

    from ocikit.spec import Spec

HOUSE = Path(__file__).parents[1] / "house"

#: What the findings of a diagnosis are, in another process.
AS_JSON = "import json; from ocikit import runtime; print(json.dumps(runtime.doctor().to_dict()))"

YES, NO, PARTLY, UNKNOWN = FindingStatus


def findings(printed: str) -> dict[str, dict[str, Any]]:
    """Read the findings that a process printed, by name."""
    return {one["name"]: one for one in json.loads(printed.splitlines()[-1])["findings"]}


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    """Give what is said of this host, to root."""
    return runtime.doctor()


# ---------------------------------------------------------------------------------------------------- the host as it is


def test_root_can_make_containers_here(diagnosis: Diagnosis) -> None:
    """Where all these tests make containers, nothing that is needed is missing, and every probe came to an end."""
    assert diagnosis.ok
    assert [one for one in diagnosis if one.needed and one.status is not YES] == []
    assert [one for one in diagnosis if one.found.startswith(("TypeError", "KeyError", "ValueError", "Attr"))] == []


def test_every_problem_has_a_remedy(diagnosis: Diagnosis) -> None:
    """What is not "yes" says what to do, and what is says nothing of the kind; names are unique."""
    assert [one.name for one in diagnosis if bool(one.remedy) is (one.status is YES)] == []
    assert [one.name for one in diagnosis if not one.found] == []
    assert len({one.name for one in diagnosis}) == len(diagnosis)
    assert diagnosis.problems == tuple(one for one in diagnosis if one.status is not YES)


LIMITS = {
    "cpu": {"cpu": {"shares": 512}},
    "cpuset": {"cpu": {"cpus": "0"}},
    "memory": {"memory": {"limit": 64 << 20}},
    "pids": {"pids": {"limit": 20}},
    "hugetlb": {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
    "devices": {"devices": [{"allow": False, "access": "rwm"}]},
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_it_says_of_a_controller_is_what_containers_have(
    make_bundle: Callable[..., Path], root: Path, container_id: str, name: str
) -> None:
    """A container can be limited by a controller if, and only if, the finding is "yes"."""
    bundle = make_bundle(linux={"resources": LinuxResources.from_dict(LIMITS[name])})
    diagnosis = runtime.doctor()
    try:
        with runtime.create(root, container_id, bundle, stdin="null"):
            limited = True
    except OCIKitError as error:
        limited = False
        assert "resources" in str(error)  # noqa: PT017 - that it is this limit, and nothing else
    assert (diagnosis[f"cgroups.{name}"].status is YES) is limited


@pytest.mark.parametrize("kind", NAMESPACES)
def test_what_it_says_of_a_namespace_is_what_containers_have(
    make_spec: Callable[..., Spec], root: Path, bundle: Path, container_id: str, kind: str
) -> None:
    """A container can have a namespace of a kind if, and only if, the finding is "yes"."""
    diagnosis, spec = runtime.doctor(), make_spec()
    assert spec.linux is not None
    more = LinuxNamespace(type=kind)
    ids = {}
    if kind == "user":
        ids = dict.fromkeys(("uid_mappings", "gid_mappings"), (LinuxIDMapping(container_id=0, host_id=0, size=65_536),))
    if more not in spec.linux.namespaces:
        spec = spec.with_linux(namespaces=(*spec.linux.namespaces, more), **ids)
    try:
        with runtime.create(root, container_id, bundle, spec=spec, stdin="null") as container:
            own, its = (os.readlink(f"/proc/{pid}/ns/{NAMESPACES[kind].file}") for pid in ("self", container.pid))
            made = own != its
    except OCIKitError:
        made = False
    assert (diagnosis[f"namespaces.{kind}"].status is YES) is made


def test_it_leaves_nothing() -> None:
    """No descriptor, process, mount or cgroup is more than before."""

    def there() -> tuple[Any, ...]:
        named = "ocikit-doctor"
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        hierarchies = [line.split(" ")[4] for line in lines if " - cgroup" in line]
        cgroups = [path for top in hierarchies for path, _, _ in os.walk(top) if named in path]
        return sorted(os.listdir("/proc/self/fd")), lines, cgroups, Path("/proc/thread-self/children").read_text()

    runtime.doctor()  # what is loaded by the first call stays
    before = there()
    runtime.doctor()
    assert there() == before


def test_the_state_root_that_is_asked_about(tmp_path: Path) -> None:
    """One that is missing is not made; one that others can write to is not trusted, and nothing works without it."""
    assert runtime.doctor(tmp_path / "a/b")["state.root"].status is YES
    assert not (tmp_path / "a").exists()
    tmp_path.chmod(0o777)
    found = runtime.doctor(tmp_path)
    assert found["state.root"].status is NO
    assert str(tmp_path) in found["state.root"].remedy
    assert not found.ok


# -------------------------------------------------------------------------------------------------- users, other places


def as_user(container_id: str) -> list[Any]:
    """Ask as this user, and try what is said."""
    memory = LinuxResources.from_dict({"memory": {"limit": 64 << 20}})
    refused = failure(container_id, spec_of(linux={"resources": memory}))
    return [runtime.doctor().to_dict(), failure(container_id, spec_of()), refused]


def test_a_user_without_privileges(user: User, container_id: str) -> None:
    """It is told that containers can be made, of what ids, and that nothing can be limited where that is so."""
    told, refused, limited = user.call(as_user, container_id)
    by_name = {one["name"]: one for one in told["findings"]}
    assert told["ok"]
    assert refused == []
    assert by_name["namespaces.user"]["needed"]
    assert by_name["users.subuid"]["found"] == "10000 ids from 700000"
    assert by_name["security.capabilities"]["status"] == "no"
    assert (by_name["cgroups.memory"]["status"] == "yes") is (limited == [])
    assert [name for name, one in by_name.items() if bool(one["remedy"]) is (one["status"] == "yes")] == []


def of_user() -> dict[str, Any]:
    """Return what is said to this user."""
    return runtime.doctor().to_dict()


def test_the_remedies_of_a_user(user: User) -> None:
    """Who has been given no ids is told the line, and where nobody delegates cgroups, what does."""
    told = user._replace(given=None).call(of_user)
    by_name = {one["name"]: one for one in told["findings"]}
    for file in ("subuid", "subgid"):
        found = by_name[f"users.{file}"]
        assert found["status"] == "no"
        assert found["remedy"] == f"as root: echo '{user.name}:100000:65536' >> /etc/{file}"
    expected = "cgroup" if V2_ONLY else "systemd.unified_cgroup_hierarchy=1"
    assert expected in by_name["cgroups.memory"]["remedy"]


def test_a_user_with_a_cgroup(user: User, container_id: str, delegated: Path) -> None:
    """What was delegated to a user can be limited, and what was not comes with the file that delegates it."""
    told, refused, limited = user.call(as_user, container_id, cgroup=delegated)
    by_name = {one["name"]: one for one in told["findings"]}
    assert refused == []
    assert (by_name["cgroups.memory"]["status"] == "yes") is (limited == []) is V2_ONLY
    if V2_ONLY:
        assert by_name["cgroups.pids"]["status"] == "yes"
        assert by_name["cgroups.cpu"]["status"] == "no"
        assert by_name["cgroups.delegation"]["status"] == "partly"
        for name in ("cgroups.cpu", "cgroups.delegation"):
            assert "/etc/systemd/system/user@.service.d/delegate.conf" in by_name[name]["remedy"]
            assert "Delegate=cpu cpuset io memory pids" in by_name[name]["remedy"]
    assert [one.name for one in delegated.parent.iterdir() if one.is_dir()] == ["inner"]


def without_user_namespaces() -> dict[str, Any]:
    """Ask where the kernel allows no more user namespaces."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    return dict(elsewhere(prefix, "__import__('ocikit.runtime').runtime.doctor().to_dict()"))


def test_where_user_namespaces_are_forbidden(user: User) -> None:
    """The kernel parameter and its value are found, and the remedy is the command that changes it."""
    told = user.call(without_user_namespaces)
    by_name = {one["name"]: one for one in told["findings"]}
    for name in ("namespaces.user", "user_namespaces.unprivileged"):
        assert by_name[name]["found"] == "user.max_user_namespaces is 0"
        assert by_name[name]["remedy"] == "sysctl -w user.max_user_namespaces=10000"
    assert by_name["mounts.overlay_userxattr"]["remedy"] == "sysctl -w user.max_user_namespaces=10000"


@pytest.mark.parametrize(("kind", "file"), [("network", "net"), ("mount", "mnt"), ("cgroup", "cgroup")])
def test_where_other_namespaces_are_forbidden(kind: str, file: str) -> None:
    """Each kind of namespaces has a parameter of its own, which is named."""
    forbid = f'echo 0 > /proc/sys/user/max_{file}_namespaces && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    done = subprocess.run([*prefix, sys.executable, "-c", AS_JSON], capture_output=True, text=True, check=True)
    found = findings(done.stdout)[f"namespaces.{kind}"]
    assert found["found"] == f"user.max_{file}_namespaces is 0"
    assert found["remedy"] == f"sysctl -w user.max_{file}_namespaces=10000"


def test_in_a_chroot(tmp_path: Path) -> None:
    """That a chroot is the reason is found by root, who could leave it."""
    script = f'mount --rbind / {tmp_path} && exec chroot {tmp_path} "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    done = subprocess.run([*prefix, sys.executable, "-c", AS_JSON], capture_output=True, text=True, check=True)
    assert "chroot" in findings(done.stdout)["namespaces.user"]["found"]


def in_container(root: Path, bundle: Path, container_id: str, spec: Spec, **linux: Any) -> dict[str, dict[str, Any]]:
    """Ask in a container that has the files of the host."""
    program = (sys.executable, "-c", AS_JSON)
    env = (f"PYTHONPATH={os.pathsep.join(map(os.path.abspath, sys.path))}", f"PATH={os.environ['PATH']}")
    names = tuple(f"CAP_{name}" for name in ("SYS_ADMIN", "SETUID", "SETGID", "SETFCAP"))
    capabilities = LinuxCapabilities(bounding=names, effective=names, permitted=names)
    spec = spec.with_process(args=program, env=env, capabilities=capabilities, rlimits=()).with_linux(**linux)
    spec = attrs.evolve(spec, root=Root(path="/", readonly=True))
    done = runtime.run(root, container_id, bundle, spec=spec)
    assert done.exit_code == 0, done.stderr
    return findings(done.stdout.decode())


def test_in_a_container(root: Path, bundle: Path, container_id: str, make_spec: Callable[..., Spec]) -> None:
    """What an outer container masks, mounts read-only and takes away is what is found in it."""
    found = in_container(root, bundle, container_id, make_spec())
    assert found["mounts.proc_in_user_namespace"]["status"] == "no"
    assert "/proc/" in found["mounts.proc_in_user_namespace"]["found"]
    assert found["cgroups.writable"]["status"] == "no"
    assert found["security.new_privileges"]["status"] == "no"
    assert "CAP_NET_ADMIN" in found["security.capabilities"]["found"]
    assert "NET_ADMIN" in found["security.capabilities"]["remedy"]
    assert [name for name, one in found.items() if bool(one["remedy"]) is (one["status"] == "yes")] == []


def test_an_unmasked_proc(root: Path, bundle: Path, container_id: str, make_spec: Callable[..., Spec]) -> None:
    """The remedy for a masked /proc is one."""
    found = in_container(root, bundle, container_id, make_spec(), masked_paths=(), readonly_paths=())
    assert found["mounts.proc_in_user_namespace"]["status"] == "yes"


NEW_USER = NAMESPACES["user"].flag


@pytest.mark.parametrize(
    "entry", [call("unshare"), call("unshare", args=[arg(0, "MASKED_EQ", NEW_USER, NEW_USER)])], ids=["all", "user"]
)
def test_a_filter_around_it(
    root: Path, bundle: Path, container_id: str, make_spec: Callable[..., Spec], entry: dict[str, Any]
) -> None:
    """A seccomp profile that forbids unshare, or a user namespace alone, is told from all other reasons."""
    found = in_container(root, bundle, container_id, make_spec(), seccomp=profile("SCMP_ACT_ALLOW", entry))
    assert found["namespaces.user"]["status"] == "no"
    assert "seccomp filter" in found["namespaces.user"]["found"]
    assert "unshare(2)" in found["namespaces.user"]["found"]
    assert "seccomp" in found["namespaces.user"]["remedy"]
    assert found["namespaces.network"]["status"] == "yes"  # which is made by clone


def test_a_filter_of_clone3(root: Path, bundle: Path, container_id: str, make_spec: Callable[..., Spec]) -> None:
    """Where the profile has no clone3, no container can be made, and that is what is said."""
    entry = call("clone3", errnoRet=38)
    found = in_container(root, bundle, container_id, make_spec(), seccomp=profile("SCMP_ACT_ALLOW", entry))
    assert found["kernel.helper"]["status"] == "no"
    assert "clone3" in found["kernel.helper"]["found"]
    assert found["kernel.helper"]["needed"]


# --------------------------------------------------------------------------------------------------- probes that fail


def test_without_free_descriptors() -> None:
    """Probes that cannot look say why, and the others go on."""
    script = """
import json, os, resource
from ocikit import runtime
runtime.doctor()
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
print(json.dumps(runtime.doctor().to_dict()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = findings(done.stdout)
    assert found["kernel.helper"]["status"] == "unknown"
    assert "Too many open files" in found["kernel.helper"]["found"]
    assert found["kernel.version"]["status"] == "yes"
    assert [name for name, one in found.items() if bool(one["remedy"]) is (one["status"] == "yes")] == []


def test_off_linux() -> None:
    """Elsewhere one thing is known, and nothing of what there is to know about Linux."""
    script = f"import sys; sys.path.insert(0, {str(HOUSE)!r}); import elsewhere\n{AS_JSON}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = findings(done.stdout)
    assert found.pop("kernel.linux")["found"].startswith("NotSupportedError")
    assert {one["status"] for one in found.values()} == {"unknown"}
    assert found.keys() == {one.name for one in runtime.doctor()}
    assert not json.loads(done.stdout)["ok"]


# ------------------------------------------------------------------------------------------------------ how it is shown


def finding(name: Any, status: Any = YES, **fields: Any) -> Finding:
    """Make a finding."""
    return Finding(name=name, status=status, **({"area": "one", "found": "seen"} | fields))


def test_text_is_aligned_by_area() -> None:
    """Columns begin at one place, each area has its heading, and a remedy is below what it is for."""
    text = str(
        Diagnosis(
            findings=(
                finding("a.short"),
                finding("a.much_longer", NO, remedy="sysctl -w x=1", needed=True),
                finding("b.other", area="two", found="bad \x1b[2J"),
            )
        )
    )
    assert text.splitlines() == [
        "one",
        "  yes      a.short        seen",
        "  no       a.much_longer  seen (needed by every container)",
        "                            -> sysctl -w x=1",
        "two",
        r"  yes      b.other        bad \x1b[2J",
        "containers cannot be made here as this user (2 yes, 1 no)",
    ]


def test_html_is_escaped() -> None:
    """Whatever a host says is text in a notebook, and nothing in there is a program."""
    evil = "<script>alert('\"&')</script>"
    for field in ("name", "area", "found", "remedy"):
        one = finding(**{"name": "x", "status": NO, "remedy": "y"} | {field: evil})
        html = Diagnosis(findings=(one,))._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;alert(&#x27;&quot;&amp;&#x27;)&lt;/script&gt;" in html


def test_findings_are_found_by_name(diagnosis: Diagnosis) -> None:
    """A diagnosis is a frozen sequence that knows its findings by name, and is JSON."""
    assert diagnosis["kernel.version"].area == "kernel"
    assert "kernel.version" in [one.name for one in diagnosis]
    with pytest.raises(KeyError, match="nothing"):
        diagnosis["nothing"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        diagnosis.findings = ()  # type: ignore[misc]
    assert findings(json.dumps(diagnosis.to_dict())).keys() == {one.name for one in diagnosis}


@pytest.mark.parametrize(
    ("status", "ok"),
    [(YES, True), (PARTLY, True), (NO, False), (UNKNOWN, False)],
    ids=["yes", "partly", "no", "unknown"],
)
def test_what_is_needed_has_to_be_known(status: FindingStatus, ok: bool) -> None:  # noqa: FBT001
    """All is well unless something that is needed is missing, or may be."""
    assert Diagnosis(findings=(finding("x", status, needed=True),)).ok is ok
    assert Diagnosis(findings=(finding("x", status),)).ok


def test_the_function_is_what_its_name_means() -> None:
    """Whatever is imported, and in whatever order, ``runtime.doctor`` can be called."""
    script = "import ocikit.runtime.diagnosis.examine as e; import ocikit; assert ocikit.runtime.doctor is e.doctor"
    subprocess.run([sys.executable, "-c", script], check=True)
