//! The decision as one atomic step inside Redis: the arithmetic of `frazil_core::rate`, on the clock of Redis.
//!
//! A bucket is the text `<debt> <time>`, in millionths of a token and microseconds since the Unix epoch, and disappears when
//! the debt is paid. All numbers stay below 2^53, so that Lua's doubles hold them exactly.

/// `KEYS`: the buckets. `ARGV`: for each rate, burst and cost. Answers with the number of the bucket that has no room for the
/// longest time, or 0; that time in microseconds; and the debt of each bucket after all.
pub(super) const TAKE: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local debts, worst, longest = {}, 0, 0
for i, key in ipairs(KEYS) do
  local rate, burst, cost = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local debt = 0
  local stored = redis.call('GET', key)
  if stored then
    local owed, at = string.match(stored, '^(%d+) (%d+)$')
    if owed then
      debt = math.max(0, tonumber(owed) - rate * math.max(0, now - tonumber(at)))
    end
  end
  local over = debt + math.min(cost, burst) * 1000000 - burst * 1000000
  local wait = math.max(0, math.ceil(over / rate))
  if wait > longest then
    worst, longest = i, wait
  end
  debts[i] = debt
end
local answer = {worst, longest}
for i, key in ipairs(KEYS) do
  if worst == 0 then
    local rate, cost = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i])
    debts[i] = debts[i] + cost * 1000000
    if debts[i] > 0 then
      local lives = math.ceil(debts[i] / rate / 1000) + 1000
      redis.call('SET', key, string.format('%.0f %.0f', debts[i], now), 'PX', string.format('%.0f', lives))
    end
  end
  answer[i + 2] = debts[i]
end
return answer
";
