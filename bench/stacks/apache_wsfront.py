"""Apache as wsfront renders it: the private layout, the plan and the templates that `./wsfront up` uses."""

from apache import httpd
from apache.errors import ApacheError
from apache.render import render
from apache.site import Site
from bench.errors import BenchFault, MissingFault

from .base import IDLE_SECONDS, Place, Stack


class STACK(Stack):
    """Run a private Apache from a description."""

    name = "wsfront"
    rank = 1
    title = "Apache by wsfront"
    package = "apache2-bin"
    files_each = 0.1  # a child holds 250 sockets at most
    threads_each = 1.2

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._httpd = httpd.Httpd(place.directory)

    @classmethod
    def version(cls) -> str:
        """Return Apache's version, with that of the OpenSSL it runs with."""
        try:
            target = httpd.probe("private")
        except ApacheError as error:
            raise MissingFault(str(error)) from None
        return f"{target.apache}, OpenSSL {target.openssl}, mpm_{target.mpm}"

    def start(self) -> None:
        """Render for this machine, and start."""
        place = self.place
        site = Site.model_validate_json(_description(place))
        try:
            # Its port for plain HTTP is one that the kernel gives: nobody connects there.
            target = httpd.probe(
                "private", directory=place.directory, https_port=place.port, http_port=httpd.free_ports(1)[0]
            )
            self._httpd.write(render([site], target))
            self._httpd.start()
        except ApacheError as error:
            raise BenchFault(f"{self.title}: {error}") from None

    def stop(self) -> None:
        """Stop it and its children."""
        self._httpd.stop()

    def reload(self) -> None:
        """Reload gracefully."""
        self._httpd.reload()

    @property
    def session(self) -> int | None:
        """Return Apache's session: it is started as the leader of one."""
        return self._httpd.pid


def _description(place: Place) -> str:
    import json  # noqa: PLC0415 (here alone)

    return json.dumps(
        {
            "server_name": "localhost",
            "tls": {
                "mode": "files",
                "files": {"certificate": str(place.certificate), "key": str(place.key)},
                "hsts": 0,
            },
            "websockets": [
                {
                    "path": "/ws/",
                    "backend": f"127.0.0.1:{place.backend_port}",
                    "connections": place.connections,
                    "idle_timeout": IDLE_SECONDS,
                }
            ],
        }
    )
