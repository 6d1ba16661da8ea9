"""What a playbook is told beside the files."""

import json

import pytest

from apache.deployment import deployment
from apache.parts import Hop
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


HOP = {"fronts": ["10.0.0.1"]}
FAR = Site.model_validate_json(
    json.dumps(
        {
            "server_name": "chat.example.org",
            "hop": HOP,
            "websockets": [{"backend": ["10.0.0.2:8888", "10.0.0.3:8888"]}],
        }
    )
)


def test_backend_on_another_machine() -> None:
    """Each of the backend's machines gets its own address, certificate and firewall; one that is none of them gets none."""
    for addresses, host in (("10.0.0.2", "10.0.0.2"), ("10.0.0.3", "10.0.0.3")):
        made = deployment([FAR], Target(addresses=(addresses, "any.example.org")))
        assert made["backend"] == {
            "named": ["10.0.0.2:8888", "10.0.0.3:8888"],
            "listen": [f"{host}:8888"],
            "fronts": ["10.0.0.1/32"],
            "tls": True,
        }
        (own,) = (one for one in made["certificates"] if one["for"] == "backend")
        assert own == {
            "site": f"_backend_{host}",
            "names": [host],
            "for": "backend",
            "group": "wsfront",
            "mode": "0640",
        }
        assert "etc/wsfront/firewall.nft" in made["files"]
        assert f"/certs/sites/_backend_{host}/key.pem" in made["files"]["etc/wsfront/backend.env"]
    made = deployment([FAR], Target(addresses=("10.0.0.1",)))
    assert made["backend"]["listen"] == []
    assert [one["for"] for one in made["certificates"]] == ["front"]
    assert not [name for name in made["files"] if "firewall" in name or "wsfront-backend" in name]


def test_plain_hop_needs_no_certificate() -> None:
    """With `tls: false` the firewall is all there is between."""
    site = FAR.model_copy(update={"hop": Hop(fronts=("10.0.0.1/32",), tls=False)})
    made = deployment([site], Target())
    assert [one["for"] for one in made["certificates"]] == ["front"]
    assert "TLS" not in made["files"]["etc/wsfront/backend.env"]
    assert "etc/wsfront/firewall.nft" in made["files"]


@pytest.mark.parametrize("mode", ["local-ca", "none"])
@pytest.mark.parametrize("tls", [True, False])
def test_authority(mode: str, *, tls: bool) -> None:
    """A front knows the local authority for its own certificate, or for those of backends alone."""
    own = Site.model_validate({"tls": {"mode": mode}})
    assert deployment([own], Target())["authority"] == (mode == "local-ca")
    site = FAR.model_copy(update={"tls": own.tls, "hop": Hop(fronts=("10.0.0.1/32",), tls=tls)})
    front = deployment([site], Target(addresses=("10.0.0.1",)))
    assert front["authority"] == (tls or mode == "local-ca")
    assert ("ssl" in front["modules"]) == (tls or mode == "local-ca")
