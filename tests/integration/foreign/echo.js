// A WebSocket server on the package `ws`: a frame comes back as it came, but a chat message goes to everybody.
// Usage: NODE_PATH=/usr/share/nodejs node echo.js PORT [--with-parent]; port 0 lets the kernel choose.
// With --with-parent it ends when its standard input does, so that it does not outlive a test that was killed.
'use strict';

const http = require('http');
const { WebSocket, WebSocketServer } = require('ws');

const web = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
  response.end('A WebSocket server in Node.\n');
});
const sockets = new WebSocketServer({ server: web });

function isChat(text) {
  try {
    return JSON.parse(text).type === 'usermsg';
  } catch {
    return false;
  }
}

sockets.on('connection', (socket) => {
  socket.on('error', () => socket.terminate());
  socket.on('message', (data, isBinary) => {
    const everybody = !isBinary && isChat(data.toString());
    for (const each of everybody ? sockets.clients : [socket]) {
      if (each.readyState === WebSocket.OPEN) {
        each.send(data, { binary: isBinary });
      }
    }
  });
});

web.listen(Number(process.argv[2]), '127.0.0.1', () => console.log(`ready 127.0.0.1:${web.address().port}`));
process.on('SIGTERM', () => process.exit(0));
if (process.argv[3] === '--with-parent') {
  process.stdin.resume().on('end', () => process.exit(0));
}
