"""TLS as an outsider sees it: sslyze compares what a live Apache offers with Mozilla's recommendation.

sslyze is kept in an environment of its own, `.venv-scan`, since it wants other versions than we do.
"""

import fcntl
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.stacks import Running, running

pytestmark = [pytest.mark.needs("apache"), pytest.mark.timeout(300)]  # the environment is made once

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "scan.txt"
ENVIRONMENT = ROOT / ".venv-scan"
STAMP = ENVIRONMENT / "scan.installed"
PYTHON = ENVIRONMENT / "bin" / "python"


@dataclass(frozen=True)
class Verdict:
    """Hold what sslyze found: whether it is compliant, in whose words, and the result of each scan."""

    compliant: bool
    words: str
    results: dict[str, Any] = field(repr=False)

    def __getitem__(self, scan: str) -> dict[str, Any]:
        """Return one scan's result."""
        attempt = self.results[scan]
        assert attempt["status"] == "COMPLETED"
        return dict(attempt["result"])

    @property
    def protocols(self) -> set[str]:
        """Return the protocols of which the server accepted a cipher."""
        scans = {name: self[f"{name}_cipher_suites"] for name in PROTOCOLS}
        return {name for name, scan in scans.items() if scan["accepted_cipher_suites"]}

    @property
    def trust(self) -> dict[str, bool]:
        """Return by which trust stores each path of a certificate was found good; ours is the supplied one."""
        paths = self["certificate_info"]["certificate_deployments"][0]["path_validation_results"]
        return {path["trust_store"]["name"]: path["was_validation_successful"] for path in paths}


PROTOCOLS = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="session")
def scanner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the environment where it is missing or another than locked; two runs at once make it one after the other."""
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.is_file() and STAMP.read_bytes() == LOCK.read_bytes() and PYTHON.exists():
            return PYTHON
        pip = (PYTHON, "-I", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input")
        locked = ("--require-hashes", "--only-binary=:all:")
        builder = re.search(r"^setuptools==(?:.*\\\n)+.*\n", LOCK.read_text(), re.MULTILINE)
        assert builder
        (folder := tmp_path_factory.mktemp("lock")).joinpath("builder.txt").write_text(builder[0])
        for command in (
            (sys.executable, "-I", "-m", "venv", "--clear", ENVIRONMENT),
            (*pip, *locked, "-r", folder / "builder.txt"),
            (*pip, *locked, "--no-binary=sslyze", "--no-build-isolation", "-r", LOCK),
        ):
            done = run(*command)
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                reason = f"sslyze cannot be installed into {ENVIRONMENT}: {''.join(last)}"
                if request.config.getoption("--require") == "all":
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)
        STAMP.write_bytes(LOCK.read_bytes())
    return PYTHON


def scan(scanner: Path, stack: Running, profile: str, folder: Path) -> Verdict:
    """Scan a live stack and compare it with a profile of Mozilla's; the local authority is trusted."""
    output = folder / "scan.json"
    done = run(
        *(
            scanner,
            "-I",
            "-m",
            "sslyze",
            f"--mozilla_config={profile}",
            f"--json_out={output}",
            "--early_data",
        ),
        *(f"--certinfo_ca_file={stack.stack.store.ca}", f"localhost:{stack.https_port}"),
    )
    (result,) = json.loads(output.read_text())["server_scan_results"]
    words = done.stdout.partition("COMPLIANCE AGAINST")[2]
    assert result["scan_status"] == "COMPLETED", done.stdout
    assert "Compliant" in words or "FAILED" in words, done.stdout
    return Verdict(done.returncode == 0 and "OK - Compliant" in words, words, result["scan_result"])


def description(profile: str) -> str:
    """Return the plain case with a profile."""
    return f"server_name: localhost\ntls: {{profile: {profile}}}\n"


