// Breaks the code on purpose, one line at a time, in a copy of the tree, and sees whether chaos on real processes notices:
// `npm run test:chaos:mutants -- [--only name,name] [--minutes 0.4] [--tries 3]`. What the simulator cannot see is broken
// here, too: clients, the forwarding of calls, leases of processes that stood still. Exit code 1 when one survives.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { type Break, runInCopy, tryBreaks } from './breaking.ts';
import type { FaultKind } from './faults.ts';
import type { ChaosReport } from './report.ts';

interface ChaosMutant extends Break {
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

const values = new Command('npm run test:chaos:mutants --')
  .description('Breaks the code on purpose, one line at a time, in a copy of the tree: chaos must notice.')
  .option('--only <names>', 'breaks by name, with commas; all by default')
  .option('--minutes <count>', 'of faults in one run', '0.4')
  .option('--tries <count>', 'runs until a break counts as unseen', '3')
  .parse()
  .opts<{ only?: string; minutes: string; tries: string }>();

/** What a run in the copy found broken; undefined when it did not get as far as a verdict. */
async function torment(copy: string, mutant: Pick<ChaosMutant, 'kinds' | 'settings'>): Promise<string[] | undefined> {
  const report = join(copy, 'report.json');
  rmSync(report, { force: true });
  const args = ['--import', 'tsx', 'test/chaos/main.ts', '--nodes', '3', '--rate', '800', '--report', report];
  args.push('--minutes', values.minutes, '--kinds', mutant.kinds.join(','));
  args.push(...(mutant.settings ?? []).flatMap((setting) => ['--set', setting]));
  await runInCopy(copy, args);
  try {
    const [{ verdict, dataDir }] = JSON.parse(readFileSync(report, 'utf8')) as [ChaosReport];
    if (dataDir !== null) rmSync(dataDir, { recursive: true, force: true });
    const broken = Object.entries(verdict.faults).filter(([, count]) => count > 0);
    return broken.map(([kind, count]) => `${kind} ${count}`);
  } catch {
    return undefined;
  }
}

const survivors = await tryBreaks({
  breaks: mutants,
  only: values.only,
  control: async (copy, chosen) => {
    const found = await torment(copy, { kinds: [...new Set(chosen.flatMap(({ kinds }) => kinds))] });
    if (found === undefined || found.length > 0) throw new Error(`the unbroken code fails: ${found}`);
  },
  notice: async (copy, mutant) => {
    for (let attempt = 1; attempt <= Number(values.tries); attempt++) {
      const found = await torment(copy, mutant);
      if (found === undefined) return `run ${attempt}: the group does not come up`;
      if (found.length > 0) return `run ${attempt}: ${found.join(', ')}`;
    }
    return undefined;
  },
});
process.exit(survivors === 0 ? 0 : 1);
