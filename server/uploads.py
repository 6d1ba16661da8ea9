"""Pictures on their way into a room: who may send one now, how large, and what the pool makes of it.

A picture is announced before it is sent, so that all that are under way take a bounded memory. Knows nothing of rooms.
"""

import asyncio
import math
import os
from collections import Counter

import msgspec

from .bucket import Bucket
from .client_address import neighbourhood_of
from .messages import FRAME_MOST, LIMITS, PictureMessage, Refusal
from .pool import Busy, JobLost, NotStarted, Pool
from .pooled import Rejected
from .wire import Wire

UNDER_WAY_MOST = 6  # in all, announced or being worked on
OF_ONE_MOST = 2  # of them of one address, so that nobody keeps all the others waiting
PROCESSES = max(1, min(2, (os.cpu_count() or 1) - 1))  # a core is left to those who talk
JOB_SECONDS = 8.0  # an honest picture takes one; on a machine that is busy otherwise, longer
MEMORY = 512 << 20  # of address space for each process; the largest picture that is allowed needs 420 MiB
# What a client compresses grows where it is compressed already: in browsers by a 400th, with zlib at its worst by an 18th.
GROWTH = 16
PATIENCE = 60.0  # seconds for a picture to arrive
BURST, PER_SECOND = 3, 0.2  # pictures of one socket
RETRY_AFTER = 3.0


class Picture(msgspec.Struct, array_like=True):
    """A picture made safe: WebP, of so many pixels."""

    width: int
    height: int
    data: bytes


class Uploads:
    """All pictures under way in this process."""

    def __init__(self) -> None:
        waiting = UNDER_WAY_MOST - PROCESSES
        self.pool = Pool(
            "server.pictures", size=PROCESSES, waiting=waiting, seconds=JOB_SECONDS, memory=MEMORY
        )
        self.under_way: Counter[str] = Counter()

    def is_full_for(self, address: str) -> bool:
        """Tell whether there is no place for one more; an empty address is nobody's."""
        return self.under_way.total() >= UNDER_WAY_MOST or (
            bool(address) and self.under_way[address] >= OF_ONE_MOST
        )

    def enter(self, address: str) -> None:
        """Count one more."""
        self.under_way[address] += 1

    def leave(self, address: str) -> None:
        """Count one less."""
        self.under_way[address] -= 1
        if not self.under_way[address]:
            del self.under_way[address]

    async def prepare(self, data: bytes, address: str, ref: str | None) -> Picture:
        """Make a picture safe and small.

        Raises:
            Refusal: bad-picture, unavailable or busy.
        """
        self.enter(address)
        try:
            return msgspec.msgpack.decode(await self.pool.run(data), type=Picture)
        except Rejected as fault:
            raise Refusal("bad-picture", str(fault), ref) from None
        except (JobLost, msgspec.DecodeError):
            raise Refusal("bad-picture", "This picture takes too much to open.", ref) from None
        except NotStarted:
            raise Refusal("unavailable", "This server cannot open pictures at the moment.", ref) from None
        except Busy:
            raise busy(ref) from None
        finally:
            self.leave(address)


class Sender:
    """The pictures of one socket: announced, then sent, one after the other."""

    def __init__(self, wire: Wire, uploads: Uploads) -> None:
        self.wire = wire
        self.uploads = uploads
        self.address = neighbourhood_of(wire.client)
        self._loop = asyncio.get_running_loop()
        self._bucket = Bucket(BURST, PER_SECOND, self._loop.time())
        self._announced: PictureMessage | None = None
        self._timer: asyncio.TimerHandle | None = None

    def announce(self, message: PictureMessage) -> None:
        """Let a picture in, in place of one that was announced and has not come.

        Raises:
            Refusal: too-long, rate-limited or busy.
        """
        if message.size > LIMITS.picture:
            most = f"{LIMITS.picture >> 20} MiB"
            raise Refusal("too-long", f"A picture has at most {most}; make it smaller.", message.ref)
        self.take()
        if self.uploads.is_full_for(self.address):
            raise busy(message.ref)
        if wait := self._bucket.take(self._loop.time()):
            after = math.ceil(wait * 10) / 10
            raise Refusal("rate-limited", "Too many pictures; wait a moment.", message.ref, retry_after=after)
        self._announced = message
        self.uploads.enter(self.address)
        self.wire.protocol.max_message_size = max(FRAME_MOST, message.size + message.size // GROWTH)
        self._timer = self._loop.call_later(PATIENCE, self.wire.drop, 1013, "the picture took too long")

    def take(self) -> PictureMessage | None:
        """Expect no picture any longer; return what was announced."""
        message, self._announced = self._announced, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.uploads.leave(self.address)
            self.wire.protocol.max_message_size = FRAME_MOST
        return message


def busy(ref: str | None) -> Refusal:
    """Refuse a picture because of all the others."""
    return Refusal(
        "busy", "Too many pictures are under way; try again in a moment.", ref, retry_after=RETRY_AFTER
    )
