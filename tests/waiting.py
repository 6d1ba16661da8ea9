"""The one unit of time in tests, and waiting for something to come true.

Knows nothing of what is waited for. On a slow machine set `WSFRONT_TEST_SCALE=3`: a second is three.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECOND = float(os.environ.get("WSFRONT_TEST_SCALE", "1"))


def until(predicate: Callable[[], T], seconds: float = 5) -> T:
    """Return the predicate's first truthy value.

    Args:
        predicate: asked every 10 ms.
        seconds: how long to go on, in units of `SECOND`.

    Raises:
        TimeoutError: it stayed falsy; names the predicate.
    """
    end = time.monotonic() + seconds * SECOND
    while not (value := predicate()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {predicate}")
        time.sleep(0.01)
    return value
