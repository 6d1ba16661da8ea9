"""HAProxy with Debian's defaults, a thread for each core, and connections enough."""

import signal

from .base import Program


class STACK(Program):
    """Run HAProxy's master in the foreground, with its worker."""

    name = "haproxy"
    rank = 4
    title = "HAProxy"
    package = "haproxy"
    program = "haproxy"
    version_arguments = ("-v",)
    templates = {"haproxy.cfg": "haproxy.cfg.j2"}  # noqa: RUF012 (read, never written)
    reload_signal = signal.SIGUSR2

    def start(self) -> None:
        """Put certificate and key into one file, as HAProxy wants them, and start."""
        place = self.place
        bundle = place.directory / "site.pem"
        bundle.touch(mode=0o600)
        bundle.write_text(place.certificate.read_text() + place.key.read_text())
        super().start()

    def command(self) -> list[str]:
        """Return HAProxy's arguments."""
        return ["-W", "-db", "-f", str(self.place.directory / "haproxy.cfg")]
