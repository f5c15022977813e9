"""What happens on the server in one step, in Lua.

Every script has the keys of a queue, as `Keys` has them, and as its first arguments the group and the consumer that
asks. Times are the server's, in milliseconds.

A script isn't rolled back when a command in it fails. One that needs memory is refused at ``maxmemory`` only while the
script has written nothing: it stands first where it is to be refused, and behind another where it must not be.
"""

from __future__ import annotations

import hashlib


class Script:
    """A script, and the name that the server knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join((_COMMON, *parts))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


NOBODY = "nobody"
"""The consumer that has what was handed back, until somebody takes it."""
WINDOW = 500
"""How many messages one step is about at most, so that the server isn't kept for long."""

_COMMON = f"""
local STREAM, DELAYED, DEAD, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local GROUP, ME = ARGV[1], ARGV[2]
local NOBODY, WINDOW = '{NOBODY}', {WINDOW}
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function ms(number) return string.format('%.0f', number) end
"""

_FIELDS = """
local function fields(id)
  local found, about = redis.call('XRANGE', STREAM, id, id)[1], {}
  for index = 1, found and #found[2] or 0, 2 do about[found[2][index]] = found[2][index + 1] end
  return about
end
"""

# One nudge at most is in a stream: the one before goes when another comes.
_NUDGE = """
local function nudge()
  local before = redis.call('HGET', HISTORY, 'nudge')
  if before then
    redis.call('XACK', STREAM, GROUP, before)
    redis.call('XDEL', STREAM, before)
  end
  local id = redis.pcall('XADD', STREAM, '*', 'nudge', '1')
  if type(id) == 'string' then redis.pcall('HSET', HISTORY, 'nudge', id) end
end
"""

# Who waits for messages looks at the delayed ones every few seconds; for what is due before, somebody is nudged.
_PUT = """
local function put(delay, data, task, task_id, unique)
  if delay <= 0 then
    redis.call('XADD', STREAM, '*', 'data', data, 'task', task, 'task_id', task_id)
    return
  end
  local member = cmsgpack.pack({unique, data, task, task_id})
  redis.call('ZADD', DELAYED, ms(now() + delay), member)
  if delay <= 10000 and redis.call('ZRANGE', DELAYED, 0, 0)[1] == member then nudge() end
end
"""

# 1 with the number of deliveries: it is this consumer's; 0: somebody else's; -1: nobody's, for it is there no more.
_STANDING = """
local function standing(id)
  local found = redis.call('XPENDING', STREAM, GROUP, id, id, 1)[1]
  if not found then return -1 end
  if found[2] ~= ME then return 0 end
  return 1, found[4]
end
local function remove(id)
  redis.call('XACK', STREAM, GROUP, id)
  redis.call('XDEL', STREAM, id)
  redis.call('HDEL', HISTORY, id)
end
"""

_HISTORY = """
local function history(id, owner, idle)
  local seen = redis.call('HGET', HISTORY, id)
  local owners = seen and cjson.decode(seen) or {}
  if owner ~= NOBODY then owners[#owners + 1] = {owner, ms(now() - idle)} end
  return cjson.encode(owners)
end
"""

_BURY = """
local function bury(id, owner, idle, deliveries, reason, detail, data)
  local about = fields(id)
  if about.nudge then
    remove(id)
    return nil
  end
  local letter = redis.pcall('XADD', DEAD, '*', 'data', data or about.data or '', 'task', about.task or '',
    'task_id', about.task_id or '', 'reason', reason, 'detail', detail, 'deliveries', deliveries,
    'died', ms(now()), 'history', history(id, owner, idle))
  if type(letter) == 'table' and letter.err then return letter.err end
  remove(id)
  return nil, about.task_id or ''
end
"""

SEND = Script(
    _NUDGE,
    _PUT,
    """
if redis.call('EXISTS', KEYS[5]) == 1 then return 0 end
put(tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], ARGV[7])
redis.call('SET', KEYS[5], '', 'PX', ARGV[8])
return 1
""",
)
"""Delay, data, task, task id, something unique, how long it is to be the only one; that one's key is the fifth."""

DUE = Script("""
redis.call('XLEN', STREAM)
local time = now()
local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', ms(time), 'LIMIT', 0, WINDOW)
for _, member in ipairs(due) do
  redis.call('ZREM', DELAYED, member)
  local readable, about = pcall(cmsgpack.unpack, member)
  if not readable or type(about) ~= 'table' then about = {'', member, '', ''} end
  redis.call('XADD', STREAM, '*', 'data', about[2], 'task', about[3], 'task_id', about[4])
end
local first = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
return first and math.max(0, tonumber(first) - time) or -1
""")
"""Lets in what is due. Answers in how many milliseconds the next one is; -1 if there is none.

What is due is taken out first: so it comes in at ``maxmemory`` as well, where it needs no more room than before.
"""

DONE = Script("""
local ids = {unpack(ARGV, 3)}
redis.call('XACK', STREAM, GROUP, unpack(ids))
redis.call('XDEL', STREAM, unpack(ids))
redis.call('HDEL', HISTORY, unpack(ids))
return 1
""")
"""Ids."""

HUSH = Script("""
redis.call('XACK', STREAM, GROUP, ARGV[3])
redis.call('XDEL', STREAM, ARGV[3])
if redis.call('HGET', HISTORY, 'nudge') == ARGV[3] then redis.call('HDEL', HISTORY, 'nudge') end
return 1
""")
"""The id of a nudge that has been heard."""

