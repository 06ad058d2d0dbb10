"""Keys, scopes, Host and Origin checks, slow clients and limits."""

import contextlib
import json
import resource
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
from starlette.routing import BaseRoute

from baicai.artefact import home_folder
from baicai.errors import BaicaiError, ConfigError
from baicai.leaves.model import SparseModel
from baicai.serving import app
from baicai.serving.api_keys import KeyRecipe, KeyRing, add_key, keys_file, read_keys, revoke_key
from baicai.serving.app import make_app
from baicai.serving.auth import PUBLIC_PATHS
from baicai.serving.config import ServeRecipe
from baicai.serving.openai.openapi import describe_api
from baicai.serving.served_model import ServedModel
from tests.serving.servers import ThreadEngine, serving, until
from tests.serving.test_errors import CHAT, check

LOCAL = ServeRecipe(model="tiny")


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path))
    return {
        "reader": add_key(KeyRecipe(name="reader")),
        "owner": add_key(KeyRecipe(name="owner", scope="admin")),
    }


@pytest.fixture
def guarded(keys: dict[str, str], served: ServedModel) -> Iterator[str]:
    with serving(LOCAL, [served]) as address:
        yield address


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def paths(routes: list[BaseRoute]) -> list[str]:
    route_paths = [getattr(route, "path", "") for route in routes]
    assert all(route_paths), "a route without a path"
    return route_paths


def test_every_route_but_the_public_ones_needs_a_key(guarded: str, served: ServedModel, keys: dict[str, str]) -> None:
    all_paths = paths(make_app(LOCAL, [served]).routes)
    assert len(all_paths) > 4
    strangers = (
        {},
        bearer("bk-moss"),
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {keys['owner']}"},
        bearer("\u00ff"),
    )
    client = httpx.Client()
    for path in [*all_paths, "/moss", "/docs", "/redoc", "/openapi.json", "/health/", "//health", "/HEALTH"]:
        for method in ("GET", "POST", "OPTIONS"):
            for headers in strangers[:1] if method != "POST" else strangers:
                sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
                response = httpx.request(method, guarded + path.replace("{name:path}", "tiny"), headers=sent)
                if path in PUBLIC_PATHS:
                    assert response.status_code in (200, 405)
                else:
                    assert response.status_code == 401, path
                    assert "WWW-Authenticate" in response.headers
    client.close()


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_public_docs_are_identical_for_all_servers_and_built_once(
    guarded: str, served: ServedModel, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    monkeypatch.setattr(app, "describe_api", lambda served: built.append(served) or describe_api(served))
    with serving(replace(LOCAL, model="moss", catalog_url="sqlite:///moss"), []) as other:
        response = [httpx.get(address + path).raise_for_status().text for address in (guarded, other, guarded, other)]
    assert len(set(response)) == 1
    assert len(built) == 2


def test_a_key_grants_access(guarded: str, keys: dict[str, str], engine: ThreadEngine) -> None:
    with openai.OpenAI(base_url=f"{guarded}/v1", api_key=keys["reader"], max_retries=0) as client:
        client.chat.completions.create(**CHAT)
        assert engine.requests[-1].client == "reader"
    with (
        openai.OpenAI(base_url=f"{guarded}/v1", api_key="bk-moss", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key"),
    ):
        stranger.models.list()


def test_some_routes_need_the_admin_scope(guarded: str, keys: dict[str, str]) -> None:
    requests = [("GET", "/metrics", 200), ("DELETE", "/v1/models/moss", 404)]
    requests += [("POST", "/v1/models", 400)]
    requests += [("GET", "/v1/runs", 200), ("GET", "/v1/catalog", 200)]
    for method, path, status in requests:
        response = httpx.request(method, guarded + path, headers=bearer(keys["reader"]))
        check(response, None, "insufficient_scope", 403)
        assert httpx.request(method, guarded + path, headers=bearer(keys["owner"])).status_code == status


def test_a_revoked_key_is_rejected_at_once(guarded: str, keys: dict[str, str]) -> None:
    def status() -> int:
        return httpx.get(f"{guarded}/v1/models", headers=bearer(keys["reader"])).status_code

    assert status() == 200
    revoke_key("reader")
    assert status() == 401
    revoke_key("owner")
    assert status() == 401, "revoking the last key must not open the server"
    again = add_key(KeyRecipe(name="reader"))
    assert httpx.get(f"{guarded}/v1/models", headers=bearer(again)).status_code == 200


def test_a_damaged_key_file_grants_nothing(guarded: str, keys: dict[str, str]) -> None:
    for content in ("{", '{"reader": {}}', '{"reader": {"sha256": "", "scope": "all", "created": ""}}'):
        keys_file().write_text(content)
        response = httpx.get(f"{guarded}/v1/models", headers=bearer(keys["reader"]))
        check(response, None, "keys_damaged", 500)
        assert str(home_folder()) not in response.text
        with pytest.raises(BaicaiError):
            KeyRing()


def test_keys_are_stored_as_hashes_in_a_private_file(keys: dict[str, str]) -> None:
    assert stat.S_IMODE(keys_file().stat().st_mode) == 0o600
    assert keys_file().parent == home_folder()
    content = keys_file().read_text()
    assert not any(secret in content for secret in keys.values())
    assert set(json.loads(content)) == {"reader", "owner"}
    assert len(keys["reader"]) > 43
    assert {name: key.scope for name, key in read_keys().items()} == {"reader": "infer", "owner": "admin"}
    with pytest.raises(ConfigError, match="'reader' already has a key: revoke it first"):
        add_key(KeyRecipe(name="reader"))
    with pytest.raises(ConfigError, match="'moss' has no key: keys exist for owner, reader"):
        revoke_key("moss")
    with pytest.raises(ConfigError, match="printable"):
        add_key(KeyRecipe(name="a\nb"))


def test_a_reachable_server_needs_keys(served: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path))
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        with pytest.raises(
            ConfigError, match=r"is reachable from other machines: create a key with `baicai keys add NAME`"
        ):
            make_app(ServeRecipe(model="tiny", host=host), [served])
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        make_app(ServeRecipe(model="tiny", host=host), [served])
    add_key(KeyRecipe(name="reader"))
    make_app(ServeRecipe(model="tiny", host="0.0.0.0"), [served])


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "host_not_allowed"),
        ({"Host": "evil.example:80"}, "host_not_allowed"),
        ({"Host": "localhost.evil.example"}, "host_not_allowed"),
        ({"Host": "127.0.0.1.nip.io"}, "host_not_allowed"),
        ({"Host": ""}, "host_not_allowed"),
        ({"Host": "localhost@evil.example"}, "host_not_allowed"),
        ({"Host": "localhost:8000:80"}, "host_not_allowed"),
        ({"Host": "::1"}, "host_not_allowed"),
        ({"Origin": "http://evil.example"}, "origin_not_allowed"),
        ({"Origin": "null"}, "origin_not_allowed"),
        ({"Origin": "http://["}, "origin_not_allowed"),
        ({"Host": "localhost", "Origin": "http://localhost:3000"}, "origin_not_allowed"),
        ({"Host": "localhost"}, None),
        ({"Host": "LOCALHOST:99"}, None),
        ({"Host": "127.0.0.1:99"}, None),
        ({"Host": "[::1]:99"}, None),
        ({"Host": "[::1]"}, None),
        ({"Host": "localhost:3000", "Origin": "http://localhost:3000"}, None),
    ],
)
def test_foreign_hosts_and_origins_are_rejected(web: httpx.Client, headers: dict[str, str], code: str | None) -> None:
    for response in (web.get("/v1/models", headers=headers), web.get("/health", headers=headers)):
        if code is None:
            assert response.status_code == 200
        else:
            check(response, None, code, 403)


