"""Restart the backend while people talk: how long a socket hears nothing, and what it never hears."""

import json
import random
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from bench.load.client import Client, Connection, frame

from .base import Metric, Scenario, Trial
from .figures import percentile
from .idle import reasons, work_open

_SOCKETS = 200
_SPEAKERS = 20
_RATE = 20.0  # messages a second, all speakers together
_RESTARTS = 2
_BEFORE_SECONDS = 1.0
_TALK_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0
_LEAD_SECONDS = 0.5
_PAUSE_SECONDS = 0.2  # at most, at random, before somebody comes back
_NUMBER = re.compile(rb'"@(\d+)"')


class _Seat:
    """Somebody over several connections, one after the other; with a room that keeps what is said, by its protocol.

    Attributes:
        heard: the numbers of the messages heard.
        silence: the longest time in seconds between two of them.
        again: how many were heard once more.
        returns: when to come back; None: there is a connection, or one is under way.
    """

    def __init__(self, client: Client, connection: Connection, *, keeps: bool) -> None:
        self._client = client
        self._keeps = keeps
        self._name = secrets.token_hex(12)
        self._position: dict[str, Any] = {}
        self._left = -1  # of what it missed; before the answer to its resume nothing counts
        self._unsaid: dict[int, bytes] = {}
        self._at: Connection | None = None
        self.heard: set[int] = set()
        self.silence = 0.0
        self.again = 0
        self.returns: float | None = None
        self._last = 0.0
        self.sit(connection)
        self.open(connection)

    def sit(self, connection: Connection) -> None:
        """Wait for a connection to open."""
        connection.tag = self
        self.returns = None

    def open(self, connection: Connection) -> None:
        """Take a connection that is open."""
        self._at = connection
        self._left = -1
        if self._keeps:
            self._send({"type": "resume", "client": self._name, **self._position})
        else:
            self._say_on()

    def lost(self) -> None:
        """Come back after a moment."""
        self._at = None
        self.returns = time.monotonic() + random.uniform(0, _PAUSE_SECONDS)  # noqa: S311 (no secret)

    def say(self, number: int) -> None:
        """Say a message, as soon as there is somebody to say it to."""
        text = {"type": "usermsg", "name": "bench", "message": f"@{number}", "color": "#000000"}
        self._unsaid[number] = frame(json.dumps(text | ({"id": str(number)} if self._keeps else {})).encode())
        if not self._keeps:
            self._say_on()
        elif self._left == 0 and self._at:
            self._at.send(self._unsaid[number])

    def hear(self, payload: bytes) -> None:
        """Take what came."""
        if not self._keeps:
            if found := _NUMBER.search(payload):
                self._note(int(found[1]))
            return
        message = json.loads(payload)
        match message["type"]:
            case "resumed" | "gap":
                self._position = {key: message[key] for key in ("epoch", "offset")}
                self._left = message["count"]
                self._caught_up()
            case "usermsg" if self._left >= 0 and message["offset"] > self._position["offset"]:
                self._position["offset"] = message["offset"]
                self._note(int(message["message"][1:]))
                if self._left:
                    self._left -= 1
                    self._caught_up()
            case "ack":
                self._unsaid.pop(int(message["id"]), None)
            case "error" if self._at:
                self._at.leave()

    def _caught_up(self) -> None:
        if self._left == 0:
            for text in list(self._unsaid.values()):
                if self._at:
                    self._at.send(text)

    def _say_on(self) -> None:
        while self._unsaid and self._at:
            number = next(iter(self._unsaid))
            self._at.send(self._unsaid.pop(number))

    def _send(self, message: dict[str, Any]) -> None:
        if self._at:
            self._at.send(frame(json.dumps(message).encode()))

    def _note(self, number: int) -> None:
        now = time.monotonic()
        if self._last:
            self.silence = max(self.silence, now - self._last)
        self._last = now
        self.again += number in self.heard
        self.heard.add(number)


