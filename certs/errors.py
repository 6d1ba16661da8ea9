"""All that this package raises on purpose; each message is one line with the remedy.

    CertsFault
    +-- NameFault         a name that no certificate can carry
    +-- PemFault          a file that holds no usable certificate or key
    +-- StoreFault        a store that is broken, foreign, locked or cannot be written

Does not know exit statuses: who calls decides whose fault it is.
"""


class CertsFault(Exception):  # noqa: N818 -- the message is for people, and they are told of a fault
    """Be the one thing to catch for whoever calls this package."""


class NameFault(CertsFault):
    """Refuse a name that no certificate can carry."""


class PemFault(CertsFault):
    """Refuse a file that holds no usable certificate or key."""


class StoreFault(CertsFault):
    """Refuse to go on with a store that is broken, foreign, locked or cannot be written."""
