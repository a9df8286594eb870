-- Counts a request of a client token if every limit allows it.
-- KEYS: 1 the marks of its minute, 2 what instances used on the day, 3 what runs on them.
-- ARGV: 1 field of this count, 2 number of this count, 3 requests and 4 tokens of this
--   count with the request in it, 5 requests and 6 tokens before all counts, 7 running
--   with the request in it; limits: 8 per minute, 9 span ms, 10 grain ms, 11 per day,
--   12 tokens per day, 13 concurrent; 14 how long the day is kept and 15 a running
--   request holds, in ms.
-- Answers {admitted, time, requests of the minute, wait for the minute ms, requests and
--   tokens of the day, running}, in which the request is counted if it was admitted.
local field, number = ARGV[1], tonumber(ARGV[2])
local requests, tokens, running = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[7])
local per_minute, span, grain = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local per_day, tokens_per_day, concurrent = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local admitted, wait = true, 0

-- The day: what was used before, and the counts of the instances. Each is "number:requests:tokens".
local day_requests, day_tokens, own_newer = 0, 0, false
if per_day > 0 or tokens_per_day > 0 then
  redis.call('HSETNX', KEYS[2], 'before', '0:' .. ARGV[5] .. ':' .. ARGV[6])
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local num, r, k = string.match(all[i + 1], '^(%d+):(%-?%d+):(%-?%d+)$')
    if num then
      if all[i] ~= field then
        day_requests, day_tokens = day_requests + tonumber(r), day_tokens + tonumber(k)
      elseif tonumber(num) > number then
        own_newer = { tonumber(r), tonumber(k) }
      end
    end
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[14])
  if per_day > 0 and day_requests + requests > per_day then admitted = false end
  if tokens_per_day > 0 and day_tokens + tokens >= tokens_per_day then admitted = false end
end

-- What runs, by instance. Each is "number:running:valid until".
local others, run_newer = 0, false
if concurrent > 0 then
  local all = redis.call('HGETALL', KEYS[3])
  for i = 1, #all, 2 do
    local num, n, til = string.match(all[i + 1], '^(%d+):(%d+):(%d+)$')
    if not num or tonumber(til) <= now then
      redis.call('HDEL', KEYS[3], all[i])
    elseif all[i] ~= field then
      others = others + tonumber(n)
    elseif tonumber(num) > number then
      run_newer = tonumber(n)
    end
  end
  if others + running > concurrent then admitted = false end
end

-- The minute, as in window.lua.
local at, n, used, gone = {}, {}, 0, 0
if per_minute > 0 then
  for i, m in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    local a, b = string.match(m, '^(%d+):(%d+)$')
    at[i], n[i] = tonumber(a) or 0, tonumber(b) or 0
  end
  if #at > 0 and at[#at] > now then now = at[#at] end
  for i = 1, #at do
    if now - at[i] >= span then gone = i else used = used + n[i] end
  end
  if gone > 0 then redis.call('LTRIM', KEYS[1], gone, -1) end
  if used >= per_minute then
    admitted = false
    local left = used
    for i = gone + 1, #at do
      left = left - n[i]
      if left < per_minute then
        wait = span - (now - at[i])
        break
      end
    end
  end
end

if not admitted then
  requests, running = requests - 1, running - 1
else
  if per_minute > 0 then
    used = used + 1
    local last = #at
    if last > gone and grain > 0 and math.floor(now / grain) == math.floor(at[last] / grain) then
      redis.call('LSET', KEYS[1], -1, string.format('%.0f:%d', now, n[last] + 1))
    else
      redis.call('RPUSH', KEYS[1], string.format('%.0f:1', now))
    end
    redis.call('PEXPIRE', KEYS[1], span)
  end
  if (per_day > 0 or tokens_per_day > 0) and not own_newer then
    redis.call('HSET', KEYS[2], field, string.format('%.0f:%.0f:%.0f', number, requests, tokens))
  end
  if concurrent > 0 then
    if not run_newer then
      redis.call('HSET', KEYS[3], field, string.format('%.0f:%d:%.0f', number, running, now + ARGV[15]))
    end
    redis.call('PEXPIRE', KEYS[3], ARGV[15] * 2)
  end
end
if own_newer then requests, tokens = own_newer[1], own_newer[2] end
if run_newer then running = run_newer end
return { admitted and 1 or 0, now, used, wait, day_requests + requests, day_tokens + tokens, others + running }
