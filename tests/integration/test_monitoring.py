"""What lies in monitoring/, tried on a real Prometheus: rules, the alerts' own tests, and every query of alerts and dashboard."""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from apache.httpd import free_ports
from tests.stacks import Running, held, running
from tests.waiting import SECOND, until

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
QUERIES = [rule["expr"] for rule in RULES] + [
    target["expr"].replace("$__rate_interval", "10s")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
COMPARISON = re.compile(r"\s(?:==|>)\s[0-9.]+$")
pytestmark = pytest.mark.needs("prometheus", "apache")


def promtool(*arguments: str) -> None:
    """Run promtool in the folder; what it says is the reason of a failure."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules() -> None:
    """Prometheus takes the configuration and the rules; each alert fires on what calls for it, and on nothing else."""
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts.test.yml")


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """Run a Prometheus that asks the backend every second; give its address."""
    (port,) = free_ports(1)
    settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    settings["global"]["scrape_interval"] = "1s"
    settings["rule_files"] = [str(MONITORING / "alerts.yml")]
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.path=data",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ask(address: str, query: str) -> list[Any]:
    """Return a query's samples; nothing while Prometheus is starting."""
    try:
        answer = requests.get(f"{address}/api/v1/query", params={"query": query}, timeout=5 * SECOND)
    except requests.ConnectionError:
        return []
    if answer.status_code == requests.codes.unavailable:
        return []
    assert answer.status_code == requests.codes.ok, f"{query}: {answer.text}"
    return list(answer.json()["data"]["result"])


async def something_of_everything(stack: Running) -> None:
    """Make each kind of event happen: a message, a return, a close, a drop, a refusal."""
    async with stack.websocket("/ws/chat") as one, stack.websocket("/ws/chat") as two:
        await one.send(json.dumps({"type": "resume", "epoch": "none", "offset": 0}))
        await one.send(json.dumps({"type": "usermsg", "name": "Ada", "message": "x"}))
        await two.recv()
        with contextlib.suppress(ConnectionClosed):
            for _ in range(150):
                await two.send("too much")
            while True:
                await two.recv()
    with contextlib.suppress(InvalidStatus):
        async with connect(f"ws://127.0.0.1:{stack.backend_port}/ws/none", proxy=None):
            pass


def test_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every query of the alerts and of the dashboard finds what it asks for, from a real backend behind a real Apache."""
    (target,) = free_ports(1)
    monkeypatch.setenv("WSFRONT_METRICS", f"127.0.0.1:{target}")
    with held(target), running() as stack, prometheus(tmp_path, target) as address:
        until(lambda: bool(ask(address, 'up{job="wsfront"} == 1')), 30)
        left = {COMPARISON.sub("", query) for query in QUERIES}
        # Counters by label begin with what is counted first: only from there on they rise.
        left = {re.sub(r'\{(?:status="503"|code="1013")\}', "", query) for query in left}

        def has_all() -> bool:
            asyncio.run(something_of_everything(stack))
            left.difference_update({query for query in left if ask(address, query)})
            return not left

        with contextlib.suppress(AssertionError, TimeoutError):
            until(has_all, 40)
        assert not left
        assert not ask(address, 'ALERTS{alertstate="firing"}')
