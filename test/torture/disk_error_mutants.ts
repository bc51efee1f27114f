// Swallows errors of the disk on purpose, one line at a time, in a copy of the tree: `npm run test:disk-errors` must notice.
// `npm run test:disk-errors:mutants -- [--only name,name]`. Needs root, like the campaign. Exit code 1 when one survives.
import { Command } from 'commander';
import { type Break, runInCopy, tryBreaks } from '../chaos/breaking.ts';

interface DiskMutant extends Break {
  /** Which of the campaign's faults must notice. */
  readonly fault: string;
}

const file = 'src/storage/real_disk.ts';
const mutants: readonly DiskMutant[] = [
  {
    name: 'failed-flush-is-swallowed',
    file,
    original: "if (error) reject(diskError('flush', this.path, error));\n        else resolve();",
    replacement: 'resolve();',
    fault: 'fdatasync fails with EIO',
  },
  {
    name: 'failed-write-is-swallowed',
    file,
    original: "throw diskError('write', this.path, error);",
    replacement: 'return void error;',
    fault: 'pwrite64 fails with EIO',
  },
];

const values = new Command('npm run test:disk-errors:mutants --')
  .description('Swallows errors of the disk on purpose, in a copy of the tree: the campaign must notice.')
  .option('--only <names>', 'breaks by name, with commas; all by default')
  .parse()
  .opts<{ only?: string }>();
const survivors = await tryBreaks({
  breaks: mutants,
  only: values.only,
  control: async (copy, chosen) => {
    for (const { fault } of chosen) {
      const problem = await run(copy, fault);
      if (problem !== undefined) throw new Error(`the unbroken code fails: ${problem}`);
    }
  },
  notice: (copy, { fault }) => run(copy, fault),
});
process.exit(survivors === 0 ? 0 : 1);

/** @returns what the campaign found; undefined when nothing. @throws Error when it cannot run here. */
async function run(copy: string, fault: string): Promise<string | undefined> {
  const { code, said } = await runInCopy(copy, ['--import', 'tsx', 'test/torture/disk_errors.ts', '--only', fault]);
  if (said.startsWith('skipped')) throw new Error(said);
  if (code === 0) return undefined;
  return /PROBLEM (.*)/.exec(said)?.[1] ?? `exit code ${code}: ${said.slice(-200)}`;
}
