"""What a verb raises to end with one clear line.

    Fault                 never raised itself
    +-- UsageFault        the input or the use is wrong: exit status 2
    +-- RunFault          the check or the run failed: exit status 1

Does not know how the line is printed; `cli/__main__.py` does that.
"""


class Fault(Exception):  # noqa: N818 -- the message is for people, and they are told of a fault
    """End the command with one line on standard error and this exit status."""

    status = 1


class UsageFault(Fault):
    """Say that what was given is wrong, and what would be right."""

    status = 2


class RunFault(Fault):
    """Say that a sound input could not be carried out, and the remedy."""
