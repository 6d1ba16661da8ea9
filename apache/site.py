"""What a user wants for one name: sockets, TLS, how many connections. Frozen and strict.

Knows nothing of the machine (target.py), of YAML (description.py) or of Apache's directives (render.py).
The words of each key's description are those of the JSON Schema that `./wsfront schema` prints.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .values import (
    AcmeDirectory,
    Address,
    AliasName,
    BackendAddress,
    Email,
    FilePath,
    HealthPath,
    LoopbackAddress,
    Network,
    Origin,
    Seconds,
    ServerName,
    UrlPath,
)


class Model(BaseModel):
    """Refuse unknown keys, wrong types and later changes."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Files(Model):
    """Name a certificate and its key that somebody else looks after."""

    certificate: FilePath = Field(description="PEM file: the certificate, then its intermediates.")
    key: FilePath = Field(description="PEM file: the private key, readable by root alone.")


class Acme(Model):
    """Say where certificates come from by ACME (mod_md)."""

    contact: Email = Field(description="Where the authority writes to when something is wrong.")
    directory: AcmeDirectory = Field(
        default="letsencrypt", description="A name that mod_md knows, or the URL of an ACME directory."
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="CA that signed the ACME server's own certificate, where it is a private one.",
    )


class Tls(Model):
    """Say how wss is terminated."""

    mode: Literal["local-ca", "files", "acme", "none"] = Field(
        default="local-ca",
        description="local-ca: our own authority; files: yours; acme: by mod_md; none: plain ws, for a front that ended TLS before.",
    )
    files: Files | None = Field(default=None, description="Only with mode: files.")
    acme: Acme | None = Field(default=None, description="Only with mode: acme.")
    profile: Literal["intermediate", "modern"] = Field(
        default="intermediate", description="Mozilla's guideline for TLS."
    )
    hsts: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None,
        description="Seconds a browser shall insist on TLS for this name (RFC 6797). Default: the guideline's two years with files and "
        "acme; none with local-ca, where it would bind a browser that does not trust the authority any more.",
    )

    @model_validator(mode="after")
    def _mode_has_its_own_keys(self) -> Self:
        for key in ("files", "acme"):
            if self.mode == key and getattr(self, key) is None:
                raise ValueError(f"mode: {key} needs the key {key} beside it")
            if self.mode != key and getattr(self, key) is not None:
                raise ValueError(f"the key {key} is read only with mode: {key}; the mode is {self.mode}")
        return self


