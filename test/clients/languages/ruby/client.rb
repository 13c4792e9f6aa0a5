# frozen_string_literal: true

# Sends calls by the gem analytics-ruby. Arguments and output: see ../client.ts.
require 'segment/analytics'
require 'uri'

$stdout.sync = true
command, *numbers = ARGV
if command == 'version'
  puts "Ruby #{RUBY_VERSION}, analytics-ruby #{Segment::Analytics::VERSION}"
  exit
end
count, batch, pause_ms = numbers.map(&:to_i)

errors = []
url = URI(ENV.fetch('CLIENT_URL'))
# Without `ssl`: the library always uses TLS.
client = Segment::Analytics.new(
  write_key: ENV.fetch('CLIENT_WRITE_KEY'),
  host: url.host,
  port: url.port,
  batch_size: batch || 100,
  on_error: proc { |status, error| errors << "#{status} #{error}".tr("\n", ' ') }
)

# The library does not name the calls of an error, so the error counts for all calls since the last report.
report = lambda do |calls|
  client.flush
  calls.each { |number| puts errors.empty? ? "sent #{number}" : "lost #{number} #{errors.last}" }
  errors.clear
end

if command == 'calls'
  client.identify(user_id: '1', traits: { plan: 'pro' })
  client.track(
    user_id: '2', event: 'Signed Up', properties: { seats: 3 }, timestamp: Time.utc(2026, 1, 2, 3, 4, 5)
  )
  client.page(user_id: '3', name: 'Start', properties: { path: '/' })
  client.screen(user_id: '4', name: 'Home', properties: { dark: true })
  client.group(user_id: '5', group_id: 'g1', traits: { name: 'Acme' })
  client.alias(user_id: '6', previous_id: 'a1')
  report.call(1..6)
else
  (1..count).each_slice(batch) do |calls|
    calls.each { |number| client.track(user_id: number.to_s, event: 'Counted', properties: { n: number }) }
    report.call(calls)
    $stdin.gets if calls.include?(count / 4 * 3)
    sleep(pause_ms / 1000.0)
  end
end
