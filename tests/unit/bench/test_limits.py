"""How far a machine goes: which limit binds, and what is said of it."""

from dataclasses import replace

import pytest

from bench.errors import LimitFault
from bench.limits import Limits
from bench.runner import all_stacks

PLENTY = Limits(files=1_000_000, ports=28_000, threads=32_768, memory=64 << 30)


@pytest.mark.parametrize(
    ("short", "words"),
    [
        ({"files": 5000}, "10000 connections need more open files than `ulimit -Hn` allows here: this machine goes up to 4700"),
        ({"ports": 9000}, "10000 connections need more ports than net.ipv4.ip_local_port_range allows here: this machine goes up to 8000"),
        ({"memory": 1 << 30}, "10000 connections need more memory than MemAvailable allows here: this machine goes up to 1310"),
    ],
)  # fmt: skip
def test_machine_that_is_too_small(short: dict[str, int], words: str) -> None:
    """A count that the machine cannot carry is refused with the limit's name and how far it goes."""
    PLENTY.require(10_000)
    with pytest.raises(LimitFault) as caught:
        replace(PLENTY, **short).require(10_000)
    assert str(caught.value) == words


def test_stack_that_is_too_large() -> None:
    """One process for all sockets needs two files for each; Apache spreads them, but takes a thread for each."""
    stacks = all_stacks()
    few_files = replace(PLENTY, files=20_000)
    few_files.require_for(stacks["wsfront"], 10_000)
    with pytest.raises(LimitFault, match="goes up to 9850"):
        few_files.require_for(stacks["haproxy"], 10_000)
    few_threads = replace(PLENTY, threads=10_000)
    few_threads.require_for(stacks["haproxy"], 10_000)
    with pytest.raises(LimitFault, match=r"more threads .* goes up to 7500"):
        few_threads.require_for(stacks["wsfront"], 10_000)
