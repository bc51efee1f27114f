// tledger log repair: what is damaged in the data directory of a stopped node, and what can be done without its peers.
import type { Command } from 'commander';
import type { Loss, RepairPlan, RepairStep } from '../../server/repair.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, Output } from '../output.ts';
import { integer } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';
import { reportText } from './log_survey.ts';

interface Options {
  readonly dataDir: string;
  readonly group: string;
  readonly dryRun?: boolean;
  readonly cutFrom?: number;
}

const HELP = `
Reads everything in the directory of a stopped node, says what is damaged, and repairs what it can without the other
members: what is derived (log index, queues, state) is made anew from the log; a small file of which one of two copies is
damaged gets both again; a write that was not finished is cut, as any start does. --dry-run only says what would be done.

A damaged record that this node vouched for is never cut by itself: start the node in its group instead, and it fetches
the record from the others. Only where no other member has it any more, --cut-from with exactly the first damaged record
cuts the log there. It says before what that loses: acknowledged messages may be among them. A member of a group with
others must not go on after that, since it promised what it does not have any more: remove it, delete its data, add it.

Exit code 0: nothing is damaged (any more). 1: it is, or --dry-run found something to do.

Examples:
  tledger log repair --data-dir /var/lib/tledger --dry-run
  tledger log repair --data-dir /var/lib/tledger --group g0
  tledger log repair --data-dir /var/lib/tledger --cut-from 81234`;

/** Adds the command. */
export function registerRepair(log: Command, context: CliContext): void {
  log
    .command('repair')
    .description('say what is damaged in a stopped node, and repair what needs no other member')
    .requiredOption('--data-dir <directory>', "the node's data directory (required)")
    .option('--group <group>', 'the group', 'g0')
    .option('--dry-run', 'change nothing')
    .option('--cut-from <index>', 'give up all records from the first damaged one on, which must be this', integer(1))
    .addHelpText('after', HELP)
    .action(async (options: Options, command: Command) => {
      const { repairDirectory } = await import('../../server/repair.ts');
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      let read = 0;
      const line = new ProgressLine(context, output.format === 'text', () => `checking: ${grouped(read)} bytes read`);
      try {
        const repaired = await repairDirectory({
          dataDir: options.dataDir,
          group: options.group,
          dryRun: options.dryRun === true,
          cutFrom: options.cutFrom ?? null,
          onProgress: (bytes) => {
            read += bytes;
          },
          onPlan: (plan) => {
            // Before anything is changed: also when the rest goes wrong, this was said.
            if (output.format === 'text') context.stderr.write(`${planText(plan).join('\n')}\n`);
          },
        });
        const { after, report } = repaired;
        const sound = after === null ? report.sound && repaired.steps.length === 0 : after.sound;
        const document = { ...repaired, changed: after !== null, sound };
        await output.result(document, () => verdictText(after !== null, sound));
        if (!sound) throw new QuietExit(exitCodes.failed);
      } finally {
        line.stop();
      }
    });
}

function planText({ report, steps, loss }: RepairPlan): string[] {
  const lines = [...reportText(report), ...steps.map(stepText)];
  return loss === null ? lines : [...lines, ...lossText(loss)];
}

function stepText({ action, what, why }: RepairStep): string {
  return `${(action === 'none' ? 'cannot repair' : action).padEnd(16)}${what}: ${why}`;
}

function lossText({ fromIndex, lastIndex, flushedIndex, readable, unreadable, messages }: Loss): string[] {
  const vouched = flushedIndex === null ? '' : `, vouched for up to ${grouped(flushedIndex)}`;
  const lines = [
    `Cutting the log from record ${grouped(fromIndex)} on (--cut-from ${fromIndex}) loses for good, on this node:`,
    `- records ${grouped(fromIndex)} to ${grouped(Math.max(lastIndex, flushedIndex ?? 0))}${vouched}: ${grouped(unreadable)} that cannot be read, ${grouped(readable)} that can`,
  ];
  for (const { topic, queueId, count, firstOffset, lastOffset } of messages) {
    const range = `offsets ${grouped(firstOffset)} to ${grouped(lastOffset)}`;
    lines.push(`- of these, ${grouped(count)} messages of topic ${topic}, queue ${queueId}: ${range}`);
  }
  return lines;
}

function verdictText(changed: boolean, sound: boolean): string {
  if (changed) return sound ? 'repaired: nothing is damaged any more' : 'repaired in part: see what is left above';
  return sound ? 'nothing to repair' : 'nothing was changed';
}
