"""Lua scripts about a queue as a whole: consumers, dead letters, depth. See `lua` for common parts."""

from __future__ import annotations

from bandmaster.contrib.taskiq.streams.lua import Script

REMOVE_SILENT_CONSUMERS = Script("""
local gone = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', STREAM, GROUP)) do
  local about = {}
  for index = 1, #consumer, 2 do about[consumer[index]] = consumer[index + 1] end
  if about.name ~= ME and about.pending == 0 and about.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, about.name)
    gone = gone + 1
  end
end
return gone
""")
"""Removes consumers that were silent for longer than the argument. Redis drops the messages of a removed consumer, so
consumers with messages stay."""

REMOVE_CONSUMER = Script("""
if #redis.call('XPENDING', STREAM, GROUP, '-', '+', 1, ME) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, ME)
return 1
""")
"""Removes this consumer, unless it has messages: Redis would drop them."""

REPLAY = Script("""
local sent = {}
for index = 3, #ARGV, 2 do
  local found, about = redis.call('XRANGE', DEAD, ARGV[index], ARGV[index])[1], {}
  if found then
    for field = 1, #found[2], 2 do about[found[2][field]] = found[2][field + 1] end
    redis.call('XADD', STREAM, '*', 'data', ARGV[index + 1], 'task', about.task or '', 'task_id', about.task_id or '')
    redis.call('XDEL', DEAD, ARGV[index])
    sent[#sent + 1] = ARGV[index]
  end
end
return sent
""")
"""Sends dead letters again and removes them. Arguments: ids, each with the data to send. Answers the found ids."""

PURGE = Script("""
local count = redis.call('XLEN', DEAD)
redis.call('DEL', DEAD)
return count
""")
"""Deletes all dead letters. Answers their number."""

DEPTH = Script("""
local held, returned, wakeups = 0, 0, 0
local pending = redis.pcall('XPENDING', STREAM, GROUP)
if not pending.err then
  for _, consumer in ipairs(pending[4] or {}) do
    if consumer[1] ~= RELEASED then held = held + tonumber(consumer[2]) end
  end
  local id = redis.call('HGET', HISTORY, 'wakeup')
  local read = id and redis.call('XPENDING', STREAM, GROUP, id, id, 1)[1]
  if read and read[2] ~= RELEASED then held = held - 1 end
end
local id = redis.call('HGET', HISTORY, 'wakeup')
if id and #redis.call('XRANGE', STREAM, id, id) > 0 then wakeups = 1 end
local waiting = redis.call('XLEN', STREAM) - held - wakeups
local time, oldest = now(), 0
local function note_first(entries)
  for _, entry in ipairs(entries) do
    if entry[1] ~= id then
      oldest = math.max(oldest, time - tonumber(string.match(entry[1], '^%d+')))
      return
    end
  end
end
local unread, groups = '-', redis.pcall('XINFO', 'GROUPS', STREAM)
if not groups.err then
  for _, group in ipairs(groups) do
    local about = {}
    for index = 1, #group, 2 do about[group[index]] = group[index + 1] end
    if about.name == GROUP then unread = '(' .. about['last-delivered-id'] end
  end
end
note_first(redis.call('XRANGE', STREAM, unread, '+', 'COUNT', 2))
if not pending.err then note_first(redis.call('XPENDING', STREAM, GROUP, '-', '+', 2, RELEASED)) end
local due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
if due[2] then oldest = math.max(oldest, time - tonumber(due[2])) end
return {waiting, held, redis.call('ZCARD', DELAYED), redis.call('XLEN', DEAD), oldest}
""")
"""Answers the numbers of waiting, held, delayed and dead messages, and the milliseconds that the oldest has waited."""
