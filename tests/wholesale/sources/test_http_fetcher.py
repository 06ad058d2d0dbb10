"""Tests of fetching from untrusted servers."""

import asyncio
import gzip
import ipaddress
import socket
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from baicai.errors import ConfigError
from baicai.wholesale.sources import http_fetcher
from baicai.wholesale.sources.http_fetcher import Fetcher, FetchError, Response, is_public, networks

LOCAL = ("127.0.0.1/32",)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def fetch(handler: Handler, path: str = "/", allowed: tuple[str, ...] = LOCAL, **changes: Any) -> Response:
    """Start a server on loopback and fetch from it."""

    async def act() -> Response:
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with Fetcher(allowed, **changes) as fetcher:
                return await fetcher.fetch(f"http://127.0.0.1:{port}{path}")
        finally:
            await runner.cleanup()

    return asyncio.run(act())


def rejection(url: str, allowed: tuple[str, ...] = ()) -> str:
    async def act() -> None:
        async with Fetcher(allowed) as fetcher:
            await fetcher.fetch(url)

    with pytest.raises(FetchError) as error:
        asyncio.run(act())
    return str(error.value)


async def page(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"hello", headers={"X-Robots-Tag": "noai", "ETag": '"1"'})


def test_page_is_fetched() -> None:
    response = fetch(page)
    assert (response.status, response.content, response.headers["x-robots-tag"]) == (200, b"hello", "noai")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1.2.3/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://172.16.5.5/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fc00::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://localhost/",
    ],
)
def test_private_addresses_are_rejected(url: str) -> None:
    assert rejection(url) == "private address"


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/"])
def test_obfuscated_private_addresses_are_rejected(url: str) -> None:
    assert rejection(url) in ("private address", "malformed address")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "//a.example", "a.example", ""]
)
def test_other_schemes_are_rejected(url: str) -> None:
    assert rejection(url) == "no web address"


@pytest.mark.parametrize(
    "url", ["http://", "http://user:word@a.example/", "http://[::1", "http://a.example:x/", "http://a b/"]
)
def test_malformed_urls_are_rejected(url: str) -> None:
    assert rejection(url) == "malformed address"


@pytest.mark.parametrize("target", ["http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/"])
def test_each_redirect_is_checked(target: str) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target})

    with pytest.raises(FetchError, match="private address"):
        fetch(redirect)


def test_redirect_to_a_file_is_rejected() -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

    with pytest.raises(FetchError, match="no web address"):
        fetch(redirect)


def test_number_of_redirects_is_limited() -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        remaining = int(request.match_info["path"])
        return (
            web.Response(status=301, headers={"Location": f"/{remaining - 1}"})
            if remaining
            else web.Response(body=b"there")
        )

    assert fetch(redirect, "/5").content == b"there"
    with pytest.raises(FetchError, match="too many redirects"):
        fetch(redirect, "/6")


def test_checked_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("93.184.216.34", "127.0.0.1"), ("127.0.0.1",)]

    async def rebinding(self: Any, host: str, port: int, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", rebinding)
    assert rejection("http://rebinding.example/") == "private address"
    assert len(answers) == 1, "the name is resolved once"


def test_too_large_response_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_fetcher, "MAX_BYTES", 10_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 5000)

    with pytest.raises(FetchError, match="too large"):
        fetch(endless)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_decompression_bombs_are_rejected(encoding: str) -> None:
    zeros = b"\0" * (http_fetcher.MAX_UNPACKED_BYTES + 1)
    body = gzip.compress(zeros) if encoding == "gzip" else zlib.compress(zeros)

    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    with pytest.raises(FetchError, match="too large when unpacked"):
        fetch(bomb)


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("gzip", b"not packed", "cannot be unpacked"),
        ("gzip", gzip.compress(b"x" * 1000)[:-9], "cannot be unpacked"),
        ("br", b"x", "packed as br"),
    ],
)
def test_undecodable_responses_are_rejected(encoding: str, body: bytes, reason: str) -> None:
    async def response(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    with pytest.raises(FetchError, match=reason):
        fetch(response)


def test_compressed_pages_are_decompressed() -> None:
    async def response(request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"hello" * 9), headers={"Content-Encoding": "gzip"})

    assert fetch(response).content == b"hello" * 9


def test_slow_servers_time_out() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.1)
        return response

    with pytest.raises(FetchError, match="too slow"):
        fetch(slow, total_seconds=0.5)


def test_missing_server_is_reported() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert rejection(f"http://127.0.0.1:{port}/", LOCAL).startswith("no answer (")


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_recognized(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_invalid_network_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"allowed networks: .*: write"):
        networks(["intranet"])
