// Breaks the code on purpose, one line at a time, in a copy of the tree, and sees whether chaos on real processes notices:
// `npm run test:chaos:mutants -- [--only name,name] [--minutes 0.4] [--tries 3]`. What the simulator cannot see is broken
// here, too: clients, the forwarding of calls, leases of processes that stood still. Exit code 1 when one survives.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import type { FaultKind } from './faults.ts';
import type { ChaosReport } from './report.ts';

interface ChaosMutant {
  readonly name: string;
  /** Relative to the repository; `original` stands in it once. */
  readonly file: string;
  readonly original: string;
  readonly replacement: string;
  /** Under which it must be noticed. */
  readonly kinds: readonly FaultKind[];
  readonly settings?: readonly string[];
}

const mutants: readonly ChaosMutant[] = [
  {
    name: 'commit-alone',
    file: 'src/raft/quorum.ts',
    original: 'return sorted[this.#needed - 1]!;',
    replacement: 'return sorted[0]!;',
    kinds: ['isolate-leader', 'kill-leader'],
  },
  {
    name: 'forget-repeats',
    file: 'src/broker/admission.ts',
    original: 'if (before !== null && known === count) {',
    replacement: 'if (before !== null && known === count && count > 3) {',
    kinds: ['client-resets', 'kill-leader'],
  },
  {
    name: 'read-without-a-majority',
    file: 'src/raft/leadership.ts',
    original: 'if (config.leaseReads && commit >= this.#noopIndex) {',
    replacement:
      'if (commit >= this.#noopIndex) { outbox.reads.push({ token, index: commit }); return; } if (config.leaseReads) {',
    kinds: ['isolate-leader', 'pause-leader'],
  },
  {
    name: 'lease-without-end',
    file: 'src/raft/leadership.ts',
    original: 'if (this.#lease.isHeld(nowMs)) {',
    replacement: 'if (nowMs > 0) {',
    kinds: ['isolate-leader', 'pause-leader'],
    settings: ['reads=lease'],
  },
  {
    name: 'lost-means-not-sent',
    file: 'src/client/send_window.ts',
    original: 'entry.isDoubtful ||= entry.isWritten;\n      entry.isWritten = false;',
    replacement: 'entry.isWritten = false;',
    kinds: ['kill-all', 'cut-clients'],
  },
  {
    name: 'lost-on-the-way-means-unreachable',
    file: 'src/rpc/forwarder.ts',
    original: "const code = outstanding.sent ? 'OUTCOME_UNKNOWN' : 'UNREACHABLE';",
    replacement: "const code = 'UNREACHABLE';",
    kinds: ['kill-leader', 'isolate-leader', 'kill-all'],
  },
  {
    name: 'last-answer-counts',
    file: 'src/client/cluster.ts',
    original: 'if (!mayHaveHappened) return last;',
    replacement: 'if (last.code.length > 0) return last;',
    kinds: ['kill-all', 'kill-leader'],
  },
  {
    name: 'serve-what-is-not-committed',
    file: 'src/replica/waiters.ts',
    original: 'if (waiter !== null && waiter.lastIndex > appliedIndex) break;',
    replacement: 'if (waiter !== null && waiter.lastIndex > appliedIndex + 40) break;',
    kinds: ['isolate-leader', 'kill-leader'],
  },
];

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    minutes: { type: 'string', default: '0.4' },
    tries: { type: 'string', default: '3' },
  },
});

const root = resolve(import.meta.dirname, '../..');

/** The sources as they are now; what is installed is shared. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), 'tledger-chaos-mutants-'));
  for (const part of ['src', 'test', 'proto', 'package.json', 'tsconfig.json']) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'dir');
  return copy;
}

/** What a run in the copy found broken; undefined when it did not get as far as a verdict. */
async function torment(copy: string, mutant: Pick<ChaosMutant, 'kinds' | 'settings'>): Promise<string[] | undefined> {
  const report = join(copy, 'report.json');
  rmSync(report, { force: true });
  const args = ['--import', 'tsx', 'test/chaos/main.ts', '--nodes', '3', '--rate', '800', '--report', report];
  args.push('--minutes', values.minutes, '--kinds', mutant.kinds.join(','));
  args.push(...(mutant.settings ?? []).flatMap((setting) => ['--set', setting]));
  const child = spawn(process.execPath, args, { cwd: copy, stdio: 'ignore' });
  await new Promise((done) => child.once('exit', done));
  try {
    const [{ verdict, dataDir }] = JSON.parse(readFileSync(report, 'utf8')) as [ChaosReport];
    if (dataDir !== null) rmSync(dataDir, { recursive: true, force: true });
    const broken = Object.entries(verdict.faults).filter(([, count]) => count > 0);
    return broken.map(([kind, count]) => `${kind} ${count}`);
  } catch {
    return undefined;
  }
}

async function tryMutant(copy: string, mutant: ChaosMutant): Promise<string | undefined> {
  const path = join(copy, mutant.file);
  const source = readFileSync(path, 'utf8');
  const parts = source.split(mutant.original);
  if (parts.length !== 2) throw new Error(`${mutant.name}: its line stands ${parts.length - 1} times`);
  writeFileSync(path, parts.join(mutant.replacement));
  try {
    for (let attempt = 1; attempt <= Number(values.tries); attempt++) {
      const broken = await torment(copy, mutant);
      if (broken === undefined) return `run ${attempt}: the group does not come up`;
      if (broken.length > 0) return `run ${attempt}: ${broken.join(', ')}`;
    }
    return undefined;
  } finally {
    writeFileSync(path, source);
  }
}

const wanted = values.only?.split(',');
const chosen = mutants.filter(({ name }) => wanted === undefined || wanted.includes(name));
const copy = copyTree();
const table = new Table({ head: ['break', 'noticed'], style: { head: [], border: [] } });
let survivors = 0;
try {
  const kinds = [...new Set(chosen.flatMap((mutant) => mutant.kinds))];
  const control = await torment(copy, { kinds });
  if (control === undefined || control.length > 0) throw new Error(`the unbroken code fails: ${control}`);
  for (const mutant of chosen) {
    const noticed = await tryMutant(copy, mutant);
    if (noticed === undefined) survivors++;
    console.error(`${mutant.name}: ${noticed ?? 'SURVIVED'}`);
    table.push([mutant.name, noticed ?? 'SURVIVED']);
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
console.log(table.toString());
process.exit(survivors === 0 ? 0 : 1);
