-- Sends each line of a file as the body of a POST, again from the first line after the last, and prints the figures
-- as one line of JSON. A line may begin with a path and a blank. ID in a line is replaced by a new random UUID.
--
--     wrk … -s wrk.lua URL -- FILE [PAUSE_MS]
--
-- PAUSE_MS: pause of each connection before a request; default: no pause.

local ID = "00000000-0000-4000-8000-000000000000"

local requests = {}
local index = 0
local digits, versions, variants = {}, {}, {}
local random = math.random

-- A seed from the clock would give two runs in the same second the same ids.
local function seed()
  local source = io.open("/dev/urandom", "rb")
  local number = 0
  for _, byte in ipairs({ source:read(6):byte(1, 6) }) do number = number * 256 + byte end
  source:close()
  math.randomseed(number)
end

local function makeDigits()
  for n = 0, 65535 do digits[n] = string.format("%04x", n) end
  for n = 0, 4095 do versions[n] = string.format("-4%03x-", n) end
  for n = 0, 16383 do variants[n] = string.format("%04x-", 32768 + n) end
end

local function uuid()
  return digits[random(0, 65535)] .. digits[random(0, 65535)] .. "-" .. digits[random(0, 65535)]
    .. versions[random(0, 4095)] .. variants[random(0, 16383)]
    .. digits[random(0, 65535)] .. digits[random(0, 65535)] .. digits[random(0, 65535)]
end

-- Text, id, text, id, …, text.
local function split(text)
  local parts, from = {}, 1
  while true do
    local first, last = text:find(ID, from, true)
    if first == nil then break end
    parts[#parts + 1] = text:sub(from, first - 1)
    parts[#parts + 1] = ID
    from = last + 1
  end
  parts[#parts + 1] = text:sub(from)
  return parts
end

function init(args)
  seed()
  makeDigits()
  local headers = { ["content-type"] = "application/json" }
  for line in io.lines(args[1]) do
    local path, body = line:match("^(/%S*) (.*)$")
    requests[#requests + 1] = split(wrk.format("POST", path, headers, body or line))
  end
  local pause = tonumber(args[2])
  if pause ~= nil then delay = function() return pause end end
end

function request()
  index = index % #requests + 1
  local parts = requests[index]
  if #parts == 1 then return parts[1] end
  for n = 2, #parts, 2 do parts[n] = uuid() end
  return table.concat(parts)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"answers":%d,"us":%d,"refused":%d,"failed":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
