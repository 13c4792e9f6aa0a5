import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { delimiter } from 'node:path'
import { ensureServers, type ServerPackage } from '../../services/install.ts'
import {
  type Command,
  cachePath,
  install,
  type Language,
  NotHere,
  run,
  sourcePath,
  succeeds,
} from './language.ts'

const RUBY_PACKAGES = [{ name: 'ruby', binaries: ['ruby', 'gem'] }]
const PHP_PACKAGES = [
  { name: 'php-cli', binaries: ['php'] },
  { name: 'php-curl', binaries: ['php'] },
  { name: 'php-mbstring', binaries: ['php'] },
]
const COMPOSER_PACKAGES = [{ name: 'composer', binaries: ['composer'] }]
/** Exits with 1 if PHP lacks an extension that the library needs. */
const PHP_HAS_EXTENSIONS = 'exit((int)!(extension_loaded("curl") && extension_loaded("mbstring")));'
const RUBY_LIBRARY_VERSION = '2.5.0'

async function ensurePackages(packages: readonly ServerPackage[]): Promise<void> {
  await ensureServers(packages).catch(err => {
    throw new NotHere('the language could not be installed', { cause: err })
  })
}

async function ensureTool(file: string, ...args: string[]): Promise<void> {
  if (!(await succeeds({ file, args }))) throw new NotHere(`${file} is not on PATH`)
}

/** Whether the client program finds its library. Otherwise it cannot print the version. */
async function knowsLibrary(command: Command): Promise<boolean> {
  return await succeeds({ ...command, args: [...command.args, 'version'] })
}

/** Prepares a client with the library that is imported as `module`. */
async function preparePython(module: string): Promise<Command> {
  await ensureTool('python3', '--version')
  const interpreter = cachePath('python', 'bin/python')
  if (!(await succeeds({ file: interpreter, args: ['-m', 'pip', '--version'] }))) {
    const args = ['-m', 'venv', '--clear', cachePath('python')]
    await install('a virtual environment', { file: 'python3', args })
  }
  // If all packages are installed, pip makes no request.
  const args = ['-m', 'pip', 'install', '--quiet', '-r', sourcePath('python', 'requirements.txt')]
  await install('its library', { file: interpreter, args })
  return { file: interpreter, args: [sourcePath('python', 'client.py'), module] }
}

const python: Language = {
  name: 'Python',
  gzip: 'a setting',
  pauseMs: 50,
  prepare: () => preparePython('segment.analytics'),
}

const rudderPython: Language = {
  name: 'Python (RudderStack)',
  gzip: 'a setting',
  hasTraitsInContext: true,
  pauseMs: 50,
  prepare: () => preparePython('rudderstack.analytics'),
}

const ruby: Language = {
  name: 'Ruby',
  pauseMs: 20,
  async prepare() {
    await ensurePackages(RUBY_PACKAGES)
    const { GEM_PATH = '' } = process.env
    // An empty entry stands for Ruby's default path.
    const env = { GEM_PATH: [cachePath('ruby'), GEM_PATH].join(delimiter) }
    const command = { file: 'ruby', args: [sourcePath('ruby', 'client.rb')], env }
    // The library may be installed already, or be in a directory of RUBYLIB.
    if (await knowsLibrary(command)) return command
    const gem = ['analytics-ruby', '--version', RUBY_LIBRARY_VERSION, '--no-document']
    await install('its library', { file: 'gem', args: ['install', ...gem, '-i', cachePath('ruby')] })
    return command
  },
  async trusting(command, certificateFile) {
    return {
      ...command,
      env: { ...command.env, SSL_CERT_FILE: certificateFile },
    }
  },
}

const php: Language = {
  name: 'PHP',
  gzip: 'a setting',
  pauseMs: 20,
  async prepare() {
    await ensurePackages(PHP_PACKAGES)
    if (!(await succeeds({ file: 'php', args: ['-r', PHP_HAS_EXTENSIONS] }))) {
      throw new NotHere('its extensions curl and mbstring are missing')
    }
    const env = { CLIENT_AUTOLOAD: cachePath('php', 'vendor/autoload.php') }
    const command = { file: 'php', args: [sourcePath('php', 'client.php')], env }
    if (await knowsLibrary(command)) return command
    await ensurePackages(COMPOSER_PACKAGES)
    cpSync(sourcePath('php', 'composer.json'), cachePath('php', 'composer.json'))
    const args = ['install', '--no-interaction', '--quiet', '--working-dir', cachePath('php')]
    await install('its library', { file: 'composer', args, env: { COMPOSER_ALLOW_SUPERUSER: '1' } })
    return command
  },
  async trusting(command, certificateFile) {
    return {
      ...command,
      args: ['-d', `curl.cainfo=${certificateFile}`, ...command.args],
    }
  },
}

const go: Language = {
  name: 'Go',
  pauseMs: 50,
  async prepare() {
    await ensureTool('go', 'version')
    const cwd = cachePath('go')
    cpSync(sourcePath('go'), cwd, { recursive: true })
    const { GOFLAGS = '' } = process.env
    // `go get` writes the chosen versions and their checksums into go.mod and go.sum.
    const env = { GOFLAGS: `${GOFLAGS} -mod=mod`.trim() }
    await install('its library', { file: 'go', args: ['get', '.'], env }, cwd)
    await run({ file: 'go', args: ['build', '-o', 'client', '.'], env }, cwd)
    return { file: cachePath('go', 'client'), args: [] }
  },
}

/** Prepares a program `Client.java` with the library in the `pom.xml` beside it. */
async function prepareJava(directory: string): Promise<Command> {
  await ensureTool('javac', '-version')
  const [lib, classes] = [cachePath(directory, 'lib'), cachePath(directory, 'classes')]
  const pom = sourcePath(directory, 'pom.xml')
  const installed = cachePath(directory, 'pom.xml')
  if (!existsSync(installed) || !readFileSync(pom).equals(readFileSync(installed))) {
    await ensureTool('mvn', '--version')
    rmSync(lib, { recursive: true, force: true })
    const args = ['--batch-mode', '--quiet', '--file', pom, 'dependency:copy-dependencies']
    await install('its library', { file: 'mvn', args: [...args, `-DoutputDirectory=${lib}`] })
    cpSync(pom, installed)
  }
  const compiled = ['-cp', `${lib}/*`, '-d', classes, sourcePath(directory, 'Client.java')]
  await run({ file: 'javac', args: compiled })
  return { file: 'java', args: ['-cp', `${lib}/*${delimiter}${classes}`, 'Client'] }
}

const java: Language = {
  name: 'Java',
  gzip: 'an interceptor of the program',
  // AnalyticsClient.BatchUploadTask sleeps on the only thread that sends. The wait cannot be set.
  silenceMs: [15_000, 30_000],
  pauseMs: 50,
  prepare: () => prepareJava('java'),
}

const kotlin: Language = {
  name: 'Kotlin',
  gzip: 'the library, always',
  hasNoPage: true,
  pauseMs: 50,
  prepare: () => prepareJava('kotlin'),
  async trusting(command, certificateFile) {
    const store = `${certificateFile}.p12`
    const keys = ['-keystore', store, '-storepass', 'not secret', '-storetype', 'PKCS12']
    await run({ file: 'keytool', args: ['-importcert', '-noprompt', '-file', certificateFile, ...keys] })
    const options = [`-Djavax.net.ssl.trustStore=${store}`, '-Djavax.net.ssl.trustStorePassword=not secret']
    return { ...command, args: [...options, ...command.args] }
  },
}

export const LANGUAGES: readonly Language[] = [python, rudderPython, ruby, php, go, java, kotlin]
