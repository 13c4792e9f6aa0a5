/** The files in /etc/frequency. */
import { envFile } from '../test/documented-settings.ts'

const HEAD = `# Settings of frequency.service, frequency-ingest.service and frequency-archive.service.
# Remove the # before each setting that you change, then restart: systemctl restart frequency
# The role is set by the unit. Settings of one role are in ingest.env and archive.env beside this file, and win.
# Times take a unit (500ms, 10s, 5m, 24h), and so do sizes (64KiB, 16MiB, 1GB).
# frequency(1) has all of this, and the other commands.`

const OF_ROLE = {
  ingest: `# Settings of frequency-ingest.service alone. They win over those in env.
# Clients send events to HOST and PORT.
#HOST=127.0.0.1
#PORT=4000
`,
  archive: `# Settings of frequency-archive.service alone. They win over those in env.
# Nobody sends events here. The port has health, status and metrics, and must not be that of another unit.
#HOST=127.0.0.1
PORT=4001
`,
}

/** By file name. */
export function settingsFiles(): Record<string, string> {
  const { ingest, archive } = OF_ROLE
  // ROLE is a flag of each unit. The units have a DATA_DIR each.
  const env = envFile(HEAD, { ROLE: undefined, DATA_DIR: '/var/lib/frequency' })
  return { env, 'ingest.env': ingest, 'archive.env': archive }
}
