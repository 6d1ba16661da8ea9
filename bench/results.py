"""What a run found: rows as they were taken, and their medians. Plain data, written as results.json.

Knows nothing of how it is taken or shown.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .scenarios.base import Cpu, Goal, Options, Scenario

_OTHERS = 0.05
_OURS = "wsfront"  # the name of our stack and of our backend


@dataclass(frozen=True)
class Row:
    """Hold one trial: a scenario on a stack with a backend, in one round.

    Attributes:
        fault: why there are no values; empty: there are.
    """

    round: int
    scenario: str
    stack: str
    backend: str
    values: dict[str, float] = field(default_factory=dict)
    cpu: Cpu = field(default_factory=Cpu)
    notes: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Line:
    """Hold all rounds of one stack and backend in one scenario."""

    stack: str
    backend: str
    title: str
    rows: tuple[Row, ...]

    @property
    def taken(self) -> list[Row]:
        """Return the rows that have values."""
        return [row for row in self.rows if not row.fault]

    def values(self, key: str) -> list[float]:
        """Return a figure of every round."""
        return [row.values[key] for row in self.taken if key in row.values]

    def median(self, key: str) -> float | None:
        """Return the median of a figure."""
        values = self.values(key)
        return statistics.median(values) if values else None

    def share(self, who: str, cores: int) -> float | None:
        """Return the share of the machine's CPU that somebody took (others: all but ours), from 0 to 1, median."""
        shares = [getattr(row.cpu, who) / (row.cpu.elapsed * cores) for row in self.taken if row.cpu.elapsed]
        return statistics.median(shares) if shares else None

    @property
    def busiest_load(self) -> float:
        """Return how much of one core the busiest process of the load generator took, from 0 to 1, at most."""
        return max(
            (row.cpu.busiest_load / row.cpu.elapsed for row in self.taken if row.cpu.elapsed), default=0.0
        )

    @property
    def notes(self) -> list[str]:
        """Return what was noted and what went wrong, each once."""
        return list(
            dict.fromkeys(note for row in self.rows for note in (*row.notes, *filter(None, [row.fault])))
        )


def rival(goal: Goal, line: Line, lines: Sequence[Line]) -> Line | None:
    """Return the line that a goal compares ours with; a goal with a backend of its own is our backend's alone."""
    if line.stack != _OURS or (goal.backend and line.backend != _OURS):
        return None
    wanted = (goal.against, goal.backend or line.backend)
    return next((each for each in lines if (each.stack, each.backend) == wanted), None)


@dataclass
class Results:
    """Hold a run.

    Attributes:
        conditions: machine, versions and settings: name -> text.
        left_out: stacks that were not measured: title -> reason.
    """

    options: Options
    rounds: int
    cores: int
    scenarios: tuple[Scenario, ...]
    titles: dict[str, str]
    conditions: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def lines(self, scenario: Scenario) -> list[Line]:
        """Return a scenario's stacks, in their order."""
        of_it = [row for row in self.rows if row.scenario == scenario.name]
        several = len(scenario.backends) > 1
        return [
            Line(stack, backend, f"{title} + {backend}" if several else title, rows)
            for stack, title in self.titles.items()
            for backend in scenario.backends
            if (rows := tuple(row for row in of_it if (row.stack, row.backend) == (stack, backend)))
        ]

    def disturbed(self, scenario: Scenario) -> str:
        """Return what there is to say of other programs; empty: the machine was quiet."""
        others = max((line.share("others", self.cores) or 0 for line in self.lines(scenario)), default=0)
        if others <= _OTHERS:
            return ""
        return f"other programs took up to {others:.0%} of the machine: measure again when it is quiet"

    def ratio(self, scenario: Scenario, line: Line, key: str, goal: Goal) -> float | None:
        """Return a figure relative to that which its goal names: the medians' ratio; None: there is none, or it is not ours."""
        other = rival(goal, line, self.lines(scenario))
        mine, theirs = line.median(key), other.median(key) if other else None
        return mine / theirs if mine is not None and theirs else None

    def data(self) -> dict[str, Any]:
        """Return all of it for results.json."""
        return {
            "conditions": self.conditions,
            "options": {**asdict(self.options), "rounds": self.rounds},
            "left_out": self.left_out,
            "scenarios": {
                scenario.name: {
                    "summary": scenario.summary,
                    "metrics": {
                        metric.key: f"{metric.title}, {metric.unit}".rstrip(", ")
                        for metric in scenario.metrics
                    },
                    "medians": {
                        line.title: {metric.key: line.median(metric.key) for metric in scenario.metrics}
                        for line in self.lines(scenario)
                    },
                    "goals": self.goals(scenario),
                }
                for scenario in self.scenarios
            },
            "rows": [asdict(row) for row in self.rows],
        }

    def goals(self, scenario: Scenario) -> list[dict[str, Any]]:
        """Return what our figures come to beside their goals."""
        found = []
        ours = [line for line in self.lines(scenario) if line.stack == "wsfront"]
        for metric in scenario.metrics:
            for goal, line in itertools.product(metric.goals, ours):
                ratio = self.ratio(scenario, line, metric.key, goal)
                if ratio is not None:
                    met = ratio >= goal.factor if metric.better == "more" else ratio <= goal.factor
                    found.append(
                        {
                            "metric": metric.title,
                            "stack": line.title,
                            "against": goal.against,
                            "with": f" + {goal.backend}" if goal.backend else "",
                            "ratio": ratio,
                            "goal": goal.factor,
                            "better": metric.better,
                            "met": met,
                        }
                    )
        return found
