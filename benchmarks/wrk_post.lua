-- wrk --script wrk_post.lua URL -- PATH CONTENT-TYPE FOLDER COUNT
-- Sends the files 1 .. COUNT of FOLDER as bodies of POST requests, in turns, and prints one line of JSON at the end.

local requests, position = {}, 0

function init(arguments)
  local path, content_type, folder, count = arguments[1], arguments[2], arguments[3], tonumber(arguments[4])
  for number = 1, count do
    local file = assert(io.open(folder .. "/" .. number, "rb"))
    local headers = { ["Content-Type"] = content_type }
    requests[number] = wrk.format("POST", path, headers, file:read("*a"))
    file:close()
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'wrk-result {"answers": %d, "duration_us": %d, ' ..
      '"latency_us": {"p50": %d, "p95": %d, "p99": %d, "max": %d}, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout
  ))
end