def test_more_host_names_can_be_allowed(served: ServedModel) -> None:
    with serving(ServeRecipe(model="tiny", allowed_hosts=("Models.example",)), [served]) as address:
        for host, status in (("models.example:443", 200), ("localhost", 200), ("other.example", 403)):
            assert httpx.get(f"{address}/v1/models", headers={"Host": host}).status_code == status


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


@pytest.fixture
def impatient(served: ServedModel) -> Iterator[str]:
    with serving(ServeRecipe(model="tiny", timeout_seconds=0.4), [served]) as address:
        yield address


def closed(stream: socket.socket) -> bool:
    try:
        while stream.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_slow_headers_time_out(impatient: str, before: bytes) -> None:
    with connect(impatient) as stream:
        stream.sendall(before)
        if before:
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        try:
            for byte in b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100:
                stream.sendall(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        assert closed(stream)
        assert time.monotonic() - began < 2.5


def test_a_slow_body_times_out(impatient: str) -> None:
    with connect(impatient) as stream:
        stream.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        assert stream.recv(1 << 16).startswith(b"HTTP/1.1 408")


def ask_without_listening(stream: socket.socket, seconds: float) -> None:
    ask, end = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000, time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            stream.sendall(ask)


def test_excess_connections_are_closed(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (8, 8))
    with serving(ServeRecipe(model="tiny"), [served]) as address, contextlib.ExitStack() as opened:
        streams = [opened.enter_context(connect(address)) for _ in range(5)]
        assert closed(streams.pop())
        for stream in streams:
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_client_that_stops_reading_is_disconnected(impatient: str) -> None:
    with connect(impatient) as stream:
        stream.settimeout(0.2)
        with pytest.raises(ConnectionError):
            ask_without_listening(stream, 10)
    assert httpx.get(f"{impatient}/v1/models").status_code == 200


def test_a_full_queue_asks_to_retry_later(sparse: SparseModel, served: ServedModel) -> None:
    engine = ThreadEngine(sparse, max_sequences=1, max_waiting=2)
    engine.step_seconds = 0.02
    try:
        with serving(LOCAL, [replace(served, engine=engine)]) as address:
            response = httpx.post(f"{address}/v1/chat/completions", json=CHAT | {"n": 8, "max_tokens": 30})
            check(response, None, "rate_limit_exceeded", 429)
            assert response.headers["Retry-After"] == "1"
            assert response.json()["error"]["type"] == "rate_limit_error"
            until(lambda: not engine.core.has_work)
            assert httpx.post(f"{address}/v1/chat/completions", json=CHAT).status_code == 200
    finally:
        engine.close()
