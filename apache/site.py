"""What a user wants for one name: sockets, TLS, how many connections. Frozen and strict.

Knows nothing of the machine (target.py), of YAML (description.py) or of Apache's directives (render.py).
The words of each key's description are those of the JSON Schema that `./wsfront schema` prints.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from .parts import Bus, Hop, Model, Pages, Tls, WebSocket
from .values import Address, AliasName, LoopbackAddress, Network, ServerName


def _remote(source: tuple[WebSocket, ...] | Pages | None) -> list[Address]:
    if isinstance(source, tuple):
        named = [address for socket in source for address in socket.backends]
    else:
        named = [Address.parse(source.proxy)] if source and source.proxy else []
    return [address for address in named if address.is_remote]


def _bus(value: object) -> object:
    if value == "memory":
        return {}
    if isinstance(value, str):
        why = f"{value!r} is no bus: write memory, or redis with its address, as in {{redis: {{}}}}"
        raise ValueError(why)  # noqa: TRY004 (pydantic takes a ValueError for a fault)
    return value


Workers = Literal["forked"] | Annotated[int, Field(ge=1, le=64)]


def _workers(value: object) -> object:
    if value == "forked" or (type(value) is int and 1 <= value <= 64):  # noqa: PLR2004  # as above; a bool is no number here
        return value
    raise ValueError(f"is {value!r}; must be a number of processes from 1 to 64, or forked")


class Site(Model):
    """Describe one name: what `wsfront.yaml` holds."""

    server_name: ServerName = Field(default="localhost", description="The name in the address people type.")
    server_aliases: tuple[AliasName, ...] = Field(
        default=(), description="More names for the same site; *.example.org is one label of any text."
    )
    tls: Tls = Field(default=Tls(), description="How wss is terminated.")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Networks of a CDN or load balancer in front; who the client is then comes from its X-Forwarded-For.",
    )
    hop: Hop | None = Field(
        default=None, description="Only, and always, with a backend that is on another machine."
    )
    bus: Annotated[Bus, BeforeValidator(_bus, json_schema_input_type=Literal["memory"] | Bus)] = Field(
        default=Bus(),
        description="What rooms are held together by, in our own backend: memory, or Redis, for several processes or machines.",
    )
    workers: Annotated[Workers, BeforeValidator(_workers, json_schema_input_type=Workers)] = Field(
        default=1,
        description="How many processes of our own backend serve all connections (more than one only with the bus in Redis), or forked: "
        "one for each connection.",
    )
    metrics: LoopbackAddress | None = Field(
        default=None,
        description="Where our own backend tells its metrics to a Prometheus on this machine, as in 127.0.0.1:9888; each of several "
        "workers has a port of its own, counted up from there. Default: nowhere.",
    )
    log: Literal["text", "json"] = Field(
        default="text", description="Our own backend's log: lines for people, or a JSON object a line."
    )
    websockets: Annotated[tuple[WebSocket, ...], Field(min_length=1)] = Field(
        default=(WebSocket(),), description="The sockets, by public path."
    )
    pages: Pages | None = Field(
        default_factory=lambda data: Pages(proxy=data["websockets"][0].backend[0]),
        description="Where the pages come from; default: the first socket's backend; null: this name serves sockets alone.",
    )

    @field_validator("websockets", "pages")
    @classmethod
    def _remote_needs_a_hop(cls, value: tuple[WebSocket, ...] | Pages | None, info: ValidationInfo) -> object:
        """Refuse a backend on another machine without a hop; `hop` stands before these fields, and is absent where it is faulty."""
        remote = next(iter(_remote(value)), None)
        if remote and "hop" in info.data and info.data["hop"] is None:
            raise ValueError(
                f"{str(remote)!r} is another machine, and the way there would be plain and open: say which addresses connect to it, "
                "as in `hop: {fronts: [10.0.0.1]}`, or use a loopback address or a unix socket"
            )
        return value

    @model_validator(mode="after")
    def _names_and_paths_are_distinct(self) -> Self:
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError("server_aliases repeats a name")
        paths = [socket.path.rstrip("/") for socket in self.websockets]
        if len(set(paths)) < len(paths):
            raise ValueError("websockets has the same path twice: one entry a path")
        for socket in self.websockets:
            counts = socket.full == "backend" and set(socket.backends) & set(self.own_backend)
            if socket.connections_per_address and not counts:
                raise ValueError(
                    f"connections_per_address is counted by our own backend, that of the first socket, and {socket.path} is not "
                    "counted there: leave it out, or give it that backend and full: backend"
                )
        if self.tls.mode == "acme" and any("*" in name for name in names):
            raise ValueError(
                "tls.mode: acme cannot certify a wildcard (it answers over HTTP): name each host, or use mode: files"
            )
        if self.tls.mode == "acme" and "." not in self.server_name:
            raise ValueError(f"tls.mode: acme needs a public name, not {self.server_name!r}")
        if self.workers not in (1, "forked") and self.bus.redis is None:
            raise ValueError(
                f"workers: {self.workers} processes share rooms by Redis alone: write bus: {{redis: {{}}}}, or workers: 1 or forked"
            )
        if self.hop is not None and not self.remote:
            raise ValueError(
                "hop is for backends on other machines, and all of these are on this one: leave it out"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Return all names of the site, the main one first."""
        return (self.server_name, *self.server_aliases)

    @property
    def remote(self) -> tuple[Address, ...]:
        """Return the backends that are on other machines, each once."""
        return tuple(dict.fromkeys((*_remote(self.websockets), *_remote(self.pages))))

    def relocated(self, addresses: Mapping[str, str]) -> "Site":
        """Return the same site with backends at other addresses: old -> new; others stay where they are."""
        data = self.model_dump(mode="json")
        for given, socket in zip(self.websockets, data["websockets"], strict=True):
            if "health_path" not in given.model_fields_set:
                del socket["health_path"]  # what is said for nobody is no fault with unix sockets
            moved = [addresses.get(address, address) for address in socket["backend"]]
            socket["backend"] = list(dict.fromkeys(moved))
        if data["pages"] and data["pages"]["proxy"]:
            data["pages"]["proxy"] = addresses.get(data["pages"]["proxy"], data["pages"]["proxy"])
        if all(str(address) in addresses for address in self.remote):
            data["hop"] = None
        return Site.model_validate_json(json.dumps(data))

    @property
    def own_backend(self) -> tuple[Address, ...]:
        """Return where our backend listens for this site: the first socket's backend. Others are somebody else's."""
        return self.websockets[0].backends
