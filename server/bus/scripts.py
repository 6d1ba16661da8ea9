"""What the Redis bus has Redis do in one step (Lua), and the names of its keys.

A room is a hash (epoch, offset, bytes, run) and a stream, whose ids are epoch-offset: so they rise from one epoch to the next, too,
and who reads on from an old one comes to the new one by itself.
"""

from . import VERSION

PREFIX = f"wsfront:{VERSION}:"
PROCESSES = "wsfront:processes"  # of all versions: each sees who else is on this Redis
PRESENCE = f"{PREFIX}presence"
PRESENCE_MOST = 10_000  # changes that a process may be behind
PEOPLE_SECONDS = 60
ROOM_SECONDS = 86_400  # from the last that anybody did there


def room_key(room: str) -> str:
    """Name the hash of a room."""
    return f"{PREFIX}room:{room}"


def log_key(room: str) -> str:
    """Name the stream of a room."""
    return f"{PREFIX}log:{room}"


def people_key(room: str) -> str:
    """Name the hash of the people in a room, each under process/id."""
    return f"{PREFIX}people:{room}"


def id_key(room: str, key: str) -> str:
    """Name where a message with a client's id was kept."""
    return f"{PREFIX}id:{key}:{room}"


# KEYS room, log; ARGV run, durable, epoch and offset that the process has seen, seconds.
# What memory is refused for comes first: once a script has written, Redis lets it go on.
# A new epoch begins where there is none, where Redis has started anew and may have lost some of what it had told, and where it has less
# than it has told before.
_OPEN = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function open()
  local m = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
  local epoch, offset, run = m[1], tonumber(m[2]), m[3]
  local stale = not epoch or not offset or (run ~= ARGV[1] and ARGV[2] == '0') or (epoch == ARGV[3] and offset < tonumber(ARGV[4]))
  if stale then
    local least = tonumber(epoch or 0)
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if last then least = math.max(least, tonumber(string.match(last[1], '^%d+'))) end
    epoch, offset = string.format('%.0f', math.max(now, least + 1)), 0
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0, 'bytes', 0)
    redis.call('DEL', KEYS[2])
  end
  if stale or run ~= ARGV[1] then redis.call('HSET', KEYS[1], 'run', ARGV[1]) end
  return epoch, offset
end
"""

# Tell where a room is, and all that came after what the process has seen.
ENTER = f"""{_OPEN}
local epoch, offset = open()
local from = '-'
if epoch == ARGV[3] then from = '(' .. epoch .. '-' .. ARGV[4] end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {{epoch, offset, redis.call('XRANGE', KEYS[2], from, '+')}}
"""

# KEYS … id; ARGV … message, most messages, most bytes, milliseconds that messages are kept, and ids.
PUBLISH = f"""{_OPEN}
local found = redis.call('GET', KEYS[3])
if found then return {{0, found}} end
local epoch, offset = open()
offset = offset + 1
local at = epoch .. '-' .. string.format('%.0f', offset)
redis.call('XADD', KEYS[2], at, 't', string.format('%.0f', now), 'd', ARGV[6])
redis.call('SET', KEYS[3], at, 'PX', ARGV[10])
local bytes = redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[6])
local least = now - tonumber(ARGV[9])
local count = redis.call('XLEN', KEYS[2])
while count > 1 do
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if count <= tonumber(ARGV[7]) and bytes <= tonumber(ARGV[8]) and tonumber(oldest[2][2]) >= least then break end
  redis.call('XDEL', KEYS[2], oldest[1])
  bytes = bytes - #oldest[2][4]
  count = count - 1
end
redis.call('HSET', KEYS[1], 'offset', string.format('%.0f', offset), 'bytes', bytes)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return {{1, at}}
"""

# KEYS processes; ARGV this one, milliseconds. A process that has not been heard of for so long is gone.
ALIVE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
