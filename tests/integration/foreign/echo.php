<?php
// A WebSocket server in plain PHP, no extension: a frame comes back as it came, but a chat message goes to everybody.
// Usage: php echo.php PORT [--with-parent]; port 0 lets the kernel choose.
// With --with-parent it ends when its standard input does, so that it does not outlive a test that was killed.
declare(strict_types=1);

const LONGEST = 32 << 20;  // bytes in a message; longer ones are answered with close code 1009
const CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;  // RFC 6455, 5.2

ini_set('memory_limit', '1G');

final class Client
{
    public string $in = '';
    public string $out = '';
    public bool $isOpen = false;    // the handshake is done
    public bool $isEnding = false;  // to be closed once $out is written
    public ?int $kind = null;       // of the fragmented message under way
    public string $message = '';

    public function __construct(public readonly mixed $stream)
    {
    }

    public function send(int $kind, string $payload): void
    {
        $length = strlen($payload);
        $this->out .= chr(0x80 | $kind) . match (true) {
            $length < 126 => chr($length),
            $length < 65536 => chr(126) . pack('n', $length),
            default => chr(127) . pack('J', $length),
        } . $payload;
    }

    public function end(int $code): void
    {
        $this->send(CLOSE, pack('n', $code));
        $this->isEnding = true;
    }

    // Answers the request in $in: the upgrade with 101, anything else with a page.
    public function answer(string $head): void
    {
        preg_match('/^Sec-WebSocket-Key:\s*(\S+)/mi', $head, $key);
        if (!$key || !preg_match('/^Upgrade:\s*websocket/mi', $head)) {
            $page = "A WebSocket server in PHP.\n";
            $this->out .= "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
                . 'Content-Length: ' . strlen($page) . "\r\n\r\n$page";
            $this->isEnding = true;
            return;
        }
        $accept = base64_encode(sha1($key[1] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        $this->out .= "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Accept: $accept\r\n\r\n";
        $this->isOpen = true;
    }

    // Takes one whole frame from $in: [is final, kind, payload]; null until there is one.
    public function frame(): ?array
    {
        if (strlen($this->in) < 2) {
            return null;
        }
        [$first, $length] = [ord($this->in[0]), ord($this->in[1]) & 0x7f];
        if (!(ord($this->in[1]) & 0x80) || $first & 0x70) {
            $this->end(1002);  // a client must mask, and no extension was agreed on: RFC 6455, 5.1 and 5.2
            return null;
        }
        [$start, $format] = [126 => [4, 'n'], 127 => [10, 'J']][$length] ?? [2, null];
        if (strlen($this->in) < $start + 4) {
            return null;
        }
        $length = $format ? unpack($format, $this->in, 2)[1] : $length;
        if ($length < 0 || $length + strlen($this->message) > LONGEST) {
            $this->end(1009);
            return null;
        }
        if (strlen($this->in) < $start + 4 + $length) {
            return null;
        }
        $mask = str_repeat(substr($this->in, $start, 4), intdiv($length, 4) + 1);
        $payload = substr($this->in, $start + 4, $length) ^ $mask;
        $this->in = substr($this->in, $start + 4 + $length);
        return [(bool) ($first & 0x80), $first & 0x0f, $payload];
    }
}

/** @param Client[] $clients */
function take(Client $client, array $clients): void
{
    if (!$client->isOpen) {
        $end = strpos($client->in, "\r\n\r\n");
        if ($end === false) {
            return;
        }
        $head = substr($client->in, 0, $end + 2);
        $client->in = substr($client->in, $end + 4);
        $client->answer($head);
    }
    while ($client->isOpen && !$client->isEnding && $frame = $client->frame()) {
        [$isFinal, $kind, $payload] = $frame;
        if ($kind === PING) {
            $client->send(PONG, $payload);
        } elseif ($kind === CLOSE) {
            $client->send(CLOSE, substr($payload, 0, 2));
            $client->isEnding = true;
        } elseif ($kind !== PONG) {
            $client->kind ??= $kind;
            $client->message .= $payload;
            if ($isFinal) {
                deliver($client, $clients);
            }
        }
    }
}

/** @param Client[] $clients */
function deliver(Client $client, array $clients): void
{
    $isChat = $client->kind === TEXT && (json_decode($client->message, true)['type'] ?? null) === 'usermsg';
    foreach ($isChat ? $clients : [$client] as $each) {
        if ($each->isOpen && !$each->isEnding) {
            $each->send($client->kind, $client->message);
        }
    }
    [$client->kind, $client->message] = [null, ''];
}

$server = stream_socket_server("tcp://127.0.0.1:$argv[1]", $number, $text) or exit(1);
stream_set_blocking($server, false);
echo 'ready ', stream_socket_get_name($server, false), "\n";
$parent = ($argv[2] ?? '') === '--with-parent' ? [STDIN] : [];
$clients = [];

while (true) {
    $reading = [$server, ...$parent, ...array_column($clients, 'stream')];
    $writing = array_column(array_filter($clients, fn (Client $each) => $each->out !== ''), 'stream');
    $except = null;
    stream_select($reading, $writing, $except, null);
    foreach ($reading as $stream) {
        if ($stream === STDIN) {
            exit(0);
        }
        if ($stream === $server) {
            if ($new = @stream_socket_accept($server, 0)) {
                stream_set_blocking($new, false);
                $clients[(int) $new] = new Client($new);
            }
            continue;
        }
        $client = $clients[(int) $stream];
        $data = @fread($stream, 1 << 20);
        if ($data === false || $data === '') {
            unset($clients[(int) $stream]);
            fclose($stream);
            continue;
        }
        $client->in .= $data;
        take($client, $clients);
    }
    foreach ($clients as $id => $client) {
        if ($client->out !== '') {
            $written = @fwrite($client->stream, $client->out);
            if ($written === false) {
                $client->isEnding = true;
                $client->out = '';
            } else {
                $client->out = substr($client->out, $written);
            }
        }
        if ($client->isEnding && $client->out === '') {
            unset($clients[$id]);
            fclose($client->stream);
        }
    }
}
