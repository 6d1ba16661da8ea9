"""The way from a front to our backend on another machine: which addresses it has here, who may connect, and the certificate it shows.

Knows nothing of vhosts (views.py renders the front's end) nor of how a certificate is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import TargetError
from .site import Site
from .target import Target
from .values import Address


@dataclass(frozen=True)
class BackEnd:
    """Hold the backend's end of all hops on one machine.

    Attributes:
        addresses: where it listens for fronts on other machines; none: there is no hop.
        fronts: the networks that they connect from.
        tls: they speak https and wss, and verify the certificate.
        site: the folder of its certificate in the store.
        folder: that folder on the machine.
    """

    addresses: tuple[Address, ...]
    fronts: tuple[str, ...]
    tls: bool
    site: str
    folder: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names and addresses that its certificate carries."""
        return tuple(dict.fromkeys(address.host for address in self.addresses))

    @property
    def certificate(self) -> str:
        """Return where its certificate lies on the machine."""
        return f"{self.folder}/certificate.pem"

    @property
    def key(self) -> str:
        """Return where the key to it lies on the machine."""
        return f"{self.folder}/key.pem"


def is_by_tls(site: Site) -> bool:
    """Tell whether fronts speak TLS to the backends on other machines, of which there are some."""
    return site.hop is not None and site.hop.tls


def is_secured(site: Site, address: Address) -> bool:
    """Tell whether fronts speak TLS to an address."""
    return address.is_remote and is_by_tls(site)


def named(sites: Sequence[Site]) -> tuple[Address, ...]:
    """Return where our backend listens, on whatever machine."""
    return tuple(dict.fromkeys(address for site in sites for address in site.own_backend))


def listens(sites: Sequence[Site], target: Target) -> tuple[Address, ...]:
    """Return where our backend listens on a machine: all addresses named, less those that are known to be other machines'."""
    return tuple(
        address
        for address in named(sites)
        if not (address.is_remote and target.addresses) or address.host in target.addresses
    )


def back_end(sites: Sequence[Site], target: Target) -> BackEnd | None:
    """Return the backend's end of the hops; None where nobody on another machine connects.

    Raises:
        TargetError: two descriptions want it both plain and by TLS.
    """
    addresses = tuple(address for address in listens(sites, target) if address.is_remote)
    if not addresses:
        return None
    hops = [site.hop for site in sites if site.hop and set(site.own_backend) & set(addresses)]
    if len({hop.tls for hop in hops}) > 1:
        raise TargetError(
            f"hop.tls is true for one name and false for another, and both are served at {addresses[0]}: choose one"
        )
    # No host name begins with _, so the folder is never that of a site.
    site = f"_backend_{addresses[0].host}"
    return BackEnd(
        addresses=addresses,
        fronts=tuple(dict.fromkeys(network for hop in hops for network in hop.fronts)),
        tls=hops[0].tls,
        site=site,
        folder=f"{target.directory}/certs/sites/{site}",
    )
