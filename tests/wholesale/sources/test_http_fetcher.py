"""Servers that are not to be trusted."""

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


def refuse(url: str, allowed: tuple[str, ...] = ()) -> str:
    async def act() -> None:
        async with Fetcher(allowed) as fetcher:
            await fetcher.fetch(url)

    with pytest.raises(FetchError) as found:
        asyncio.run(act())
    return str(found.value)


async def page(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"hello", headers={"X-Robots-Tag": "noai", "ETag": '"1"'})


def test_a_page_is_fetched() -> None:
    answer = fetch(page)
    assert (answer.status, answer.content, answer.headers["x-robots-tag"]) == (200, b"hello", "noai")


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
def test_private_addresses_are_refused(url: str) -> None:
    assert refuse(url) == "private address"


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/"])
def test_odd_ways_to_write_them_are_refused(url: str) -> None:
    assert refuse(url) in ("private address", "malformed address")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "//a.example", "a.example", ""]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    assert refuse(url) == "no web address"


@pytest.mark.parametrize(
    "url", ["http://", "http://user:word@a.example/", "http://[::1", "http://a.example:x/", "http://a b/"]
)
def test_malformed_addresses_are_refused(url: str) -> None:
    assert refuse(url) == "malformed address"


@pytest.mark.parametrize("target", ["http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/"])
def test_each_hop_of_a_redirect_is_checked(target: str) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target})

    with pytest.raises(FetchError, match="private address"):
        fetch(redirect)


def test_a_redirect_to_a_file_is_refused() -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

    with pytest.raises(FetchError, match="no web address"):
        fetch(redirect)


def test_redirects_are_followed_for_a_while() -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        left = int(request.match_info["path"])
        return web.Response(status=301, headers={"Location": f"/{left - 1}"}) if left else web.Response(body=b"there")

    assert fetch(redirect, "/5").content == b"there"
    with pytest.raises(FetchError, match="too many redirects"):
        fetch(redirect, "/6")


def test_the_address_that_was_checked_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("93.184.216.34", "127.0.0.1"), ("127.0.0.1",)]

    async def rebinding(self: Any, host: str, port: int, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", rebinding)
    assert refuse("http://rebinding.example/") == "private address"
    assert len(answers) == 1, "a name is looked up once"


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_fetcher, "MAX_BYTES", 10_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 5000)

    with pytest.raises(FetchError, match="too large"):
        fetch(endless)


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_bombs_are_refused(packing: str) -> None:
    zeros = b"\0" * (http_fetcher.MAX_UNPACKED_BYTES + 1)
    body = gzip.compress(zeros) if packing == "gzip" else zlib.compress(zeros)

    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Encoding": packing})

    with pytest.raises(FetchError, match="too large when unpacked"):
        fetch(bomb)


@pytest.mark.parametrize(
    ("packing", "body", "reason"),
    [
        ("gzip", b"not packed", "cannot be unpacked"),
        ("gzip", gzip.compress(b"x" * 1000)[:-9], "cannot be unpacked"),
        ("br", b"x", "packed as br"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(packing: str, body: bytes, reason: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Encoding": packing})

    with pytest.raises(FetchError, match=reason):
        fetch(answer)


def test_packed_pages_are_unpacked() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"hello" * 9), headers={"Content-Encoding": "gzip"})

    assert fetch(answer).content == b"hello" * 9


def test_slow_servers_are_left() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(100):
            await answer.write(b"x")
            await asyncio.sleep(0.1)
        return answer

    with pytest.raises(FetchError, match="too slow"):
        fetch(slow, total_seconds=0.5)


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert refuse(f"http://127.0.0.1:{port}/", LOCAL).startswith("no answer (")


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_network_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match=r"allowed networks: .*: write"):
        networks(["intranet"])
