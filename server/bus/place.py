"""Where Redis is, and how it is connected to.

Knows nothing of what is kept there.
"""

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CONNECT = 2.0  # seconds


@dataclass(frozen=True)
class Place:
    """Where Redis is: host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    def connect(self, name: str, patience: float) -> Any:
        """Make a client that fails at once: who uses it tries again. The library's types fit no one version of its protocol."""
        where: dict[str, Any] = (
            {"unix_socket_path": self.path} if self.path else {"host": self.host, "port": self.port}
        )
        return Redis(
            **where,
            password=self.password,
            socket_timeout=patience,
            socket_connect_timeout=CONNECT,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            protocol=2,
        )
