-- Adds up the threads' `good` and `bad`, and prints one line for the harness:
-- BENCH <right answers> <wrong answers> <broken connections> <microseconds> <bytes read>
local threads = {}

function setup(thread) table.insert(threads, thread) end

function done(summary, _, _)
  local counted_good, counted_bad = 0, 0
  for _, thread in ipairs(threads) do
    counted_good = counted_good + thread:get("good")
    counted_bad = counted_bad + thread:get("bad")
  end
  if not response then -- wrk itself counted the statuses
    counted_bad = summary.errors.status
    counted_good = summary.requests - counted_bad
  end
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("\nBENCH %d %d %d %d %.0f\n", counted_good, counted_bad, broken, summary.duration, summary.bytes))
end