@pytest.fixture(scope="module", params=["intermediate", "modern"])
def profile(request: pytest.FixtureRequest) -> str:
    """Name each profile in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def verdict(scanner: Path, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdict]:
    """Scan a site of a profile once."""
    with running(description(profile)) as stack:
        yield scan(scanner, stack, profile, tmp_path_factory.mktemp("scan"))


def test_site_complies_with_its_profile(verdict: Verdict) -> None:
    """What a site offers is what Mozilla recommends for the profile that its description names."""
    assert verdict.compliant, verdict.words


def test_only_the_protocols_of_the_profile_are_spoken(verdict: Verdict, profile: str) -> None:
    """Intermediate is TLS 1.2 and 1.3, modern TLS 1.3 alone."""
    assert verdict.protocols == {"intermediate": {"tls_1_2", "tls_1_3"}, "modern": {"tls_1_3"}}[profile]


def test_no_known_attack_works(verdict: Verdict) -> None:
    """No compression (CRIME), renegotiation by the client, Heartbleed, CCS injection, ROBOT, downgrade or replay (0-RTT)."""
    renegotiation = verdict["session_renegotiation"]
    assert not verdict["tls_compression"]["supports_compression"]
    assert not renegotiation["is_vulnerable_to_client_renegotiation_dos"]
    assert renegotiation["supports_secure_renegotiation"]
    assert not verdict["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert not verdict["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert verdict["robot"]["robot_result"] == "NOT_VULNERABLE_RSA_NOT_SUPPORTED"
    assert verdict["tls_fallback_scsv"]["supports_fallback_scsv"]
    assert verdict["tls_extended_master_secret"]["supports_ems_extension"]
    assert not verdict["tls_1_3_early_data"]["supports_early_data"]


def test_certificate_is_good_for_whoever_trusts_the_authority(verdict: Verdict) -> None:
    """The path ends at the local authority, in order and without it, and the name is right; no public store trusts it."""
    (deployment,) = verdict["certificate_info"]["certificate_deployments"]
    trusting = [name for name, good in verdict.trust.items() if good]
    assert trusting == ["Supplied CA file"]
    assert deployment["received_chain_has_valid_order"]
    assert not deployment["received_chain_contains_anchor_certificate"]
    assert not deployment["verified_chain_has_sha1_signature"]


@pytest.mark.parametrize(
    ("directive", "value", "complaint"),
    [
        ("SSLCipherSuite", "ECDHE-ECDSA-AES128-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"),
        ("SSLOpenSSLConfCmd Curves", "secp521r1:prime256v1", "secp521r1"),
    ],
    ids=["CBC", "unusual group"],
)
def test_weaker_directive_is_found_out(
    scanner: Path, tmp_path: Path, directive: str, value: str, complaint: str
) -> None:
    """A cipher or group beyond the profile, among the user's own directives, is named as what does not comply."""
    with running(own_directives=f"{directive} {value}\n") as stack:
        verdict = scan(scanner, stack, "intermediate", tmp_path)
    assert not verdict.compliant
    assert complaint in verdict.words


def test_old_protocol_is_found_out(scanner: Path, tmp_path: Path) -> None:
    """TLS 1.1 switched on by hand, in every vhost since the first on an address decides, is named as what does not comply."""
    with running() as stack:
        server = stack.stack.httpd
        text = re.sub(
            r"(?m)^( *SSLProtocol) .*", r"\1 -all +TLSv1.1 +TLSv1.2 +TLSv1.3", server.config.read_text()
        )
        text = re.sub(r"(?m)^( *SSLCipherSuite) ECDHE", r"\1 @SECLEVEL=0:ECDHE-ECDSA-AES128-SHA:ECDHE", text)
        server.stop()
        server.write({server.config.name: text})
        server.start()
        verdict = scan(scanner, stack, "intermediate", tmp_path)
    assert "tls_1_1" in verdict.protocols
    assert not verdict.compliant
    assert "TLSv1.1" in verdict.words


def test_intermediate_is_not_modern(scanner: Path, tmp_path: Path) -> None:
    """A site of the intermediate profile does not comply with the modern one: the profiles are told apart."""
    with running() as stack:
        verdict = scan(scanner, stack, "modern", tmp_path)
    assert not verdict.compliant
    assert "TLSv1.2" in verdict.words
