"""One timer that pings all connections: a task, a timer and a future for each would take two kilobytes of every idle socket.

Knows wires and time; nothing of what is said.
"""

import asyncio

from .wire import Wire

TICKS = 20  # in an interval: so many at a time are pinged
KEEPALIVE_TIMEOUT = (1011, "keepalive ping timeout")


class Keepalive:
    """Ping who is open, and drop who says nothing.

    Args:
        interval: seconds between two pings of a connection.
        patience: seconds for something to come back.
    """

    def __init__(self, interval: float, patience: float) -> None:
        self.interval = interval
        self.patience = patience
        # In the order in which they are due, for all wait the same time.
        self._to_ping: dict[Wire, float] = {}
        self._pinged: dict[Wire, float] = {}

    def add(self, wire: Wire) -> None:
        """Ping a connection from now on."""
        self._to_ping[wire] = wire.loop.time()

    def discard(self, wire: Wire) -> None:
        """Forget a connection."""
        self._to_ping.pop(wire, None)
        self._pinged.pop(wire, None)

    async def run(self) -> None:
        """Go on for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(self.interval, self.patience) / TICKS)
            self._drop(clock() - self.patience)
            self._ping(clock())

    def _ping(self, now: float) -> None:
        while self._to_ping:
            wire, since = next(iter(self._to_ping.items()))
            if since > now - self.interval:
                return
            del self._to_ping[wire]
            self._to_ping[wire] = now
            if wire not in self._pinged:
                wire.is_silent = True
                self._pinged[wire] = now
            wire.poke()

    def _drop(self, pinged_before: float) -> None:
        while self._pinged:
            wire, pinged = next(iter(self._pinged.items()))
            if pinged > pinged_before:
                return
            del self._pinged[wire]
            if wire.is_silent and not wire.is_held_up:
                wire.drop(*KEEPALIVE_TIMEOUT)
