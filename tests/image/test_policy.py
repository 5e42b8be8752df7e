"""Which requirements hold for which image, and whether an image meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from builders import OCI_MANIFEST, Store

from ocikit.errors import ManifestError, PolicyError, PolicyNotFoundError, PolicyRequirementError
from ocikit.image import Policy, PolicyContext, SystemContext, copy, parse_image_name
from ocikit.image.unparsed import UnparsedImage

if TYPE_CHECKING:
    from pathlib import Path

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Return a layout with an image named ``a:1``."""
    store = Store()
    return store.layout(tmp_path / "images" / "app", {"a:1": store.image(platform=False)})


def policy_of(default: Any = None, **transports: dict[str, Any]) -> Policy:
    """Return a policy; underscores in the names of transports are dashes."""
    scopes = {name.replace("_", "-"): value for name, value in transports.items()}
    return Policy.from_bytes(json.dumps({"default": default or REJECT, "transports": scopes}))


def test_the_most_specific_scope_alone_counts(layout: Path) -> None:
    """Identity, path, each directory above, the transport's default, the policy's default: the first that is there."""
    image = parse_image_name(f"oci:{layout}:a:1")
    path = str(layout.resolve())
    identity, namespaces = image.policy_configuration_identity, image.policy_configuration_namespaces
    scopes = list(dict.fromkeys([identity, *namespaces, ""]))
    assert path in scopes
    assert str(layout.resolve().parent) in scopes
    for number, scope in enumerate(scopes):
        there = dict.fromkeys(scopes[number + 1 :], REJECT) | {scope: ACCEPT}
        match = policy_of(oci=there).requirements_for(image)
        assert match.scope == f"oci:{scope}"
        assert match.requirements == Policy.insecure_accept_anything().requirements
    other = policy_of(ACCEPT, oci={f"{path}:a:2": REJECT, f"{path}x": REJECT}, dir={"": REJECT, path: REJECT})
    assert other.requirements_for(image).scope == "default"


def test_scopes_of_dir(tmp_path: Path) -> None:
    """A dir image is its directory; the scopes above it are the directories above."""
    store = Store()
    directory = store.directory(tmp_path / "x", store.image()).resolve()
    image = parse_image_name(f"dir:{directory}")
    for scope in (str(directory), str(directory.parent)):
        assert policy_of(dir={scope: ACCEPT, "": REJECT}).requirements_for(image).scope == f"dir:{scope}"


def test_skopeo_decides_alike(layout: Path, tmp_path: Path) -> None:
    """For every scope that could count, accepting there and rejecting elsewhere, and the other way round."""
    path = str(layout.resolve())
    store = Store()
    directory = str(store.directory(tmp_path / "images" / "dir", store.image()).resolve())
    images = {"oci": f"{path}:a:1", "dir": directory}
    scopes = {
        "oci": [path, str(layout.resolve().parent), ""],
        "dir": [directory, str(tmp_path.resolve()), ""],
    }
    file = tmp_path / "policy.json"
    for transport, name in images.items():
        for number, scope in enumerate(scopes[transport]):
            for there, elsewhere in ((ACCEPT, REJECT), (REJECT, ACCEPT)):
                rules = dict.fromkeys(scopes[transport][number + 1 :], elsewhere) | {scope: there}
                policy = policy_of(elsewhere, **{transport: rules})
                file.write_bytes(policy.to_json())
                skopeo = subprocess.run(
                    ["skopeo", "--policy", str(file), "copy", f"{transport}:{name}", f"dir:{tmp_path}/out"],
                    capture_output=True,
                    check=False,
                )
                match = policy.requirements_for(parse_image_name(f"{transport}:{name}"))
                assert match.scope == f"{transport}:{scope}"
                allowed = match.requirements == Policy.insecure_accept_anything().requirements
                assert allowed == (skopeo.returncode == 0) == (there is ACCEPT), skopeo.stderr


def test_accept_and_reject(layout: Path) -> None:
    """What accepts returns, what rejects raises with the image, the scope and the reason."""
    image = parse_image_name(f"oci:{layout}:a:1")
    with image.new_image_source() as source:
        with PolicyContext(Policy.insecure_accept_anything()) as context:
            context.is_running_image_allowed(UnparsedImage(source))
        with (
            PolicyContext(Policy.reject()) as context,
            pytest.raises(
                PolicyRequirementError, match=r"a:1: not allowed .* scope 'default': \[0\] reject: every image"
            ),
        ):
            context.is_running_image_allowed(UnparsedImage(source))


