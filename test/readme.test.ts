// The README says what is true: its settings are the schema's, its commands and files exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import type { Command } from 'commander';
import { errorTableMarkdown } from '../src/cli/error_table.ts';
import { buildProgram } from '../src/cli/program.ts';
import { configTableMarkdown } from '../src/config/explain.ts';

const root = resolve(import.meta.dirname, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** `topic create`, `up` …: every command that does something. */
function commandsOf(command: Command, path: readonly string[] = []): string[] {
  const children = command.commands.filter((child) => child.name() !== 'help');
  if (children.length === 0) return [path.join(' ')];
  return children.flatMap((child) => commandsOf(child, [...path, child.name()]));
}

describe('README', () => {
  it('has the table of settings that the schema makes', () => {
    const between = /<!-- settings:[^>]*-->\n([\s\S]*?)\n<!-- \/settings -->/.exec(readme)?.[1];
    expect(between).to.equal(configTableMarkdown());
  });

  it('has the table of errors that the code makes, with every status by its name', () => {
    const between = /<!-- errors:[^>]*-->\n([\s\S]*?)\n<!-- \/errors -->/.exec(readme)?.[1];
    expect(between).to.equal(errorTableMarkdown());
    expect(between).not.to.match(/\| [0-9]+ \|/);
  });

  it('names every command, and none that does not exist', () => {
    const stream = new PassThrough();
    const program = buildProgram({
      stdin: stream,
      stdout: stream,
      stderr: stream,
      env: {},
      isStderrTerminal: false,
      interrupted: () => new AbortController().signal,
    });
    const table = readme.slice(readme.indexOf('## Command line'), readme.indexOf('## Configuration'));
    const firstColumn = [...table.matchAll(/^\| (`.*?`) \|/gm)].map((row) => row[1]!);
    const named = firstColumn.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!));
    expect(named.sort()).to.deep.equal(commandsOf(program).sort());
  });

  it('names every script of the project for tests and benches, and none that does not exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
    const existing = Object.keys(scripts);
    const named = new Set([...readme.matchAll(/\b((?:test|bench|example)(?::[a-z-]+)+)/g)].map((match) => match[1]!));
    const run = [...readme.matchAll(/npm run (?:--silent )?([a-z][a-z:-]*)/g)].map((match) => match[1]!);
    expect(existing.filter((name) => /^(test|bench|example):/.test(name) && !named.has(name))).to.deep.equal([]);
    expect([...named, ...run].filter((name) => !existing.includes(name))).to.deep.equal([]);
  });

  const documents = ['README.md', ...readdirSync(join(root, 'src')).map((folder) => `src/${folder}/README.md`)];
  for (const document of documents.filter((path) => existsSync(join(root, path)))) {
    it(`${document} links to files that exist`, () => {
      const text = readFileSync(join(root, document), 'utf8');
      const links = [...text.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1]!);
      const missing = links.filter((link) => !existsSync(join(root, dirname(document), link)));
      expect(missing).to.deep.equal([]);
    });
  }

  it('src/rpc/README.md lists every file of its folder', () => {
    const text = readFileSync(join(root, 'src/rpc/README.md'), 'utf8');
    const files = readdirSync(join(root, 'src/rpc')).filter((name) => name.endsWith('.ts'));
    expect(files.filter((name) => !text.includes(`\`${name}\``))).to.deep.equal([]);
  });
});
