"""From a bare Debian to a chat over wss, by one command: what its users see, and what a second run does."""

import json
import socket
from dataclasses import replace

import pytest
from playwright.async_api import async_playwright, expect
from websockets.exceptions import InvalidStatus

from apache.limits import MALLOC
from tests import needs
from tests.browser.conftest import ARGUMENTS, PATIENCE
from tests.hosts.servers import METRICS, NAME, Installed, Server
from tests.waiting import SECOND


def test_one_command_makes_a_server(installed: Installed) -> None:
    """One run makes a server of a bare Debian, and ends by saying where it is."""
    counts = installed.first.hosts[NAME]
    print(f"{installed.suite}: first run {installed.first.seconds:.0f} s, {counts}")  # noqa: T201 # a measurement
    assert (counts["failed"], counts["unreachable"], counts["rescued"]) == (0, 0, 0)
    assert f"ready https://{NAME}/" in installed.first.output
    assert "healthy: nothing found" in installed.first.output
    assert installed.first.seconds < 240 * SECOND


def test_second_run_changes_nothing(installed: Installed) -> None:
    """The same command again changes nothing, and is quick."""
    print(f"{installed.suite}: second run {installed.second.seconds:.0f} s")  # noqa: T201 # a measurement
    assert installed.second.tasks_changed == []
    assert installed.second.changed == 0
    assert installed.second.seconds < 30 * SECOND


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_page_and_sockets(shared: Server, family: str) -> None:
    """The page, the chat and the echo are there by both families of addresses, under a certificate that clients verify."""
    visitor = replace(shared.visitor, address=getattr(shared.machine, family))
    status, text = visitor.page()
    assert status == 200
    assert "wsfront-socket" in text
    await visitor.chat(f"room-{family}")
    assert await visitor.is_served()


def test_plain_http_leads_to_tls(shared: Server) -> None:
    """Plain HTTP answers with a redirect."""
    assert shared.visitor.page(is_plain=True)[0] == 301


def test_apache_runs_with_its_allocator_set(shared: Server) -> None:
    """What the unit says of the allocator reaches Apache, through all the scripts that Debian starts it by."""
    environment = shared.machine.run("cat", f"/proc/{shared.main_process('apache2')}/environ")
    # glibc before 2.39 ends each tunable by a NUL where /proc shows it; what children inherit is a copy of its own.
    assert f"GLIBC_TUNABLES={MALLOC}\0" in environment.replace("\0glibc.malloc", ":glibc.malloc")


def test_metrics_are_told_on_the_machine_alone(shared: Server) -> None:
    """A Prometheus on the machine finds the metrics where the description says, out of the service's sandbox; nobody else does."""
    ask = f"from urllib.request import urlopen; print(urlopen('http://{METRICS}/metrics').read().decode())"
    assert "wsfront_connections_most 500.0" in shared.machine.run("python3", "-c", ask)
    port = int(METRICS.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((shared.machine.ipv4, port), 5)


def test_certificate_is_the_authoritys(shared: Server) -> None:
    """The certificate names the server, and the key is root's alone."""
    certificate = shared.visitor.certificate()
    assert ("DNS", NAME) in certificate["subjectAltName"]
    place = f"/etc/wsfront/certs/sites/{NAME}/key.pem"
    assert shared.machine.run("stat", "-c", "%U:%G %a", place).strip() == "root:root 600"


async def test_foreign_origin_is_refused(shared: Server) -> None:
    """A page of somebody else's cannot open sockets here; one of ours can."""
    async with shared.visitor.websocket(origin=f"https://{NAME}") as opened:
        await opened.ping()
    with pytest.raises(InvalidStatus) as refused:
        await shared.visitor.websocket(origin="https://evil.test")
    assert refused.value.response.status_code == 403


@pytest.mark.needs("browser")
async def test_people_chat_in_browsers(shared: Server) -> None:
    """Two people open the page in a browser, and what one writes the other reads."""
    resolve = f"--host-resolver-rules=MAP {NAME} {shared.machine.ipv4}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=needs.find("browser"), args=[*ARGUMENTS, resolve]
        )
        pages = []
        for name in ("Ada", "Bob"):
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            page.set_default_timeout(PATIENCE)
            you = json.dumps({"name": name, "color": "#6d28d9"})
            await page.add_init_script(f"localStorage['wsfront.you'] ??= {json.dumps(you)}")
            await page.goto(f"https://{NAME}/?room=browsers")
            await expect(page.locator("#connection")).to_have_text("Connected")
            pages.append(page)
        await pages[0].get_by_label("Message", exact=True).fill("Good morning, Bob.")
        await pages[0].keyboard.press("Enter")
        await expect(pages[1].locator(".message:not(.own) .text")).to_have_text(["Good morning, Bob."])
        await browser.close()
