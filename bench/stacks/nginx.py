"""nginx as its documentation proxies WebSockets, with connections enough."""

from .base import Program


class STACK(Program):
    """Run nginx in the foreground."""

    name = "nginx"
    rank = 3
    title = "nginx"
    package = "nginx"
    program = "nginx"
    version_arguments = ("-v",)
    templates = {"nginx.conf": "nginx.conf.j2"}  # noqa: RUF012 (read, never written)
    files_each = 1.5  # two for each socket, shared unevenly by a worker for each core

    def command(self) -> list[str]:
        """Return nginx's arguments; its log at start goes to our folder too, not to /var/log."""
        return ["-p", str(self.place.directory), "-e", "error.log", "-c", "nginx.conf"]
