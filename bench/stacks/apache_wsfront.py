"""Apache as wsfront renders it: the private layout, the plan and the templates that `./wsfront up` uses."""

from apache import httpd
from apache.render import render
from apache.site import Site

from .apache import Apache
from .base import IDLE_SECONDS, Place


class STACK(Apache):
    """Run a private Apache from a description."""

    name = "wsfront"
    rank = 1
    title = "Apache by wsfront"

    @classmethod
    def version(cls) -> str:
        """Return Apache's version, with that of the OpenSSL it runs with."""
        target = cls.probe()
        return f"{target.apache}, OpenSSL {target.openssl}, mpm_{target.mpm}"

    def files(self) -> dict[str, str]:
        """Render for this machine."""
        place = self.place
        # Its port for plain HTTP is one that the kernel gives: nobody connects there.
        target = httpd.probe(
            "private", directory=place.directory, https_port=place.port, http_port=httpd.free_ports(1)[0]
        )
        return render([Site.model_validate_json(_description(place))], target)


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
