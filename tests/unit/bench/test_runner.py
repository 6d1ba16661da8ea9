"""The order of trials, and what is found in the folders."""

from bench.runner import all_backends, all_scenarios, all_stacks, interleave


def test_rounds_are_interleaved_and_turn() -> None:
    """Each round has every scenario on every stack once; a round later another stack comes first."""
    stacks = [all_stacks()[name] for name in ("direct", "wsfront", "nginx")]
    scenarios = [all_scenarios()[name] for name in ("idle", "echo")]
    plans = interleave(scenarios, stacks, all_backends(), 2)
    assert [(plan.round, plan.scenario.name, plan.stack.name) for plan in plans] == [
        *((1, "idle", name) for name in ("direct", "wsfront", "nginx")),
        *((1, "echo", name) for name in ("direct", "wsfront", "nginx")),
        *((2, "idle", name) for name in ("wsfront", "nginx", "direct")),
        *((2, "echo", name) for name in ("wsfront", "nginx", "direct")),
    ]


def test_every_file_is_found_in_its_place() -> None:
    """What lies in the folders is known by its name, in the order of its rank."""
    assert [*all_scenarios()][:6] == ["idle", "handshakes", "echo", "reload", "burst", "paced"]
    assert [*all_stacks()] == ["direct", "wsfront", "apache-debian", "nginx", "haproxy", "caddy"]
    assert [*all_backends()][:3] == ["wsfront", "stock", "ws"]


def test_goals_name_stacks_that_there_are() -> None:
    """A figure's goal is relative to a stack of that name, and every part of a sum is a figure too."""
    for scenario in all_scenarios().values():
        keys = {metric.key for metric in scenario.metrics}
        for metric in scenario.metrics:
            assert {goal.against for goal in metric.goals} <= {*all_stacks()}
            assert {key for key, _ in metric.parts} <= keys