SIGNED = [
    ({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/keys/a.gpg"}, "/keys/a.gpg cannot be read: No such file"),
    ({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b"]}, "/a cannot be read"),
    ({"type": "signedBy", "keyType": "GPGKeys", "keyData": "YQ=="}, "keyData: expected keys of OpenPGP"),
    ({"type": "signedBy", "keyType": "signedByGPGKeys", "keyPath": "/a"}, "reserved and never met"),
    ({"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/a"}, "reserved and never met"),
    ({"type": "signedBy", "keyType": "signedByX509CAs", "keyPath": "/a"}, "reserved and never met"),
    ({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}, "always denies"),
    ({"type": "sigstoreSigned", "keyPath": "/keys/a.pub"}, "/keys/a.pub cannot be read"),
    ({"type": "sigstoreSigned", "keyData": "YQ=="}, "the policy's keyData: expected a public key"),
    (
        {
            "type": "sigstoreSigned",
            "fulcio": {"caPath": "/c", "oidcIssuer": "https://i.example", "subjectEmail": "a@b"},
            "rekorPublicKeyPath": "/r",
        },
        r"/r cannot be read",
    ),
    ({"type": "sigstoreSigned", "pki": {"caRootsPath": "/r", "subjectHostname": "h.example"}}, "/r cannot be read"),
]


@pytest.mark.parametrize(("requirement", "match"), SIGNED)
def test_signatures_are_never_taken_on_trust(layout: Path, requirement: dict[str, Any], match: str) -> None:
    """Where a signature is required nothing is accepted, and the message says what is missing."""
    policy = policy_of([{"type": "insecureAcceptAnything"}, requirement])
    with (
        parse_image_name(f"oci:{layout}:a:1").new_image_source() as source,
        PolicyContext(policy) as context,
        pytest.raises(PolicyRequirementError, match=rf"\[1\] {requirement['type']}: .*{match}"),
    ):
        context.is_running_image_allowed(UnparsedImage(source))


def test_every_requirement_must_hold_and_every_failure_is_named(layout: Path) -> None:
    """Requirements are a conjunction; the error lists each one that fails and only those."""
    policy = policy_of([*REJECT, *ACCEPT, {"type": "sigstoreSigned", "keyPath": "/k"}])
    with (
        parse_image_name(f"oci:{layout}:a:1").new_image_source() as source,
        PolicyContext(policy) as context,
        pytest.raises(PolicyRequirementError) as caught,
    ):
        context.is_running_image_allowed(UnparsedImage(source))
    message = str(caught.value)
    assert "[0] reject" in message
    assert "[2] sigstoreSigned" in message
    assert "[1]" not in message


def test_a_closed_context_answers_nothing(layout: Path) -> None:
    """A context that was closed is an error, not a yes."""
    context = PolicyContext(Policy.insecure_accept_anything())
    context.close()
    context.close()
    with (
        parse_image_name(f"oci:{layout}:a:1").new_image_source() as source,
        pytest.raises(PolicyError, match="closed"),
    ):
        context.is_running_image_allowed(UnparsedImage(source))


def test_a_context_serves_many_threads(layout: Path) -> None:
    """Several threads may ask one context at the same time, and each gets its own answer."""
    other = shutil.copytree(layout, layout.with_name("other"))
    policy = policy_of(oci={str(layout.resolve()): ACCEPT, str(other.resolve()): REJECT})
    answers: list[tuple[str, bool]] = []
    with PolicyContext(policy) as context, parse_image_name(f"oci:{layout}:a:1").new_image_source() as source:

        class Renamed(UnparsedImage):
            """The image under another name."""

            reference = parse_image_name(f"oci:{other}:b")

        def ask(image: UnparsedImage) -> None:
            for _ in range(200):
                try:
                    context.is_running_image_allowed(image)
                    answers.append((str(image.reference), True))
                except PolicyRequirementError:
                    answers.append((str(image.reference), False))

        threads = [threading.Thread(target=ask, args=(kind(source),)) for kind in (UnparsedImage, Renamed) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(answers) == {(f"oci:{layout}:a:1", True), (f"oci:{other}:b", False)}
    assert len(answers) == 1200


def test_a_copy_needs_a_policy(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With none given and none found nothing is copied, and the error says how to give one."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    nowhere = SystemContext(root_for_implicit_absolute_paths=str(tmp_path / "nowhere"))
    source, dest = f"oci:{layout}:a:1", f"oci:{tmp_path}/out:a"
    with pytest.raises(PolicyNotFoundError, match=r"Policy\.from_file\(path\).*Policy\.insecure_accept_anything\(\)"):
        copy.image(None, dest=dest, src=source, options=copy.CopyOptions(source_ctx=nowhere))
    assert not (tmp_path / "out").exists()
    file = tmp_path / "policy.json"
    file.write_bytes(policy_of(oci={str(layout.resolve()): ACCEPT}).to_json())
    named = SystemContext(signature_policy_path=str(file))
    result = copy.image(None, dest=dest, src=source, options=copy.CopyOptions(source_ctx=named))
    assert len(result.copied) == 2


def test_a_copy_that_is_not_allowed_touches_nothing(tmp_path: Path) -> None:
    """The policy is asked before the destination is opened and before the manifest is parsed."""
    store = Store()
    nonsense = store.json(OCI_MANIFEST, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": "none"})
    layout = store.layout(tmp_path / "in", {"x": nonsense})
    for policy, error in (
        (Policy.reject(), PolicyRequirementError),
        (Policy.insecure_accept_anything(), ManifestError),
    ):
        with pytest.raises(error):
            copy.image(policy, dest=f"oci:{tmp_path}/out:a", src=f"oci:{layout}:x")
        assert not (tmp_path / "out").exists()


def test_an_index_is_judged_by_what_is_copied(tmp_path: Path) -> None:
    """Each image of an index is held against the policy; an index of nothing is itself."""
    store = Store()
    some = store.index(store.image(architecture="amd64"), store.image(architecture="arm64"))
    layout = store.layout(tmp_path / "in", {"some": some, "none": store.index()})
    everything = copy.CopyOptions(image_list_selection=copy.ImageListSelection.ALL)
    for name in ("some", "none"):
        with pytest.raises(PolicyRequirementError):
            copy.image(Policy.reject(), dest=f"oci:{tmp_path}/out:x", src=f"oci:{layout}:{name}", options=everything)
        assert not (tmp_path / "out").exists()
    context = PolicyContext(Policy.insecure_accept_anything())
    for name in ("some", "none"):
        copy.image(context, dest=f"oci:{tmp_path}/out:{name}", src=f"oci:{layout}:{name}", options=everything)
    assert context.policy == Policy.insecure_accept_anything()
