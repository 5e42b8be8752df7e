"""Who may do what in the registry for tests: basic, bearer with its token server, rights, TLS."""

from __future__ import annotations

import base64
import re
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from asking import MANIFEST, Reply, ask, connect, digest_of, make_image

from ocikit.errors import SystemCallError
from ocikit.testing import TLS, BasicAuth, BearerAuth, Registry, TLSFiles

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = make_image()
USERS = {"alice": "secret", "bob": "hidden:colon"}
RIGHTS = {"alice": {"team/*": "*"}, "bob": {"team/*": "pull,push"}, "": {"public/*": "pull"}}
MANIFESTS = "/v2/team/app/manifests/1"


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header line with credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


ALICE, BOB = basic("alice", "secret"), basic("bob", "hidden:colon")


def filled(registry: Registry) -> Registry:
    """Put an image into two repositories; return the registry."""
    for repository in ("team/app", "public/app"):
        IMAGE.put(registry, repository, "1")
    return registry


def challenge(reply: Reply) -> dict[str, str]:
    """Return what a challenge says."""
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    scheme, _, rest = reply.headers["www-authenticate"].partition(" ")
    return {"": scheme, **dict(re.findall(r'(\w+)="([^"]*)"', rest))}


def token(registry: Registry, *scopes: str, headers: dict[str, str] | None = None, **more: str) -> dict[str, Any]:
    """Get a token, and return the answer and, as ``Authorization``, the line to show it."""
    query = urlencode([("service", "registry"), *(("scope", scope) for scope in scopes), *more.items()])
    reply = ask(registry, "GET", f"/token?{query}", headers=headers)
    assert reply.status == 200
    document: dict[str, Any] = reply.json
    return {"Authorization": f"Bearer {document.get('token') or document['access_token']}"} | document


def shown(got: dict[str, Any]) -> dict[str, str]:
    """Return the header line that shows a token."""
    return {"Authorization": got["Authorization"]}


def test_basic() -> None:
    """Users come in with their password, nobody else does, and what was shown is recorded without secrets."""
    with filled(Registry(auth=BasicAuth(users=USERS))) as registry:
        assert challenge(ask(registry, "GET", "/v2/")) == {"": "Basic", "realm": "registry", "charset": "UTF-8"}
        for headers in (basic("alice", "wrong"), basic("eve", "secret"), {"Authorization": "Basic !"}):
            assert ask(registry, "GET", MANIFESTS, headers=headers).status == 401
        for headers in (ALICE, BOB):
            assert ask(registry, "GET", MANIFESTS, headers=headers).status == 200
        seen = [(one.authorization, one.user, one.token) for one in registry.requests]
        assert seen[-1] == ("basic", "bob", None)
        assert "hidden" not in str(registry.requests) + repr(registry) + repr(
            [one.headers for one in registry.requests]
        )


def test_basic_rights() -> None:
    """A user may do what there is a right to; who is somebody is told that it is denied."""
    with filled(Registry(auth=BasicAuth(users=USERS, rights=RIGHTS))) as registry:
        assert ask(registry, "GET", "/v2/public/app/manifests/1").status == 200
        assert ask(registry, "GET", MANIFESTS).status == 401
        assert ask(registry, "DELETE", MANIFESTS, headers=BOB).code == "DENIED"
        assert ask(registry, "POST", "/v2/other/blobs/uploads/", headers=BOB).status == 403
        assert ask(registry, "POST", "/v2/team/new/blobs/uploads/", headers=BOB).status == 202
        assert ask(registry, "DELETE", MANIFESTS, headers=ALICE).status == 202


def test_anonymous_pull() -> None:
    """Anybody pulls when that is allowed, and pushes nothing."""
    for auth in (BasicAuth(users=USERS, anonymous_pull=True), BearerAuth(users=USERS, anonymous_pull=True)):
        with filled(Registry(auth=auth)) as registry:
            headers = {}
            if isinstance(auth, BearerAuth):
                headers = shown(token(registry, "repository:team/app:pull,push"))
            assert ask(registry, "GET", MANIFESTS, headers=headers).status == 200
            assert ask(registry, "PUT", MANIFESTS, IMAGE.manifest, headers).status == 401
            assert ask(registry, "GET", "/v2/_catalog", headers=headers).status == 401


