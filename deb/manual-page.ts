/** The manual page frequency(1), in roff: the help of all commands. */
import type { Command } from 'commander'
import { createProgram } from '../bin/commands.ts'

const FILES = `.TP
.I /etc/frequency/env
Settings of all units.
.TP
.I /etc/frequency/ingest.env\\fR, \\fI/etc/frequency/archive.env
Settings of the units of one role. They win over those in
.IR env .
.TP
.I /var/lib/frequency\\fR, \\fI/var/lib/frequency-ingest\\fR, \\fI/var/lib/frequency-archive
.B DATA_DIR
of each unit. Events that are not archived yet are there. Do not delete them.
.TP
.I .env
Settings in the working directory, for a program that no unit started.`
const SEE_ALSO = `.BR systemctl (1),
.BR journalctl (1).
.PP
.I /usr/share/doc/frequency/systemd.md.gz
says how to set up and upgrade the units.`

export function manualPage(version: string, date: Date): string {
  const program = createProgram()
  const commands = program.commands
  return `${[
    `.TH FREQUENCY 1 "${date.toISOString().slice(0, 10)}" "frequency ${version}" "User Commands"`,
    '.SH NAME',
    'frequency \\- take analytics events over HTTP, and archive them',
    '.SH SYNOPSIS',
    '.B frequency',
    '.I command\\fR [\\fIoption\\fR ...]',
    '.SH DESCRIPTION',
    escaped(program.description()),
    '.SH COMMANDS',
    ...commands.flatMap(sections),
    '.SH FILES',
    FILES,
    '.SH SEE ALSO',
    SEE_ALSO,
  ].join('\n')}\n`
}

/** Of a command, and of the commands below it. */
function sections(command: Command): string[] {
  const help = command.createHelp()
  const options = help
    .visibleOptions(command)
    .filter(({ long }) => long !== '--help')
    .flatMap(option => ['.TP', `.B ${escaped(option.flags)}`, escaped(help.optionDescription(option))])
  const own = [
    `.SS "${escaped(help.commandUsage(command))}"`,
    escaped(help.commandDescription(command)),
    ...options,
    ...paragraphs(textAfterHelp(command)),
  ]
  const below = command.commands.filter(each => each.name() !== 'help')
  return [...own, ...below.flatMap(sections)]
}

/** What a command has added to its help by `addHelpText('after', …)`. */
function textAfterHelp(command: Command): string {
  const parts: string[] = []
  command.configureOutput({ writeOut: part => void parts.push(part) }).outputHelp()
  return parts.join('').slice(command.helpInformation().length)
}

function paragraphs(text: string): string[] {
  return text
    .trim()
    .split(/\n\s*\n/)
    .filter(each => each !== '')
    .flatMap(each => ['.PP', ...(/^ {2,}/m.test(each) ? ['.nf', escaped(each), '.fi'] : [escaped(each)])])
}

/** Hyphens that can be pasted, and no line that roff takes for a request. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replace(/^([.'])/gm, '\\&$1')
}
