// What all campaigns of deliberate breaks share: a copy of the tree, one line of which is broken at a time, and the table of
// what became of it. A break that nobody notices is a fault of the tests.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import Table from 'cli-table3';

/** One line that is made wrong. */
export interface Break {
  readonly name: string;
  /** Relative to the repository; `original` stands in it once. */
  readonly file: string;
  readonly original: string;
  readonly replacement: string;
}

/** How a campaign goes about it. */
export interface Campaign<B extends Break> {
  readonly breaks: readonly B[];
  /** Names, separated by commas; all when undefined. */
  readonly only: string | undefined;
  /** Runs what must pass in the copy as it is. @throws Error when it does not: then being noticed means nothing. */
  readonly control: (copy: string, chosen: readonly B[]) => Promise<void>;
  /** Runs in the copy, which is broken now, what must notice. @returns how it was noticed; undefined when it was not. */
  readonly notice: (copy: string, broken: B) => Promise<string | undefined>;
}

const root = resolve(import.meta.dirname, '../..');
const PARTS = ['src', 'test', 'proto', 'package.json', 'tsconfig.json', '.mocharc.json'];

/** Tries each break and prints what became of it. @returns how many nobody noticed. */
export async function tryBreaks<B extends Break>({ breaks, only, control, notice }: Campaign<B>): Promise<number> {
  const wanted = only?.split(',');
  const chosen = breaks.filter(({ name }) => wanted === undefined || wanted.includes(name));
  const copy = copyTree();
  const table = new Table({ head: ['break', 'noticed'], style: { head: [], border: [] } });
  let survivors = 0;
  try {
    await control(copy, chosen);
    for (const one of chosen) {
      const noticed = await broken(copy, one, () => notice(copy, one));
      if (noticed === undefined) survivors++;
      console.error(`${one.name}: ${noticed ?? 'SURVIVED'}`);
      table.push([one.name, noticed ?? 'SURVIVED']);
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
  console.log(table.toString());
  return survivors;
}

/** Runs a file of the copy, or one of what is installed, with node. @returns its exit code (null after a signal) and what it said. */
export async function runInCopy(copy: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  const child = spawn(process.execPath, args, { cwd: copy, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, said };
}

/** The sources as they are now; what is installed is shared. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), 'tledger-mutants-'));
  for (const part of PARTS) cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'dir');
  return copy;
}

async function broken<T>(
  copy: string,
  { name, file, original, replacement }: Break,
  run: () => Promise<T>,
): Promise<T> {
  const path = join(copy, file);
  const source = readFileSync(path, 'utf8');
  const parts = source.split(original);
  if (parts.length !== 2) throw new Error(`${name}: its line stands ${parts.length - 1} times`);
  writeFileSync(path, parts.join(replacement));
  try {
    return await run();
  } finally {
    writeFileSync(path, source);
  }
}
