"""What can go wrong between a description and a running Apache, each with a sentence for people.

ApacheError
├── DescriptionError   the description has faults, all of them listed
├── TargetError        the machine cannot do what the description asks for
└── HttpdError         no Apache found, refused configuration, failed start
"""

from collections.abc import Sequence


class ApacheError(Exception):
    """Stand for all that this package raises on purpose."""


class DescriptionError(ApacheError):
    """List every fault of one description.

    Args:
        faults: one line each, `file: path.to.key: what is wrong and what would be right`.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(_printable(fault) for fault in faults)
        super().__init__("\n".join(self.faults))


class TargetError(ApacheError):
    """Say what the machine lacks and what to do about it."""


class HttpdError(ApacheError):
    """Say why an Apache was not found, not accepted or not started."""


def _printable(text: str) -> str:
    """Return a line that stays one, whatever keys and names it quotes, and tells a terminal nothing."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
