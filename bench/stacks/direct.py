"""No proxy at all: plain ws straight to the backend, the floor under every figure."""

import platform

from .base import Stack


class STACK(Stack):
    """Put nothing in between."""

    name = "direct"
    rank = 0
    title = "direct, plain ws"
    tls = False
    files_each = 1

    @classmethod
    def version(cls) -> str:
        """Return what carries the bytes: the kernel."""
        return f"Linux {platform.release()}"

    def start(self) -> None:
        """Start nothing."""

    def stop(self) -> None:
        """Stop nothing."""

    def reload(self) -> None:
        """Reload nothing."""

    @property
    def session(self) -> int | None:
        """Return none: there is no process."""
        return None

    @property
    def port(self) -> int:
        """Return the backend's own port."""
        return self.place.backend_port
