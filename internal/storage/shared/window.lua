-- Counts a request in a sliding window, or refuses it.
-- KEYS: 1 the marks. ARGV: limit, span ms, grain ms.
-- Answers the time to wait in ms; 0: it is counted.
-- A mark is "time:requests", the oldest first. Marks follow internal/dataplane/limit.
local limit, span, grain = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local marks, used, gone = redis.call('LRANGE', KEYS[1], 0, -1), 0, 0
local at, n = {}, {}
for i, m in ipairs(marks) do
  local a, b = string.match(m, '^(%d+):(%d+)$')
  at[i], n[i] = tonumber(a) or 0, tonumber(b) or 0
end
if #at > 0 and at[#at] > now then now = at[#at] end -- a clock that was set back stands still
for i = 1, #at do
  if now - at[i] >= span then gone = i else used = used + n[i] end
end
if gone > 0 then redis.call('LTRIM', KEYS[1], gone, -1) end
if used >= limit then
  for i = gone + 1, #at do
    used = used - n[i]
    if used < limit then return span - (now - at[i]) end
  end
  return span
end
local last = #at
if last > gone and grain > 0 and math.floor(now / grain) == math.floor(at[last] / grain) then
  redis.call('LSET', KEYS[1], -1, string.format('%.0f:%d', now, n[last] + 1))
else
  redis.call('RPUSH', KEYS[1], string.format('%.0f:1', now))
end
redis.call('PEXPIRE', KEYS[1], span)
return 0