RENEW = Script(
    _STANDING,
    """
local mine, theirs, gone = {}, {}, {}
for index = 3, #ARGV do
  local id = ARGV[index]
  local whose = standing(id)
  local list = whose == 1 and mine or whose == 0 and theirs or gone
  list[#list + 1] = id
end
if #mine > 0 then
  mine[#mine + 1] = 'JUSTID'
  redis.call('XCLAIM', STREAM, GROUP, ME, 0, unpack(mine))
end
return {theirs, gone}
""",
)
"""Ids. Answers those that somebody else has now, and those that are there no more."""

RECLAIM = Script(
    _FIELDS,
    _NUDGE,
    _STANDING,
    _HISTORY,
    _BURY,
    """
local lease, slots, most, reason, detail = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
local suspect = ARGV[8] == '1'
local held, count = {}, 100
for index = 9, #ARGV do held[ARGV[index]] = true; count = count + 1 end
local claimed, buried, problem, more, suspects = {}, {}, '', 0, 0
for _, entry in ipairs(redis.call('XPENDING', STREAM, GROUP, 'IDLE', lease, '-', '+', count)) do
  local id, owner, idle, deliveries = unpack(entry)
  if held[id] then
    -- It runs here, whatever the server thinks.
  elseif deliveries >= most then
    local failed, task_id = bury(id, owner, idle, deliveries, reason, detail)
    if failed then problem = failed elseif task_id then buried[#buried + 1] = task_id end
  elseif most > 1 and deliveries + 1 >= most and suspect then
    suspects = 1
  elseif #claimed < slots then
    suspect = suspect or deliveries + 1 >= most
    local before = owner ~= NOBODY and history(id, owner, idle)
    local got = redis.call('XCLAIM', STREAM, GROUP, ME, 0, id)[1]
    if got then
      claimed[#claimed + 1] = {id, got[2], deliveries + 1}
      if before then redis.pcall('HSET', HISTORY, id, before) end
    else
      redis.call('XACK', STREAM, GROUP, id)
    end
  else
    more = 1
  end
end
if more == 1 then nudge() end
return {claimed, buried, problem, more, suspects}
""",
)
"""Lease, free slots, most deliveries, reason and detail for those above, whether a suspect is held, ids that are held.

Takes what has run out, up to the free slots; buries what was given out too often; nudges others if more is left.
A message at its last delivery is a suspect: what had it before has ended each time. One at a time is taken, so that
what merely ran beside the one that ends its workers comes to its end, rather than being buried with it.
Answers messages with their deliveries, the task ids of those that were buried, why one couldn't be, and whether more and suspects are left.
"""

RETURN = Script(
    _NUDGE,
    _HISTORY,
    """
local begun, returned, last = {}, 0, ''
for index = 5, #ARGV do begun[ARGV[index]] = true end
local page = redis.call('XPENDING', STREAM, GROUP, ARGV[3], '+', WINDOW, ME)
for _, entry in ipairs(page) do
  local id, deliveries = entry[1], entry[4]
  last = id
  if not begun[id] then
    local count = math.max(0, deliveries - 1)
    redis.call('XCLAIM', STREAM, GROUP, NOBODY, 0, id, 'TIME', 0, 'RETRYCOUNT', count, 'JUSTID')
    returned = returned + 1
  elseif ARGV[4] == '1' then
    local seen = history(id, ME, 0)
    redis.call('XCLAIM', STREAM, GROUP, NOBODY, 0, id, 'TIME', 0, 'RETRYCOUNT', deliveries, 'JUSTID')
    redis.pcall('HSET', HISTORY, id, seen)
    returned = returned + 1
  end
end
if returned > 0 then nudge() end
return {returned, #page == WINDOW and last or ''}
""",
)
"""From which id on, whether what has begun is returned too, ids that have begun. Everything else is, uncounted.

Answers how many were, and the last id that was looked at if there may be more.
"""

RELEASE = Script(
    _NUDGE,
    _STANDING,
    _HISTORY,
    """
local whose, deliveries = standing(ARGV[3])
if whose ~= 1 then return whose end
local counted = ARGV[4] == '1'
local seen, count = history(ARGV[3], ME, 0), math.max(0, deliveries - (counted and 0 or 1))
redis.call('XCLAIM', STREAM, GROUP, NOBODY, 0, ARGV[3], 'TIME', 0, 'RETRYCOUNT', count, 'JUSTID')
if counted then redis.pcall('HSET', HISTORY, ARGV[3], seen) end
nudge()
return 1
""",
)
"""Id, whether the delivery counts. Answers as all below: 1, 0 if somebody else has it, -1 if it is there no more."""

AGAIN = Script(
    _FIELDS,
    _NUDGE,
    _PUT,
    _STANDING,
    """
local whose = standing(ARGV[3])
if whose ~= 1 then return whose end
local about = fields(ARGV[3])
put(tonumber(ARGV[4]), ARGV[5], about.task or '', about.task_id or '', ARGV[6])
remove(ARGV[3])
return 1
""",
)
"""Id, delay, data, something unique."""

BURY = Script(
    _FIELDS,
    _STANDING,
    _HISTORY,
    _BURY,
    """
local whose, deliveries = standing(ARGV[3])
if whose ~= 1 then return whose end
local failed = bury(ARGV[3], ME, 0, deliveries, ARGV[4], ARGV[5], ARGV[6])
if failed then return redis.error_reply(failed) end
return 1
""",
)
"""Id, reason, detail, and the data if it is to be another."""
