"""What all tests share: the option `--require`, the marker `needs`, the versions in the report's header, and time for each example.

Holds no fixture: those live beside the tests that use them.
"""

import platform
import signal
import ssl
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

from tests import needs

_MACHINES = {"hosts": "real Debian systems, as containers", "vagrant": "a virtual machine, by vagrant up"}

# Examples start programs and share two cores: none fails by being slow.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--require`, `--update-golden`, and an option for each kind of machine."""
    parser.addoption(
        "--require",
        default="",
        metavar="NAMES",
        help=f"fail rather than skip where one of these is missing: {','.join(needs.NEEDS)}; or all",
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write the expectations in tests/golden anew"
    )
    for folder, machines in _MACHINES.items():
        parser.addoption(f"--{folder}", action="store_true", help=f"run tests/{folder} as well: {machines}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, check `--require`, and let SIGTERM end a run as Ctrl-C does: finalizers run.

    What a shell starts in the background ignores Ctrl-C, and so would all that a test starts.
    """
    config.addinivalue_line("markers", "needs(name, …): programs without which the test is skipped")
    unknown = _required(config) - set(needs.NEEDS)
    if unknown:
        message = f"--require: unknown {', '.join(sorted(unknown))}; known: {', '.join(needs.NEEDS)}, all"
        raise pytest.UsageError(message)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out tests that boot machines, unless they are asked for."""
    is_left_out = collection_path.parent == Path(__file__).parent and collection_path.name in _MACHINES
    return True if is_left_out and not config.getoption(f"--{collection_path.name}") else None


def pytest_report_header() -> list[str]:
    """Name the versions on which the result depends."""
    python = f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, websockets {version('websockets')}"
    return [python, *(f"{name}: {needs.version(name) or 'missing'}" for name in needs.NEEDS)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what is missing, or fail it where `--require` says so."""
    for name in (name for marker in item.iter_markers("needs") for name in marker.args):
        if name not in needs.NEEDS:
            raise pytest.UsageError(
                f"{item.nodeid}: needs({name!r}) is unknown; known: {', '.join(needs.NEEDS)}"
            )
        if needs.version(name) is None:
            reason = f"{name} is missing; {needs.NEEDS[name].remedy}"
            if name in _required(item.config):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)


def _required(config: pytest.Config) -> set[str]:
    names = {name for name in config.getoption("--require").split(",") if name}
    return set(needs.NEEDS) if "all" in names else names
