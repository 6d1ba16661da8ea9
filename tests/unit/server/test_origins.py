"""Which origins pass: the one table that the vhost, the rules to copy and the backend share."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from server.origins import Policy, parse_origin, passes
from server.settings import Socket
from tests.unit.server.harness import Start, handshake

TABLE: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "origins.yaml").read_text(encoding="utf-8")
)


def policy_of(row: dict[str, Any]) -> Policy:
    """Read a row's policy."""
    policy = row["policy"]
    return frozenset(filter(None, map(parse_origin, policy))) if isinstance(policy, list) else policy


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_table(row: dict[str, Any]) -> None:
    """Each row of the table gets its verdict."""
    origins = [] if row["origin"] is None else [row["origin"]]
    verdict = passes(policy_of(row), tls=row["scheme"] == "https", hosts=[row["host"]], origins=origins)
    assert verdict is row["pass"]


async def test_table_over_the_wire(start: Start) -> None:
    """Each row gets the same verdict as an upgrade: 101 or 403."""
    for policy in {str(row["policy"]): policy_of(row) for row in TABLE}.values():
        here = await start(sockets=(Socket(origins=policy),))
        for row in (row for row in TABLE if policy_of(row) == policy):
            lines = [f"X-Forwarded-Proto: {row['scheme']}"]
            if row["origin"] is not None:
                lines.append(f"Origin: {row['origin']}")
            status = await here.status(handshake("/ws/echo", *lines, host=row["host"]))
            assert status == (101 if row["pass"] else 403), row


@pytest.mark.parametrize(
    ("hosts", "origins"),
    [
        ([], ["https://a.example"]),
        (["a.example", "a.example"], ["https://a.example"]),
        (["a.example"], ["https://a.example", "https://a.example"]),
        (["u@a.example"], ["https://a.example"]),
        (["a.example:"], ["https://a.example"]),
        (["a.example:0443"], ["https://a.example"]),
        (["bücher.example"], ["https://bücher.example"]),
        (["a.example"], ["https://a.example\n"]),
        (["\u212a.example"], ["https://k.example"]),
    ],
)
def test_what_no_row_can_say(hosts: list[str], origins: list[str]) -> None:
    """Missing, doubled and malformed Host and Origin headers are refused under `same`."""
    assert not passes("same", tls=True, hosts=hosts, origins=origins)
