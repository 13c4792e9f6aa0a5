import { Type } from '@sinclair/typebox'
import { milliseconds } from './setting-types.ts'

/** The settings of users' own plugins. */
export const pluginSettings = {
  plugins: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 10_000,
      fallback: 'none',
      description:
        'Fastify plugins of your own, separated by commas: files (./mine.js) or names of packages. They are registered after those of frequency.',
    }),
  ),
  enrichMsMax: milliseconds({
    default: 100,
    maximum: 60_000,
    description:
      'How long the enrich hooks of PLUGINS may take for the events of one request. Events that are not enriched by then are archived as they are.',
  }),
}

/** The entries of PLUGINS. */
export function parsePlugins(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map(entry => entry.trim())
    .filter(entry => entry !== '')
}
