"""What a playbook is told beside the files."""

import pytest

from apache.deployment import deployment
from apache.site import Site
from apache.target import Target

FORWARDED = Target(public_https_port=8443, public_http_port=8080)


def test_forwarded_ports_are_those_of_addresses_and_redirects() -> None:
    """Where ports are forwarded, addresses and redirects name what clients see; Apache and the trial keep its own."""
    made = deployment([Site(server_name="localhost")], FORWARDED)
    vhost = made["files"]["etc/apache2/sites-available/wsfront-localhost.conf"]
    assert "https://%{SERVER_NAME}:8443%1" in vhost
    assert "<VirtualHost *:443>" in vhost
    [site] = made["sites"]
    assert (site["url"], site["port"]) == ("https://localhost:8443/", 443)
    # The trial sends no port in Host, and `same` compares the two.
    assert [(socket["url"], socket["origin"]) for socket in site["sockets"]] == [
        ("wss://localhost:8443/ws/", "https://localhost")
    ]


@pytest.mark.parametrize(
    ("target", "url"), [(FORWARDED, "http://localhost:8080/"), (Target(), "http://localhost/")]
)
def test_forwarded_port_without_tls(target: Target, url: str) -> None:
    """Without TLS the address has the forwarded port for plain HTTP."""
    site = Site.model_validate({"server_name": "localhost", "tls": {"mode": "none"}})
    assert deployment([site], target)["sites"][0]["url"] == url
