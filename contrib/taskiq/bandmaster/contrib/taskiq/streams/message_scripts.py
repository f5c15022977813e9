"""Lua scripts that send, lease, renew, release and end messages, each in one step. See `lua` for common parts."""

from __future__ import annotations

from bandmaster.contrib.taskiq.streams.lua import Script

_FIELDS = """
local function fields(id)
  local found, about = redis.call('XRANGE', STREAM, id, id)[1], {}
  for index = 1, found and #found[2] or 0, 2 do about[found[2][index]] = found[2][index + 1] end
  return about
end
"""

# A wakeup is an entry without a message. It ends the blocking read of an idle worker, which then looks at the delayed
# and the released messages. A stream has at most one: a new wakeup replaces the one before.
_WAKE = """
local function wake()
  local before = redis.call('HGET', HISTORY, 'wakeup')
  if before then
    redis.call('XACK', STREAM, GROUP, before)
    redis.call('XDEL', STREAM, before)
  end
  local id = redis.pcall('XADD', STREAM, '*', 'wakeup', '1')
  if type(id) == 'string' then redis.pcall('HSET', HISTORY, 'wakeup', id) end
end
"""

# Idle workers look at the delayed messages every few seconds. For a message that is due before, one of them is woken.
_PUT = """
local function put(delay, data, task, task_id, unique)
  if delay <= 0 then
    redis.call('XADD', STREAM, '*', 'data', data, 'task', task, 'task_id', task_id)
    return
  end
  local member = cmsgpack.pack({unique, data, task, task_id})
  redis.call('ZADD', DELAYED, ms(now() + delay), member)
  if delay <= 10000 and redis.call('ZRANGE', DELAYED, 0, 0)[1] == member then wake() end
end
"""

# 1 and the number of deliveries: this consumer owns the message; 0: another owns it; -1: it isn't in the group.
_OWNER = """
local function owner_of(id)
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
  if owner ~= RELEASED then owners[#owners + 1] = {owner, ms(now() - idle)} end
  return cjson.encode(owners)
end
"""

_BURY = """
local function bury(id, owner, idle, deliveries, reason, detail, data)
  local about = fields(id)
  if about.wakeup then
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
    _WAKE,
    _PUT,
    """
if redis.call('EXISTS', KEYS[5]) == 1 then return 0 end
put(tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], ARGV[7])
redis.call('SET', KEYS[5], '', 'PX', ARGV[8])
return 1
""",
)
"""Sends a message, unless its deduplication key exists.

Arguments: delay, data, task, task id, a unique text, milliseconds to remember the deduplication key. The fifth key is
the deduplication key.
"""

MOVE_DUE = Script("""
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
"""Moves due messages from the delayed set to the stream. Answers in how many milliseconds the next is due; -1 for none.

A message is removed from the set first. So the move succeeds at ``maxmemory`` too, and needs no more memory than
before.
"""

ACKNOWLEDGE = Script("""
local ids = {unpack(ARGV, 3)}
redis.call('XACK', STREAM, GROUP, unpack(ids))
redis.call('XDEL', STREAM, unpack(ids))
redis.call('HDEL', HISTORY, unpack(ids))
return 1
""")
"""Removes messages. Arguments: ids."""

REMOVE_WAKEUP = Script("""
redis.call('XACK', STREAM, GROUP, ARGV[3])
redis.call('XDEL', STREAM, ARGV[3])
if redis.call('HGET', HISTORY, 'wakeup') == ARGV[3] then redis.call('HDEL', HISTORY, 'wakeup') end
return 1
""")
"""Removes a wakeup that a worker has read. Argument: its id."""

RENEW = Script(
    _OWNER,
    """
local mine, taken, gone = {}, {}, {}
for index = 3, #ARGV do
  local id = ARGV[index]
  local found = owner_of(id)
  local list = found == 1 and mine or found == 0 and taken or gone
  list[#list + 1] = id
end
if #mine > 0 then
  mine[#mine + 1] = 'JUSTID'
  redis.call('XCLAIM', STREAM, GROUP, ME, 0, unpack(mine))
end
return {taken, gone}
""",
)
"""Renews leases. Arguments: ids. Answers the ids that another consumer owns, and those that left the group."""

