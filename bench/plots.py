"""Results as pictures: for each scenario one PNG with a bar for each stack, a dot for each round, and the goal as a line.

Knows nothing of how they were taken. The only place that draws.
"""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from .report import number
from .results import Line, Results, rival
from .scenarios.base import Goal, Metric, Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _OTHER, _DIRECT, _DOT, _GOAL = "#c2410c", "#64748b", "#cbd5e1", "#0f172a", "#15803d"
_PARTS = ("#c2410c", "#0369a1", "#a3a3a3")
_WIDE, _BAR, _AROUND = 10.0, 0.42, 1.15


def draw(results: Results, directory: Path) -> list[Path]:
    """Write NAME.png for each scenario that has figures."""
    mpl.use("agg")
    return [path for scenario in results.scenarios if (path := _draw(results, scenario, directory))]


def _draw(results: Results, scenario: Scenario, directory: Path) -> Path | None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 (after the choice of what draws)

    lines = results.lines(scenario)
    metrics = [
        m for m in scenario.metrics if m.plot and any(line.median(m.key) is not None for line in lines)
    ]
    if not metrics:
        return None
    height = len(metrics) * (_BAR * len(lines) + _AROUND) + 1.3
    figure, every = plt.subplots(len(metrics), 1, figsize=(_WIDE, height), squeeze=False)
    for axes, metric in zip(every[:, 0], metrics, strict=True):
        _bars(axes, results, scenario, metric, lines)
    figure.suptitle(scenario.title, x=0.02, ha="left", fontsize=16, fontweight="bold")
    footer = _footer(results, scenario)
    figure.text(0.02, 0.01, footer, fontsize=7.5, color="#475569", va="bottom")
    figure.tight_layout(rect=(0.01, (0.2 + 0.15 * (footer.count("\n") + 1)) / height, 0.99, 1 - 0.1 / height))
    path = directory / f"{scenario.name}.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _bars(axes: "Axes", results: Results, scenario: Scenario, metric: Metric, lines: list[Line]) -> None:
    medians = [line.median(metric.key) for line in lines]
    figures = [
        value for line in lines for value in (*line.values(metric.key), *_goals(metric, line, lines).values())
    ]
    most = max(figures, default=0) or 1
    for row, (line, median) in enumerate(zip(lines, medians, strict=True)):
        if median is None:
            axes.text(
                most * 0.01,
                row,
                "no figure: " + ("; ".join(line.notes)[:90] or "not measured here"),
                va="center",
                fontsize=9,
                color="#991b1b",
            )
            continue
        color = _OURS if line.stack == "wsfront" else _DIRECT if line.stack == "direct" else _OTHER
        if metric.parts:
            _parts(axes, row, metric, line)
        else:
            axes.barh(row, median, color=color, height=0.7)
        values = line.values(metric.key)
        axes.plot(values, [row] * len(values), ".", color=_DOT, markersize=4)
        text = f"{number(median)} {metric.unit}".rstrip()
        reach = max(values)
        if goals := _goals(metric, line, lines):
            text += f"\n{_ratios(results, scenario, line, metric, goals)}"
            # One line says where all are reached: the goal that is hardest.
            hardest = (max if metric.better == "more" else min)(goals, key=lambda goal: goals[goal])
            _mark(axes, row, metric, hardest, goals[hardest])
            reach = max(reach, *goals.values())
        axes.text(reach + most * 0.012, row, text, va="center", fontsize=9.5)
    if metric.parts:
        handles = [axes.barh(0, 0, color=color) for color in _PARTS]
        axes.legend(handles, [name for _, name in metric.parts], loc="lower right", fontsize=9, frameon=False)
    axes.set_yticks(range(len(lines)), [line.title for line in lines], fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, most * (1.28 + 0.14 * max(len(_goals(metric, line, lines)) for line in lines)))
    axes.set_title(
        f"{metric.title} ({'more' if metric.better == 'more' else 'less'} is better)", loc="left", fontsize=11
    )
    axes.set_xticks([])
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _parts(axes: "Axes", row: int, metric: Metric, line: Line) -> None:
    """Draw the parts of a sum one behind the other."""
    left = 0.0
    for (key, _), color in zip(metric.parts, _PARTS, strict=False):
        value = max(0.0, line.median(key) or 0.0)
        axes.barh(row, value, left=left, color=color, height=0.7)
        left += value


def _goals(metric: Metric, line: Line, lines: list[Line]) -> dict[Goal, float]:
    """Return what our figure shall reach, or stay below: for each goal whose other side has a figure."""
    found = {}
    for goal in metric.goals:
        other = rival(goal, line, lines)
        if other and (theirs := other.median(metric.key)):
            found[goal] = theirs * goal.factor
    return found


def _ratios(results: Results, scenario: Scenario, line: Line, metric: Metric, goals: Iterable[Goal]) -> str:
    """Return what our figure is beside the others', those with the same backend together."""
    behind: dict[str, list[str]] = {}
    for goal in goals:
        ratio = results.ratio(scenario, line, metric.key, goal)
        behind.setdefault(goal.backend, []).append(f"{number(ratio)} x {goal.against}")
    return "; ".join(
        ", ".join(ratios) + (f" with {backend}" if backend else "") for backend, ratios in behind.items()
    )


def _rival(goal: Goal) -> str:
    return f"{goal.against}'s with {goal.backend}" if goal.backend else f"{goal.against}'s"


def _mark(axes: "Axes", row: int, metric: Metric, goal: Goal, at: float) -> None:
    """Draw a goal as a line across our own row."""
    axes.plot([at, at], [row - 0.45, row + 0.45], color=_GOAL, linewidth=2.5)
    word = "at least" if metric.better == "more" else "at most"
    text = f"goal: {word} {goal.factor} of {_rival(goal)}"
    axes.text(at, row - 0.48, text, fontsize=7.5, color=_GOAL, ha="center")


def _footer(results: Results, scenario: Scenario) -> str:
    options = results.options
    told = [f"{name}: {text}" for name, text in results.conditions.items()]
    told.append(
        f"{options.connections} connections, {results.rounds} rounds interleaved; bars: medians, dots: rounds; loopback, one machine"
    )
    told += filter(None, [results.disturbed(scenario)])
    return "\n".join(textwrap.wrap(" · ".join(told), 175))
