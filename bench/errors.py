"""All that a measurement raises on purpose; each message is one line with the remedy.

BenchFault            something of ours did not work as it must
+-- LimitFault        the machine does not allow that many: which limit, and how far it goes
+-- MissingFault      a stack's program is not installed: which package brings it
"""


class BenchFault(Exception):  # noqa: N818 -- the message is for people, and they are told of a fault
    """Say why a measurement cannot be taken."""


class LimitFault(BenchFault):
    """Name the limit that a count goes beyond, and how far it can go."""


class MissingFault(BenchFault):
    """Name the program that a stack needs, and the package that brings it."""
