/** Which documents of the repository are pages of the site, under which path, and in which order of the sidebar. */

/** Documents outside `docs`. All others keep their path below `docs`. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'site/index.md': 'index.md',
  'README.md': 'first-steps.md',
  'CHANGELOG.md': 'changelog.md',
  'CONTRIBUTING.md': 'contributing.md',
  'SECURITY.md': 'security.md',
  'bench/README.md': 'bench.md',
  'docs/decisions/README.md': 'decisions/index.md',
}

/** @param source path of a file from the root of the repository. @returns the path of its page; undefined if it is no page */
export function pageOf(source: string): string | undefined {
  return ELSEWHERE[source] ?? /^docs\/(.+\.md)$/.exec(source)?.[1]
}

/** @param page a path that pageOf() has returned */
export function sourceOf(page: string): string {
  return Object.keys(ELSEWHERE).find(source => ELSEWHERE[source] === page) ?? `docs/${page}`
}

export interface SidebarGroup {
  text: string
  items: { text: string; link: string }[]
}

export const SIDEBAR: SidebarGroup[] = [
  group('Begin', {
    'First steps': '/first-steps',
    'How does it compare?': '/comparison',
  }),
  group('Send events', {
    'The HTTP API': '/http-api',
    Clients: '/clients',
    'Write keys, limits, proxies': '/access',
  }),
  group('Run it', {
    Deployment: '/deployment',
    Settings: '/settings',
    'The single executable': '/binary',
    'systemd and .deb': '/systemd',
    'Containers and Compose': '/container',
    'Kubernetes and Helm': '/kubernetes',
    Upgrading: '/upgrading',
  }),
  group('Watch and repair it', {
    Operations: '/operations',
    Commands: '/commands',
    Traces: '/tracing',
  }),
  group('Use the archive', {
    'What is in it': '/archive',
    'SQL: query': '/query',
    'Parquet and Iceberg': '/lake',
    'Sending it again: replay': '/replay',
    Retention: '/retention',
    Erasure: '/erasure',
  }),
  group('Extend it', {
    'Plugins of your own': '/plugins',
    'In your own server': '/embedding',
  }),
  group('Know how it works', {
    'What the words mean': '/glossary',
    Architecture: '/architecture',
    'What is delivered': '/delivery',
    'How fast is it?': '/bench',
  }),
  group('Change it', {
    Contributing: '/contributing',
    Releases: '/releasing',
    Changelog: '/changelog',
    Security: '/security',
  }),
]

function group(text: string, pages: Readonly<Record<string, string>>): SidebarGroup {
  return { text, items: Object.entries(pages).map(([text, link]) => ({ text, link })) }
}