def test_bearer() -> None:
    """A challenge says where to get which token, and that token opens what was asked for and nothing else."""
    with filled(Registry(auth=BearerAuth(users=USERS, rights=RIGHTS))) as registry:
        assert challenge(ask(registry, "GET", "/v2/")) == {
            "": "Bearer",
            "realm": f"{registry.url}/token",
            "service": "registry",
        }
        about = challenge(ask(registry, "GET", MANIFESTS))
        assert about["scope"] == "repository:team/app:pull"
        got = token(registry, about["scope"], headers=BOB)
        assert got["token"] == got["access_token"]
        assert got["expires_in"] == 300
        assert ask(registry, "GET", MANIFESTS, headers=shown(got)).status == 200
        again = challenge(ask(registry, "POST", "/v2/team/app/blobs/uploads/", headers=shown(got)))
        assert (again["error"], again["scope"]) == ("insufficient_scope", "repository:team/app:pull,push")
        better = shown(token(registry, again["scope"], headers=BOB))
        assert ask(registry, "POST", "/v2/team/app/blobs/uploads/", headers=better).status == 202
        more = shown(token(registry, "repository:team/app:delete repository:public/app:pull", headers=BOB))
        assert challenge(ask(registry, "DELETE", MANIFESTS, headers=more))["error"] == "insufficient_scope"
        assert ask(registry, "GET", "/v2/public/app/manifests/1", headers=more).status == 200
        assert (
            challenge(ask(registry, "GET", MANIFESTS, headers={"Authorization": "Bearer x"}))["error"]
            == "invalid_token"
        )
        seen = [(one.authorization, one.user, one.token) for one in registry.requests]
        assert ("bearer", "bob", "token-1") in seen
        assert seen[-1] == ("bearer", None, "unknown")


def test_everything_of_a_repository() -> None:
    """The scope ``*`` is all that a user may do, as it is asked for to delete."""
    with filled(Registry(auth=BearerAuth(users=USERS, rights=RIGHTS))) as registry:
        assert (
            ask(
                registry, "DELETE", MANIFESTS, headers=shown(token(registry, "repository:team/app:*", headers=BOB))
            ).status
            == 401
        )
        everything = shown(token(registry, "repository:team/app:*", "registry:catalog:*", headers=ALICE))
        assert ask(registry, "DELETE", MANIFESTS, headers=everything).status == 202
        assert ask(registry, "GET", "/v2/_catalog", headers=everything).status == 200


def test_no_token() -> None:
    """Who is nobody gets no token where anybody has no rights, and neither does a wrong password or form."""
    with Registry(auth=BearerAuth(users=USERS)) as registry:
        for headers in ({}, basic("alice", "wrong"), {"Authorization": "Bearer x"}):
            reply = ask(registry, "GET", "/token", headers=headers)
            assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        for body, status in (
            (b"", 400),
            (b"\xff", 400),
            (b"grant_type=refresh_token&refresh_token=x", 401),
            (b"grant_type=password&username=alice&password=wrong", 401),
            (b"&".join([b"a=b"] * 1000), 400),
        ):
            assert ask(registry, "POST", "/token", body).status == status
        assert ask(registry, "PUT", "/token").status == 405
        assert ask(registry, "GET", "/token?scope=" + "a:b:c%20" * 101, headers=ALICE).status == 400
    with Registry() as registry:
        assert ask(registry, "GET", "/token").status == 404


def test_tokens_expire() -> None:
    """A token that has expired is no token, by its time or because the test says so."""
    scope = "repository:team/app:pull"
    with filled(Registry(auth=BearerAuth(users=USERS, lifetime=0, expires_in=3600))) as registry:
        got = token(registry, scope, headers=ALICE)
        assert got["expires_in"] == 3600
        assert challenge(ask(registry, "GET", MANIFESTS, headers=shown(got)))["error"] == "invalid_token"
    with filled(Registry(auth=BearerAuth(users=USERS, expires_in=0))) as registry:
        got = token(registry, scope, headers=ALICE)
        assert "expires_in" not in got
        assert ask(registry, "GET", MANIFESTS, headers=shown(got)).status == 200
        registry.expire_tokens()
        assert ask(registry, "GET", MANIFESTS, headers=shown(got)).status == 401
        assert ask(registry, "GET", MANIFESTS, headers=shown(token(registry, scope, headers=ALICE))).status == 200


def test_identity_tokens() -> None:
    """Identity tokens are there from the beginning, or come with a token, and get further ones by POST."""
    auth = BearerAuth(users=USERS, identity_tokens={"own": "bob"}, token_keys=["access_token"])
    with filled(Registry(auth=auth)) as registry:
        got = token(registry, headers=ALICE, offline_token="true")  # noqa: S106
        assert "token" not in got
        for identity in ("own", got["refresh_token"]):
            form = {"grant_type": "refresh_token", "refresh_token": identity, "scope": "repository:team/app:pull"}
            reply = ask(registry, "POST", "/token", urlencode(form).encode())
            assert (reply.status, reply.json["refresh_token"]) == (200, identity)
            headers = {"Authorization": f"Bearer {reply.json['access_token']}"}
            assert ask(registry, "GET", MANIFESTS, headers=headers).status == 200
        form = {"grant_type": "password", "username": "alice", "password": "secret", "access_type": "offline"}
        assert ask(registry, "POST", "/token", urlencode(form).encode()).json["refresh_token"] == got["refresh_token"]
        assert registry.requests[-1].bytes_in > 0


