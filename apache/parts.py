"""The parts of a description: TLS, sockets, pages, the way to another machine, the bus. Frozen and strict.

The words of each key's description are those of the JSON Schema that `./wsfront schema` prints.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from .values import (
    AcmeDirectory,
    Address,
    BackendAddress,
    Email,
    FilePath,
    HealthPath,
    Network,
    Origin,
    Seconds,
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