RECLAIM = Script(
    _FIELDS,
    _WAKE,
    _OWNER,
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
    -- This worker holds it, and will renew it.
  elseif deliveries >= most then
    local failed, task_id = bury(id, owner, idle, deliveries, reason, detail)
    if failed then problem = failed elseif task_id then buried[#buried + 1] = task_id end
  elseif most > 1 and deliveries + 1 >= most and suspect then
    suspects = 1
  elseif #claimed < slots then
    suspect = suspect or deliveries + 1 >= most
    local before = owner ~= RELEASED and history(id, owner, idle)
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
if more == 1 then wake() end
return {claimed, buried, problem, more, suspects}
""",
)
"""Claims messages whose leases have expired, as many as there are free slots.

Arguments: lease, free slots, most deliveries, reason and detail of dead letters, whether this worker holds a suspect,
ids that it holds. Messages above the most deliveries become dead letters. If more are left, another worker is woken.

A message before its last delivery is a suspect: each earlier worker died. A worker holds one suspect at a time, so
that messages which merely ran beside the one that kills its workers succeed, rather than becoming dead letters too.

Answers the claimed messages with their deliveries, the task ids of the dead letters, the error if one couldn't be made,
and whether more messages and more suspects are left.
"""

RELEASE_ALL = Script(
    _WAKE,
    _HISTORY,
    """
local begun, released, last = {}, 0, ''
for index = 5, #ARGV do begun[ARGV[index]] = true end
local page = redis.call('XPENDING', STREAM, GROUP, ARGV[3], '+', WINDOW, ME)
for _, entry in ipairs(page) do
  local id, deliveries = entry[1], entry[4]
  last = id
  if not begun[id] then
    local count = math.max(0, deliveries - 1)
    redis.call('XCLAIM', STREAM, GROUP, RELEASED, 0, id, 'TIME', 0, 'RETRYCOUNT', count, 'JUSTID')
    released = released + 1
  elseif ARGV[4] == '1' then
    local seen = history(id, ME, 0)
    redis.call('XCLAIM', STREAM, GROUP, RELEASED, 0, id, 'TIME', 0, 'RETRYCOUNT', deliveries, 'JUSTID')
    redis.pcall('HSET', HISTORY, id, seen)
    released = released + 1
  end
end
if released > 0 then wake() end
return {released, #page == WINDOW and last or ''}
""",
)
"""Releases the messages of this consumer. The deliveries of those whose tasks haven't begun aren't counted.

Arguments: the first id, whether messages whose tasks have begun are released too, ids of messages whose tasks have
begun. Answers the number of released messages, and the last id if there may be more.
"""

RELEASE = Script(
    _WAKE,
    _OWNER,
    """
local found, deliveries = owner_of(ARGV[3])
if found ~= 1 then return found end
local count = math.max(0, deliveries - 1)
redis.call('XCLAIM', STREAM, GROUP, RELEASED, 0, ARGV[3], 'TIME', 0, 'RETRYCOUNT', count, 'JUSTID')
wake()
return 1
""",
)
"""Releases one message, whose delivery isn't counted. Argument: id.

Answers, like the scripts below: 1 for success, 0 if another consumer owns the message, -1 if it is in the group no
more.
"""

RETRY = Script(
    _FIELDS,
    _WAKE,
    _PUT,
    _OWNER,
    """
local found = owner_of(ARGV[3])
if found ~= 1 then return found end
local about = fields(ARGV[3])
put(tonumber(ARGV[4]), ARGV[5], about.task or '', about.task_id or '', ARGV[6])
remove(ARGV[3])
return 1
""",
)
"""Replaces a message. Arguments: id, delay, data, a unique text."""

DEAD_LETTER = Script(
    _FIELDS,
    _OWNER,
    _HISTORY,
    _BURY,
    """
local found, deliveries = owner_of(ARGV[3])
if found ~= 1 then return found end
local failed = bury(ARGV[3], ME, 0, deliveries, ARGV[4], ARGV[5], ARGV[6])
if failed then return redis.error_reply(failed) end
return 1
""",
)
"""Makes a message a dead letter. Arguments: id, reason, detail, and the new data if any."""
