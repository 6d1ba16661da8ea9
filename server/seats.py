"""How many connections there are, in all and of one address, and whether one more may come.

Knows nothing of connections but their number, nor of what refuses them.
"""

from collections import Counter
from typing import Literal, Protocol

from .settings import Socket

Seat = tuple[Socket, str]
Refused = Literal["full", "address"]


class Seats(Protocol):
    """Who counts; nothing may come between the question and the count."""

    @property
    def taken(self) -> int:
        """Return how many there are."""

    def take(self, seat: Seat | None) -> Refused | None:
        """Count one more, of an address where that counts, or say why not."""

    def give(self, seat: Seat | None) -> None:
        """Count one less."""


class OwnSeats:
    """Count what one process serves, or what several of them tell.

    Args:
        most: in all.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.held: Counter[Seat] = Counter()

    def take(self, seat: Seat | None) -> Refused | None:
        """Count one more, or say why not."""
        if self.taken >= self.most:
            return "full"
        if seat:
            if self.held[seat] >= seat[0].per_address:
                return "address"
            self.held[seat] += 1
        self.taken += 1
        return None

    def give(self, seat: Seat | None) -> None:
        """Count one less."""
        self.taken -= 1
        if seat:
            self.held[seat] -= 1
            if not self.held[seat]:
                del self.held[seat]
