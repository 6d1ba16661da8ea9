"""Results as Markdown: for each scenario a table of medians, what ours comes to beside its goals, and what was noted.

Knows nothing of how they were taken.
"""

from .results import Line, Results
from .scenarios.base import Metric, Scenario

_BUSY = 0.9
_HUNDRED = 100


def number(value: float | None) -> str:
    """Return a figure with three digits that count."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(results: Results) -> str:
    """Return the whole report."""
    parts = ["# WebSocket stacks side by side", "", _conditions(results)]
    for scenario in results.scenarios:
        parts += ["", _scenario(results, scenario)]
    if results.left_out:
        parts += [
            "",
            "## Left out",
            "",
            *(f"- {title}: {reason}" for title, reason in results.left_out.items()),
        ]
    parts += ["", _legend()]
    return "\n".join(parts) + "\n"


def _conditions(results: Results) -> str:
    options = results.options
    lines = [f"- {name}: {text}" for name, text in results.conditions.items()]
    lines.append(
        f"- settings: {options.connections} connections, {results.rounds} rounds interleaved, {options.seconds:g} s a measurement, "
        f"idle sockets held for {options.hold:g} s, {options.reloads} reloads; medians of the rounds"
    )
    return "\n".join(lines)


def _scenario(results: Results, scenario: Scenario) -> str:
    lines = results.lines(scenario)
    used = [metric for metric in scenario.metrics if any(line.values(metric.key) for line in lines)]
    rows = [["", *(line.title for line in lines)]]
    rows += [
        [f"{metric.title}, {metric.unit}".rstrip(", "), *(_cell(line, metric) for line in lines)]
        for metric in used
    ]
    shares = [_shares(results, line) for line in lines]
    for who in shares[0] if shares else ():
        if any(each[who] != "-" for each in shares):
            rows.append([who, *(each[who] for each in shares)])
    parts = [f"## {scenario.title}", "", scenario.summary, "", *_table(rows)]
    goals = [
        f"- {goal['metric']}: {goal['ratio']:.2f} of {results.titles[goal['against']]}{goal['with']}'s; wanted at "
        f"{'least' if goal['better'] == 'more' else 'most'} {goal['goal']}: {'met' if goal['met'] else 'missed'}"
        for goal in results.goals(scenario)
    ]
    if goals:
        parts += ["", "Apache by wsfront beside its goals:", "", *goals]
    if notes := _notes(lines) + _warnings(results, scenario, lines):
        parts += ["", "Noted:", "", *(f"- {note}" for note in notes)]
    return "\n".join(parts)


def _cell(line: Line, metric: Metric) -> str:
    values = line.values(metric.key)
    if not values:
        return "-"
    low, high = number(min(values)), number(max(values))
    return number(line.median(metric.key)) + (f" ({low} to {high})" if low != high else "")


def _shares(results: Results, line: Line) -> dict[str, str]:
    shares = {who: line.share(who, results.cores) for who in ("proxy", "backend", "load", "others")}
    return {f"CPU of {who}": "-" if share is None else f"{share:.0%}" for who, share in shares.items()}


def _notes(lines: list[Line]) -> list[str]:
    """Return what was noted, each once, with the stacks it was noted of."""
    titles: dict[str, list[str]] = {}
    for line in lines:
        for note in line.notes:
            titles.setdefault(note, []).append(line.title)
    return [f"{', '.join(of)}: {note}" for note, of in titles.items()]


def _warnings(results: Results, scenario: Scenario, lines: list[Line]) -> list[str]:
    found = [
        f"{line.title}: a process of the load generator took {line.busiest_load:.0%} of a core: it may have been the limit"
        for line in lines
        if line.busiest_load > _BUSY
    ]
    if disturbed := results.disturbed(scenario):
        found.append(disturbed)
    return found


def _legend() -> str:
    return """## How to read this

- Every trial starts proxy, backend and load generator anew. CPU is a share of the whole machine, all cores together;
  in brackets stand the lowest and the highest round.
- Memory of proxy and backend is the growth of their PSS since before the first connection, divided by the sockets open.
- The kernel's is estimated: TCP sockets of proxy and backend times the size of their objects in the slabs, 16 KiB for each
  thread, and page tables. Beside it, the growth of the whole machine's slabs, thread stacks and socket buffers: the load
  generator's sockets and whatever else ran are in that.
- All on loopback and on one machine: ratios within one run hold, absolute figures do not travel."""


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        for row in rows
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [f"| {' | '.join(row)} |" for row in [padded[0], rule, *padded[1:]]]