def work(client: Client, *, sockets: int, first: int, keeps: bool, speaks: bool) -> dict[str, Any]:
    """Hear what some say while they are cut off and come back; whoever is cut off comes back after a moment."""
    client.on_open = lambda connection: connection.tag.open(connection)
    client.on_message = lambda connection, payload: connection.tag.hear(payload)
    client.on_end = lambda connection, _reason: connection.tag.lost()
    seats = [_Seat(client, connection, keeps=keeps) for connection in list(client.open)]
    began = time.monotonic() + _LEAD_SECONDS
    numbers = range(first, first + round(_RATE * _TALK_SECONDS))
    unsaid = list(numbers) if speaks and seats else []
    end = began + _TALK_SECONDS + _PATIENCE_SECONDS
    while (now := time.monotonic()) < end and not (
        now > began + _TALK_SECONDS and _have_all(seats, len(numbers))
    ):
        while unsaid and now >= began + (unsaid[0] - first) / _RATE:
            number = unsaid.pop(0)
            seats[number % min(_SPEAKERS, len(seats))].say(number)
        for seat in seats:
            if seat.returns is not None and now >= seat.returns:
                if connection := client.connect():
                    seat.sit(connection)
                else:
                    seat.lost()
        client.turn(0.01)
    client.calm()
    client.give_up("no answer")
    return {
        "wanted": len(numbers) * sockets,
        "open": len(client.open),
        "heard": sum(len(seat.heard & {*numbers}) for seat in seats),
        "again": sum(seat.again for seat in seats),
        "silences": [seat.silence for seat in seats],
        "ended": client.ended,
    }


def _have_all(seats: Sequence[_Seat], count: int) -> bool:
    return all(len(seat.heard) >= count for seat in seats)


def measure(trial: Trial) -> dict[str, float]:
    """Restart again and again; each time some talk before, meanwhile and after."""
    load = trial.load
    shares = load.shares(min(_SOCKETS, trial.options.connections))
    keeps = trial.running.backend.keeps
    each = [{"sockets": share, "speaks": index == 0} for index, share in enumerate(shares)]
    there = [0 for _ in shares]
    wanted = heard = again = 0
    silences: list[float] = []
    for number in range(_RESTARTS):
        lacking = [{"count": share - here} for share, here in zip(shares, there, strict=True)]
        opened = load.call(work_open, lacking)
        if (count := sum(reply["open"] for reply in opened)) < sum(shares):
            trial.notes.append(f"{count} of {sum(shares)} opened: {reasons(opened)}")
        load.begin(work, each, first=number * 100_000, keeps=keeps)
        time.sleep(_LEAD_SECONDS + _BEFORE_SECONDS)
        trial.running.restart()
        replies = load.collect()
        wanted += sum(reply["wanted"] for reply in replies)
        heard += sum(reply["heard"] for reply in replies)
        again += sum(reply["again"] for reply in replies)
        silences += [silence for reply in replies for silence in reply["silences"]]
        there = [reply["open"] for reply in replies]
    if not silences:
        return {}
    return {
        "lost": (wanted - heard) / wanted * 100,
        "again": again,
        "median": percentile(silences, 50) * 1000,
        "p99": percentile(silences, 99) * 1000,
    }


SCENARIO = Scenario(
    name="restart",
    rank=6,
    title="Restart of the backend",
    summary=f"{_SOCKETS} sockets of a room hear {_RATE:g} messages a second; the backend is stopped and started anew, {_RESTARTS} times. "
    f"Who is cut off comes back within {_PAUSE_SECONDS:g} s, and says then what it could not say; with ours, by the protocol of its page.",
    metrics=(
        Metric("lost", "deliveries that never came", "%", "less"),
        Metric("again", "deliveries that came twice", "", "less", plot=False),
        Metric("median", "longest silence of a socket, median", "ms", "less"),
        Metric("p99", "longest silence of a socket, p99", "ms", "less", plot=False),
    ),
    measure=measure,
    backends=("wsfront", "stock", "ws", "socketify"),
    in_room=True,
)
