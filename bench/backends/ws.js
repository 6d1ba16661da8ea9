// The program of ws.py: an echo, and a room where all hear what one says, as the README of `ws` shows them.
"use strict";

const { WebSocket, WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
const room = new Set();

server.on("connection", (socket, request) => {
  const echoes = request.url === "/ws/echo";
  if (!echoes) {
    room.add(socket);
    socket.on("close", () => room.delete(socket));
  }
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => {
    if (echoes) {
      socket.send(data, { binary: isBinary });
      return;
    }
    for (const other of room) {
      if (other.readyState === WebSocket.OPEN) {
        other.send(data, { binary: isBinary });
      }
    }
  });
});
