// tledger index rebuild
import type { Command } from 'commander';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { grouped, Output } from '../output.ts';
import { integer } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';

interface Options {
  readonly dataDir: string;
  readonly group: string;
  readonly upTo?: number;
}

const HELP = `
Makes everything that is derived from the log anew, from the log alone (and the snapshot where it begins, if older
records were deleted): log index, queues, key index, state. The result is byte for byte what a running replica has. The
log is read and checked first; when it is damaged nothing is changed. Interrupted, it may be repeated, and a node that is
started in between does the rest by itself.

State is made of committed records only. How far that is says the old state or the newest snapshot; what comes behind is
applied by the node when its group says that it is committed. With a state that is lost, --up-to takes your word for it:
a record that the group then decides otherwise about stops the node.

Example:
  tledger index rebuild --data-dir /var/lib/tledger --group g0`;

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  const index = program.command('index').description('what is derived from the log');
  index
    .command('rebuild')
    .description('make everything derived anew from the log of a stopped node')
    .requiredOption('--data-dir <directory>', "the node's data directory (required)")
    .option('--group <group>', 'the group', 'g0')
    .option('--up-to <index>', 'a record that is known to be committed (default: as the directory says)', integer(1))
    .addHelpText('after', HELP)
    .action(async (options: Options, command: Command) => {
      const { rebuildDirectory } = await import('../../server/rebuild.ts');
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      let read = 0;
      const line = new ProgressLine(context, output.format === 'text', () => `${grouped(read)} bytes read`);
      try {
        const { dataDir, group, upTo = null } = options;
        const onProgress = (bytes: number): void => {
          read += bytes;
        };
        const rebuilt = await rebuildDirectory({ dataDir, group, upTo, onProgress });
        await output.result(rebuilt, () => {
          const { directory, firstIndex, lastIndex, appliedIndex, topics } = rebuilt;
          return `${directory}: index of records ${grouped(firstIndex)} to ${grouped(lastIndex)}, queues and state of ${grouped(topics)} topics up to record ${grouped(appliedIndex)}`;
        });
      } finally {
        line.stop();
      }
    });
}