def _one_or_many(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        wanted = 'host:port in quotes, as in "127.0.0.1:8888", unix:/path, or a list of them'
        raise ValueError(f"is {value!r}; must be {wanted}")  # noqa: TRY004 (pydantic takes a ValueError for a fault)
    return tuple(value)


class WebSocket(Model):
    """Describe one public path of WebSockets and the backend behind it."""

    path: UrlPath = Field(
        default="/ws/", description="Public path; everything below it is this socket's too."
    )
    backend: Annotated[
        tuple[BackendAddress, ...],
        Field(min_length=1, max_length=64),
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    ] = Field(
        default=("127.0.0.1:8888",),
        description="host:port or unix:/path; a list is balanced and health-checked. On another machine only with the key hop.",
    )
    health_path: HealthPath | None = Field(
        default="/healthz",
        description="Where a balanced backend answers 2xx or 3xx while well; null: a connection is enough. Unix sockets are not checked.",
    )
    backend_path: UrlPath | None = Field(
        default=None, description="Path at the backend; default: the same path."
    )
    tunnel: Literal["upgrade", "ws"] = Field(
        default="upgrade",
        description="upgrade: an http:// URL with upgrade=websocket; ws: a ws:// URL, mod_proxy_wstunnel's form, by mod_proxy_http.",
    )
    origins: Literal["same", "any"] | Annotated[tuple[Origin, ...], Field(min_length=1)] = Field(
        default="same",
        description="Pages that may open sockets: of the same host and port, any, or a list. No Origin passes same and any.",
    )
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1000, description="How many sockets at once."
    )
    connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How many of them one client's address may hold, an IPv6 network of 64 bits being one; beyond: 429. Default: no limit. "
        "Our own backend counts, each process by itself.",
    )
    full: Literal["backend", "apache"] = Field(
        default="backend",
        description="Who answers 503 beyond connections. backend: it counts them, as ours does exactly; apache: for one that does not, "
        "by each of Apache's children, so that some are refused early.",
    )
    idle_timeout: Seconds = Field(
        default=120,
        description="Seconds without a byte in either direction after which Apache closes the socket.",
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        target = self.backend_path
        if target and target != "/" and self.path.endswith("/") != target.endswith("/"):
            raise ValueError(
                f"path {self.path!r} and backend_path {target!r} must both end in / or neither, or the backend sees wrong slashes"
            )
        checked = "health_path" in self.model_fields_set and self.health_path and len(self.backend) > 1
        unix = next((text for text in self.backend if text.startswith("unix:")), None)
        if checked and unix:
            raise ValueError(
                f"health_path: Apache's checks take every unix socket for dead, {unix!r} too: leave it out (a member that refuses "
                "connections is passed over all the same), or name host:port"
            )
        if len(set(self.backend)) < len(self.backend):
            raise ValueError("backend names the same address twice")
        return self

    @property
    def backends(self) -> tuple[Address, ...]:
        """Return the backend's addresses, one or several."""
        return tuple(Address.parse(text) for text in self.backend)

    @property
    def target_path(self) -> str:
        """Return the path that the backend sees."""
        return self.backend_path or self.path

    @property
    def ping_interval(self) -> int:
        """Return after how many seconds the backend pings: well below the idle timeout, and 25 at most, since load balancers cut at 60."""
        return max(1, min(25, self.idle_timeout // 2))


class Pages(Model):
    """Say where the pages of this name come from."""

    proxy: BackendAddress | None = Field(
        default=None, description="A backend; on another machine only with the key hop."
    )
    root: FilePath | None = Field(default=None, description="A directory.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.proxy is None) == (self.root is None):
            raise ValueError("needs one of proxy and root: where the pages come from")
        return self


def _remote(source: tuple[WebSocket, ...] | Pages | None) -> list[Address]:
    if isinstance(source, tuple):
        named = [address for socket in source for address in socket.backends]
    else:
        named = [Address.parse(source.proxy)] if source and source.proxy else []
    return [address for address in named if address.is_remote]


class Hop(Model):
    """Say how the way to a backend on another machine is kept."""

    fronts: Annotated[tuple[Network, ...], Field(min_length=1)] = Field(
        description="Addresses or networks that the fronts connect from: they alone reach the backend, and are believed."
    )
    tls: bool = Field(
        default=True,
        description="true: by https and wss, certified by the local authority; false: plain, behind the firewall alone.",
    )


class Redis(Model):
    """Say where the Redis is that several backends share."""

    address: BackendAddress = Field(
        default="127.0.0.1:6380",
        description="An address and a port, or unix:/path; it speaks in the clear, so on this machine or in a private network.",
    )
    password_file: FilePath | None = Field(
        default="/etc/wsfront/redis.password",
        description="Where its password is on the backend's machine; null: it has none.",
    )

    @field_validator("address")
    @classmethod
    def _is_a_number(cls, text: str) -> str:
        """Refuse a name: the backend's sandbox lets it speak with one address, and systemd resolves none."""
        address = Address.parse(text)
        if not address.socket and not address.is_number:
            raise ValueError(f"{text!r} is a name: write its address, as in 127.0.0.1:6380")
        return text


class Bus(Model):
    """Say where what is said in rooms is kept, and how several backends have rooms in common."""

    redis: Redis | None = Field(default=None, description="In a Redis; null: in the backend's memory.")


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
