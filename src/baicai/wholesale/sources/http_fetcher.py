"""Fetches untrusted URLs: only from public addresses, with limits on size, time and redirects."""

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
    """A URL is not fetched, or its response is rejected. The message is a short reason, by which pages are counted."""


@dataclass(frozen=True, slots=True)
class Response:
    """The response of a server."""

    url: str
    """Final URL, after redirects."""
    status: int
    headers: Mapping[str, str]
    """Headers with names in lower case; repeated headers are joined by commas."""
    content: bytes
    """Decompressed body."""


def networks(allowed_networks: Sequence[str]) -> list[Network]:
    """Parse the private networks that may be fetched from.

    Raises: ConfigError if one is invalid.
    """
    try:
        return [ipaddress.ip_network(network) for network in allowed_networks]
    except ValueError as error:
        raise ConfigError(f"allowed networks: {error}: write 10.1.0.0/16 or 127.0.0.1/32") from None


def is_public(address: Address) -> bool:
    """Return whether an address is on the public internet. An embedded IPv4 address decides for an IPv6 address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


class _Resolver(AbstractResolver):
    """A resolver that returns only permitted addresses, so that the checked address is the one connected to."""

    def __init__(self, allowed_networks: Sequence[Network]) -> None:
        self._allowed_networks = allowed_networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, (address, *_) in addresses:
            self.check(str(address))
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            results.append(
                ResolveResult(hostname=host, host=str(address), port=port, family=kind, proto=protocol, flags=flags)
            )
        return results

    def check(self, text: str) -> None:
        """Check that an address is public or in an allowed network. Raises: FetchError."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if not is_public(address) and not any(address in network for network in self._allowed_networks):
            raise FetchError("private address")

    async def close(self) -> None:
        """Do nothing; no resources are held."""


class Fetcher:
    """Fetches URLs one after another. Close it, or use it as an asynchronous context manager."""

    def __init__(self, allowed_networks: Sequence[str] = (), *, total_seconds: float = TOTAL_SECONDS) -> None:
        self._resolver = _Resolver(networks(allowed_networks))
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
        """Fetch a URL, following the redirects that `may_follow` permits.

        Raises: FetchError, also if the server does not answer, sends too much or takes too long.
        """
        for _ in range(MAX_HOPS + 1):
            self._check(url)
            try:
                async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                    target = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
                    if target is None:
                        content = await _content(response)
                        names = {name.lower() for name in response.headers}
                        joined = {name: ", ".join(response.headers.getall(name)) for name in names}
                        return Response(url, response.status, joined, content)
                    url = urljoin(url, target)
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
            return  # a host name: its addresses are checked when it is resolved
        self._resolver.check(str(literal))


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """Return the decompressed body of a response, within the limits."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate", ""):
        raise FetchError(f"packed as {encoding[:20]}")
    member = None if encoding in ("identity", "") else zlib.decompressobj(wbits=47 if "gzip" in encoding else 15)
    body, received = bytearray(), 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        received += len(chunk)
        if received > MAX_BYTES:
            raise FetchError("too large")
        if member is None:
            body += chunk
            continue
        try:
            while chunk and not member.eof:
                body += member.decompress(chunk, CHUNK_BYTES)
                if len(body) > MAX_UNPACKED_BYTES:
                    raise FetchError("too large when unpacked")
                chunk = member.unconsumed_tail
        except zlib.error:
            raise FetchError("cannot be unpacked") from None
    if member is not None and received and not member.eof:
        raise FetchError("cannot be unpacked")
    return bytes(body)
