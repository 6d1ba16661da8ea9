"""Caddy as its documentation proxies, by HTTP/1.1 and HTTP/2, without tickets."""

import subprocess

from .base import Program


class STACK(Program):
    """Run Caddy in the foreground."""

    name = "caddy"
    rank = 5
    title = "Caddy"
    package = "caddy"
    program = "caddy"
    version_arguments = ("version",)
    templates = {"caddy.json": "caddy.json.j2"}  # noqa: RUF012 (read, never written)

    def command(self) -> list[str]:
        """Return Caddy's arguments."""
        return ["run", "--config", str(self.place.directory / "caddy.json")]

    def reload(self) -> None:
        """Have it load its file again; by force, for the file has not changed."""
        directory = self.place.directory
        subprocess.run(
            [
                *(str(self.binary()), "reload", "--force", "--config", str(directory / "caddy.json")),
                *("--address", f"unix/{directory}/admin.sock"),
            ],
            capture_output=True,
            check=False,
            timeout=20,
        )
