"""Who may connect to our backend from other machines: what the templates of nftables' own table see.

Source: nft(8). Knows nothing of other rules on the machine: the table is ours alone and decides on the backend's ports alone.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

from .hop import BackEnd
from .quoting import Quoted, join, literal
from .values import Address

FILES = {
    "etc/wsfront/firewall.nft": "firewall.nft.j2",
    "etc/systemd/system/wsfront-firewall.service": "firewall.service.j2",
    "etc/systemd/system/nftables.service.d/wsfront.conf": "nftables.service.j2",
}
"""Where the files go that a hop needs, and their templates."""

FAMILIES = {4: "ip", 6: "ip6"}
"""IP's version -> what nft calls it."""


def view(hop: BackEnd) -> SimpleNamespace:
    """Return what is refused at each address of the backend, as matches that end in a rejection."""
    return SimpleNamespace(rules=[rule for address in hop.addresses for rule in _rules(address, hop.fronts)])


def _rules(address: Address, fronts: Sequence[str]) -> list[Quoted]:
    port = Quoted(f"tcp dport {address.port}")
    try:
        number = ipaddress.ip_address(address.host)
    except ValueError:
        # Which address a name stands for is not known here, so its port is kept on all of them.
        places = {version: Quoted(f"meta nfproto ipv{version}") for version in FAMILIES}
    else:
        places = {number.version: Quoted(f"{FAMILIES[number.version]} daddr {literal(str(number))}")}
    return [join(" ", [place, port, *_strangers(version, fronts)]) for version, place in places.items()]


def _strangers(version: int, fronts: Sequence[str]) -> list[Quoted]:
    """Return the match of sources that are no fronts; none where no front has such an address, so that all are strangers."""
    networks = [ipaddress.ip_network(text) for text in fronts]
    own = [network for network in networks if network.version == version]
    if not own:
        return []
    # Elements that overlap are an error to nft.
    apart: Iterable[object] = ipaddress.collapse_addresses(own)  # type: ignore[type-var]  # all are of one version
    listed = join(", ", [literal(str(network)) for network in apart])
    return [Quoted(f"{FAMILIES[version]} saddr != {{ {listed} }}")]
