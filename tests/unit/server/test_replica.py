"""A process's copy of a room: each message is passed on once and in order, and what is missing is told."""

from server.bus import Bounds, Budget, Entry
from server.bus.memory import MemoryBus
from server.bus.replica import Replica
from tests.unit.server.bus_harness import Ear


def entry(offset: int, epoch: str = "5") -> Entry:
    """Make a message."""
    return Entry(epoch, offset, 0.0, b"x")


def replica() -> tuple[Replica, Ear]:
    """Make a copy that is at offset 2, and its follower."""
    ear = Ear(MemoryBus())
    made = Replica("lobby", ear, Bounds(seconds=1e12), Budget(1 << 20))
    made.enter("5", 2, [entry(1), entry(2)])
    return made, ear


def test_history_is_not_heard() -> None:
    """What was said before is history, and nobody is told it as news."""
    made, ear = replica()
    assert (ear.entries, ear.gaps, made.history.offset) == ([], [], 2)


def test_once() -> None:
    """What comes twice, or comes late of an epoch that is over, is passed on once."""
    made, ear = replica()
    for each in (entry(3), entry(3), entry(2), entry(4), entry(9, "4"), entry(3)):
        made.take(each)
    made.enter("5", 4, [entry(3), entry(4)])
    assert ([each.offset for each in ear.entries], ear.gaps) == ([3, 4], [])


def test_hole() -> None:
    """A hole is told, with how many are missing, ahead of what comes behind it."""
    made, ear = replica()
    made.take(entry(6))
    assert [(gap.gap, gap.offset, gap.lost) for gap in ear.gaps] == [("trimmed", 5, 3)]
    made.enter("5", 9, [])
    assert [(gap.offset, gap.lost) for gap in ear.gaps[1:]] == [(9, 3)]


def test_another_epoch() -> None:
    """A new epoch is told once, whether a message or a look at the room brings it."""
    made, ear = replica()
    made.take(entry(1, "6"))
    made.enter("6", 1, [entry(1, "6")])
    assert [(gap.gap, gap.epoch, gap.offset) for gap in ear.gaps] == [("epoch", "6", 0)]
    made.enter("7", 0, [])
    assert (len(ear.gaps), made.history.epoch, made.history.offset) == (2, "7", 0)


def test_people() -> None:
    """The people of each process are told as they come and go, and all at once when it is gone."""
    made, ear = replica()
    made.hear_of("p", {"a": b"Ada", "b": b"Bob"})
    made.replace({"p": {"b": b"Bob"}, "q": {"c": b"Cid"}})
    assert ear.people == {"a": None, "b": b"Bob", "c": b"Cid"}
    made.keep({"q"})
    assert ear.people["b"] is None
    assert ear.people["c"] == b"Cid"
