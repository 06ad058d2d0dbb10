"""Fetches from strangers: only public addresses, only so many bytes, only so long, only so many hops."""

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from baicai.errors import ConfigError
from baicai.wholesale.sources.robots import AGENT

MAX_BYTES, MAX_UNPACKED_BYTES = 16 * 2**20, 64 * 2**20
MAX_HOPS = 5
TOTAL_SECONDS, CONNECT_SECONDS, SILENT_SECONDS = 60.0, 10.0, 20.0
CHUNK_BYTES = 2**16
NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class FetchError(Exception):
    """An address is not fetched, or what came is not kept: the message is the reason, a few words that are counted."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server said."""

    url: str
    """Where it was in the end, after redirects."""
    status: int
    headers: Mapping[str, str]
    """Names in small letters; several of one name joined by commas."""
    content: bytes
    """Unpacked."""


def networks(allowed: Sequence[str]) -> list[Network]:
    """Return the networks that may be fetched from though they are not public.

    Raises: ConfigError if one is no network.
    """
    try:
        return [ipaddress.ip_network(one) for one in allowed]
    except ValueError as error:
        raise ConfigError(f"allowed networks: {error}: write 10.1.0.0/16 or 127.0.0.1/32") from None


def is_public(address: Address) -> bool:
    """Return whether an address is on the open internet, also where it stands for an older one inside."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


class _Resolver(AbstractResolver):
    """Gives only addresses that may be dialled: what was checked is what is dialled."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, place in found:
            self.check(str(place[0]))
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            results.append(
                ResolveResult(hostname=host, host=str(place[0]), port=port, family=kind, proto=protocol, flags=flags)
            )
        return results

    def check(self, text: str) -> None:
        """Refuse an address that is not public and not allowed. Raises: RefusedError."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if not is_public(address) and not any(address in network for network in self._allowed):
            raise FetchError("private address")

    async def close(self) -> None:
        """Nothing is held."""


class Fetcher:
    """Fetches one address after another; close it, or use it as an asynchronous context."""

    def __init__(self, allowed: Sequence[str] = (), *, total_seconds: float = TOTAL_SECONDS) -> None:
        self._resolver = _Resolver(networks(allowed))
        timeout = aiohttp.ClientTimeout(total_seconds, connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False),
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"{AGENT}/1", "Accept-Encoding": "gzip, deflate"},
            trust_env=False,
        )

    async def __aenter__(self) -> "Fetcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def fetch(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        may_follow: Callable[[str], bool] = lambda url: True,
    ) -> Response:
        """Return what is at an address, redirects followed if they may be.

        Raises: RefusedError, also if the server does not answer, says too much or takes too long.
        """
        for _ in range(MAX_HOPS + 1):
            self._check(url)
            try:
                async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
                    moved = answer.headers.get("Location") if answer.status in (301, 302, 303, 307, 308) else None
                    if moved is None:
                        content = await _content(answer)
                        names = {name.lower() for name in answer.headers}
                        told = {name: ", ".join(answer.headers.getall(name)) for name in names}
                        return Response(url, answer.status, told, content)
                    url = urljoin(url, moved)
                    if not may_follow(url):
                        raise FetchError("moved to where it may not be followed")
            except FetchError:
                raise
            except TimeoutError:
                raise FetchError("too slow") from None
            except aiohttp.InvalidURL:
                raise FetchError("malformed address") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                cause = error.__cause__ or error.__context__
                if isinstance(cause, FetchError):
                    raise cause from None
                raise FetchError(f"no answer ({type(error).__name__})") from None
        raise FetchError("too many redirects")

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise FetchError("malformed address") from None
        if parts.scheme not in ("http", "https"):
            raise FetchError("no web address")
        if not host or parts.username is not None or any(character.isspace() for character in url):
            raise FetchError("malformed address")
        try:
            literal = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return  # a name: what it stands for is checked when it is dialled
        self._resolver.check(str(literal))


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    """Return an answer's content, unpacked, as far as that is not too much."""
    packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip", "x-gzip", "deflate", ""):
        raise FetchError(f"packed as {packing[:20]}")
    member = None if packing in ("identity", "") else zlib.decompressobj(wbits=47 if "gzip" in packing else 15)
    kept, received = bytearray(), 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        received += len(chunk)
        if received > MAX_BYTES:
            raise FetchError("too large")
        if member is None:
            kept += chunk
            continue
        try:
            while chunk and not member.eof:
                kept += member.decompress(chunk, CHUNK_BYTES)
                if len(kept) > MAX_UNPACKED_BYTES:
                    raise FetchError("too large when unpacked")
                chunk = member.unconsumed_tail
        except zlib.error:
            raise FetchError("cannot be unpacked") from None
    if member is not None and received and not member.eof:
        raise FetchError("cannot be unpacked")
    return bytes(kept)
