"""Where alerts may be sent: everywhere but to addresses that only ever belong to the machine's own surroundings.

A receiver's host name is under somebody's control. Without this, a name that resolves to the cloud's metadata service would
make Serin ask it, with the daemon's own rights. Loopback and private addresses are allowed: receivers run in the cluster.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from analyzer.errors import TerminalError

Allowed = Callable[[str], bool]
"""Tells of a host's name whether alerts may go there."""


def everything(_host: str) -> bool:
    """Allow every host: what an operator does who says nothing."""
    return True


_METADATA: Final = tuple(
    ip_network(block)
    for block in (
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure's host services
        "192.0.0.192/32",  # Oracle Cloud
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google Cloud
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")


def forbidden(address: str) -> bool:
    """Whether an address is link-local, of a metadata service, or no host's at all.

    Raises
    ------
    ValueError
        It is no address.
    """
    return any(_is_forbidden(each) for each in _meanings(ip_address(address)))


def _is_forbidden(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or any(address in block for block in _METADATA)
    )


def _meanings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """List an address and the IPv4 addresses that it may be another spelling of."""
    found = [address]
    if isinstance(address, IPv6Address):
        found += [each for each in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if each]
        if address in _NAT64:
            found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return found


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses those that lead to a forbidden address.

    The connection is made to the very addresses that were checked: a name cannot change its meaning in between.
    """

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a host name.

        Raises
        ------
        TerminalError
            It has an address that no alert may be sent to.
        """
        results = await self._inner.resolve(host, port, family)
        for result in results:
            if forbidden(result["host"]):
                raise TerminalError(f"{host} resolves to {result['host']}, a link-local or metadata address: refused")
        return results

    async def close(self) -> None:
        """Close the resolver beneath."""
        await self._inner.close()