def test_mount_needs_the_right_to_the_source() -> None:
    """A blob is mounted only from where the caller may pull, and else an upload begins."""
    for auth in (BasicAuth(users=USERS, rights=RIGHTS), BearerAuth(users=USERS, rights=RIGHTS)):
        with filled(Registry(auth=auth)) as registry:
            registry.add_blob("private", b"private")
            statuses = []
            for data, source in ((b"private", "private"), (IMAGE.layer, "public/app")):
                headers = BOB
                if isinstance(auth, BearerAuth):
                    scopes = ("repository:team/app:pull,push", f"repository:{source}:pull")
                    headers = shown(token(registry, *scopes, headers=BOB))
                path = f"/v2/team/app/blobs/uploads/?mount={digest_of(data)}&from={source}"
                statuses.append(ask(registry, "POST", path, headers=headers).status)
            assert statuses == [202, 201]


def test_token_server_elsewhere() -> None:
    """The realm of the challenge can be another server."""
    with Registry(auth=BearerAuth(users=USERS, realm="http://127.0.0.1:9/token", service="other")) as registry:
        about = challenge(ask(registry, "GET", "/v2/"))
        assert (about["realm"], about["service"]) == ("http://127.0.0.1:9/token", "other")


def test_nothing_secret_is_shown() -> None:
    """Options show no password and no token."""
    shown_text = repr([BasicAuth(users=USERS), BearerAuth(users=USERS, identity_tokens={"own": "bob"})])
    assert not any(secret in shown_text for secret in ("secret", "hidden", "own'"))
    with pytest.raises(ValueError, match="token_keys"):
        BearerAuth(users={}, token_keys=("jwt",))


def test_tls() -> None:
    """With TLS the authority is a file, everything works, and the file is gone afterwards."""
    with filled(Registry(tls=True)) as registry:
        assert registry.url.startswith("https://127.0.0.1:")
        reply = ask(registry, "GET", f"/v2/team/app/blobs/{digest_of(IMAGE.layer)}")
        assert (reply.status, reply.body) == (200, IMAGE.layer)
        assert (
            ask(registry, "PUT", "/v2/team/app/manifests/2", IMAGE.manifest, {"Content-Type": MANIFEST}).status == 201
        )
        path = registry.ca_file
        assert path is not None
        context = ssl.create_default_context()
        connection = connect(registry)
        connection._context = context  # type: ignore[attr-defined]
        with pytest.raises(ssl.SSLCertVerificationError):
            connection.request("GET", "/v2/")
        connection.close()
    with pytest.raises(FileNotFoundError):
        open(path).close()


def test_certificates_that_are_wrong() -> None:
    """A certificate may be too old, or for somebody else."""
    for options, reason in ((TLS(expired=True), "expired"), (TLS(hosts=["other.test"]), "IP address mismatch")):
        with Registry(tls=options) as registry, pytest.raises(ssl.SSLCertVerificationError, match=reason):
            ask(registry, "GET", "/v2/")


def test_certificates_of_clients() -> None:
    """A client that needs a certificate finds one in the form of ``certs.d``."""
    with Registry(tls=TLS(client_certificate=True)) as registry:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(registry, "GET", "/v2/")
        directory = registry.cert_directory
        connection = connect(registry)
        connection._context.load_cert_chain(f"{directory}/client.cert", f"{directory}/client.key")  # type: ignore[attr-defined]
        assert ask(registry, "GET", "/v2/", over=connection).status == 200
        connection.close()


def test_own_certificate(tmp_path: Path) -> None:
    """A certificate that is there is taken; one that cannot be is one clear error."""
    with Registry(tls=True) as made:
        assert made._files is not None
        with Registry(tls=made._files) as registry:
            assert ask(registry, "GET", "/v2/").status == 200
            assert registry.cert_directory is None
    (tmp_path / "file").write_bytes(b"none")
    file = tmp_path / "file"
    for path in (file, tmp_path / "missing"):
        with pytest.raises(SystemCallError, match="load the certificate"):
            Registry(tls=TLSFiles(certificate=path, key=path, authority=path))
