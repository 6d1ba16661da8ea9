"""One run: every scenario on every stack in every round, interleaved, each trial with fresh processes.

Round by round, so that what disturbs the machine for a while disturbs all stacks alike; the order turns by one from round to round.
"""

import os
import platform
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from apache import httpd
from apache.errors import ApacheError
from certs.errors import CertsFault
from certs.store import Issued, Store

from . import backends, limits, registry, scenarios, stacks
from .backends.base import Backend, Running
from .errors import BenchFault, LimitFault, MissingFault
from .load.processes import Load
from .report import number as shown
from .results import Results, Row
from .scenarios.base import Options, Scenario, Trial
from .stacks.base import Place, Stack

Progress = Callable[[str], None]


def all_scenarios() -> dict[str, Scenario]:
    """Return the scenarios by their names."""
    return registry.members(scenarios, "SCENARIO")


def all_stacks() -> dict[str, type[Stack]]:
    """Return the stacks by their names."""
    return registry.members(stacks, "STACK")


def all_backends() -> dict[str, Backend]:
    """Return the backends by their names."""
    return registry.members(backends, "BACKEND")


@dataclass(frozen=True)
class Plan:
    """Name one trial."""

    round: int
    scenario: Scenario
    stack: type[Stack]
    backend: Backend


def run(
    wanted: Sequence[Scenario],
    against: Sequence[type[Stack]],
    options: Options,
    *,
    rounds: int,
    say: Progress,
    processes: int | None = None,
) -> Results:
    """Measure, and return all rows; a stack that cannot be measured is left out with the reason.

    Args:
        wanted: the scenarios.
        against: the stacks.
        options: what holds for all trials.
        rounds: how often each trial is repeated.
        say: is told each step, one line.
        processes: of the load generator; default: one for each core, two at least.

    Raises:
        LimitFault: the machine does not allow that many connections on any stack.
        BenchFault: nothing can be measured at all.
    """
    allowed = limits.probe()
    allowed.require(options.connections)
    cores = os.cpu_count() or 1
    results = Results(
        options=options,
        rounds=rounds,
        cores=cores,
        scenarios=tuple(wanted),
        titles={stack.name: stack.title for stack in against},
        conditions=_conditions(),
    )
    usable = []
    for stack in against:
        try:
            results.conditions[stack.title] = stack.version()
            allowed.require_for(stack, options.connections)
            usable.append(stack)
        except (MissingFault, LimitFault) as fault:
            results.left_out[stack.title] = str(fault)
            say(f"{stack.title} is left out: {fault}")
    if not usable:
        raise BenchFault("no stack can be measured: " + "; ".join(results.left_out.values()))
    known = all_backends()
    served: dict[str, Backend] = {}
    for name in dict.fromkeys(name for scenario in wanted for name in scenario.backends):
        try:
            results.conditions[f"backend {name}"] = known[name].version()
            served[name] = known[name]
        except MissingFault as fault:
            results.left_out[f"backend {name}"] = str(fault)
            say(f"the backend {name} is left out: {fault}")
    plans = interleave(wanted, usable, served, rounds)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wsfront-bench-") as folder:
        # Workers of another user pass through here.
        Path(folder).chmod(0o755)
        store = Store(Path(folder) / "certs")
        try:
            issued = store.ensure("localhost", ["localhost"])
        except CertsFault as fault:
            raise BenchFault(str(fault)) from None
        for number, plan in enumerate(plans, 1):
            row = _trial(plan, options, Path(folder) / f"trial-{number}", issued, processes or max(2, cores))
            results.rows.append(row)
            left = (time.monotonic() - began) / number * (len(plans) - number)
            say(
                f"[{number}/{len(plans)}] round {plan.round}, {plan.scenario.name}, {plan.stack.title}"
                f"{_headline(plan.scenario, row)}{f'; {_minutes(left)} left' if number < len(plans) else ''}"
            )
    results.conditions["took"] = _minutes(time.monotonic() - began)
    return results


def interleave(
    wanted: Sequence[Scenario], usable: Sequence[type[Stack]], served: dict[str, Backend], rounds: int
) -> list[Plan]:
    """Return all trials in their order, which turns by one stack from round to round."""
    plans = []
    for number in range(rounds):
        turn = number % len(usable)
        order = [*usable[turn:], *usable[:turn]]
        plans += [
            Plan(number + 1, scenario, stack, served[backend])
            for scenario in wanted
            for stack in order
            for backend in scenario.backends
            if backend in served
        ]
    return plans


def _trial(plan: Plan, options: Options, directory: Path, issued: Issued, processes: int) -> Row:
    directory.mkdir()
    user, group = _user()
    port, backend_port = httpd.free_ports(2)
    place = Place(
        directory=directory,
        port=port,
        backend_port=backend_port,
        connections=options.connections,
        certificate=issued.certificate,
        key=issued.key,
        user=user,
        group=group,
    )
    stack = plan.stack(place)
    backend: Running | None = None
    trial: Trial | None = None
    values: dict[str, float] = {}
    fault = ""
    try:
        backend = Running(plan.backend, directory, backend_port, options.connections)
        stack.start()
        authority = str(issued.ca) if stack.tls else None
        path = plan.backend.room if plan.scenario.in_room else plan.backend.echo
        with Load(processes, port=stack.port, path=path, authority=authority) as load:
            trial = Trial(stack, backend, load, options)
            values = plan.scenario.measure(trial)
    except (BenchFault, ApacheError) as error:
        fault = str(error)
    finally:
        stack.stop()
        if backend:
            backend.stop()
    if trial is None:
        return Row(plan.round, plan.scenario.name, plan.stack.name, plan.backend.name, fault=fault)
    return Row(
        plan.round,
        plan.scenario.name,
        plan.stack.name,
        plan.backend.name,
        values=values,
        cpu=trial.cpu,
        notes=tuple(trial.notes),
        fault=fault,
    )


def _user() -> tuple[str, str]:
    """Return to whom workers drop: the same user for every stack."""
    try:
        target = httpd.probe("private")
    except ApacheError:
        return ("nobody", "nogroup") if os.geteuid() == 0 else ("", "")
    return target.user, target.group


def _headline(scenario: Scenario, row: Row) -> str:
    """Return the first figures of a row that are drawn, for the line of progress."""
    if row.fault:
        return f": {row.fault}"
    figures = [metric for metric in scenario.metrics if metric.plot and metric.key in row.values]
    return ": " + ", ".join(
        f"{metric.title} {shown(row.values[metric.key])} {metric.unit}".rstrip() for metric in figures
    )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _conditions() -> dict[str, str]:
    cpu = re.search(r"^model name\s*: (.+)", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}, {memory:.1f} GiB, Linux {platform.release()}",
        "load generator": f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "load before the run": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
