"""The program of `socketify.py`: an echo, and a room where all hear what one says."""

import sys
from typing import Any


def enter(connection: Any) -> None:
    """Let a socket hear the room."""
    connection.subscribe("room")


def main() -> None:
    """Serve until the end."""
    from socketify import App  # noqa: PLC0415 (this module is looked at where the package is not)

    app = App()

    def say(_connection: Any, message: Any, opcode: Any) -> None:
        app.publish("room", message, opcode)

    def echo(connection: Any, message: Any, opcode: Any) -> None:
        connection.send(message, opcode)

    app.ws("/ws/echo", {"message": echo})
    app.ws("/ws/room", {"open": enter, "message": say})
    app.listen({"host": "127.0.0.1", "port": int(sys.argv[1])}, lambda _config: None)
    app.run()


if __name__ == "__main__":
    main()
