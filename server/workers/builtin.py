"""What a forked process does where no handler is named: the chat and the echo.

Knows nothing of the server but its own connection.
"""

from .handler import Connection


def chat(connection: Connection) -> None:
    """Hand on to the chat whatever the client sends."""
    for message in connection:
        connection.hand_on(message)


def echo(connection: Connection) -> None:
    """Send every message back."""
    for message in connection:
        connection.send(message)
