// What was found in the data directory of a stopped node, for people and for programs; and `log verify --deep --data-dir`.
import type { Command } from 'commander';
import type { DirectoryReport } from '../../server/offline_report.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, Output } from '../output.ts';
import { ProgressLine } from '../progress.ts';

/** Checks a directory and says what was found; exit code 1 when something is damaged. */
export async function verifyOffline(
  command: Command,
  context: CliContext,
  where: { readonly dataDir: string; readonly group: string },
): Promise<void> {
  const { reportOn } = await import('../../server/offline_report.ts');
  const output = new Output(context.stdout, globalOptionsOf(command).format);
  let read = 0;
  const line = new ProgressLine(context, output.format === 'text', () => `checking: ${grouped(read)} bytes read`);
  let report: DirectoryReport;
  try {
    report = await reportOn(where, (bytes) => {
      read += bytes;
    });
  } finally {
    line.stop();
  }
  await output.result(report, () => reportText(report).join('\n'));
  if (!report.sound) throw new QuietExit(exitCodes.failed);
}

/** The lines that say what is there and what is wrong with it. */
export function reportText(report: DirectoryReport): string[] {
  const { firstIndex, lastIndex, flushedIndex, appliedIndex, records, messages, bytes } = report;
  const rows: readonly (readonly [string, string])[] = [
    ['directory', report.directory],
    ['node', `${report.nodeId} of cluster ${report.cluster}, group ${report.group}`],
    ['records', `${grouped(firstIndex)} to ${grouped(lastIndex)}: ${grouped(records)} whole, ${grouped(bytes)} bytes`],
    [
      'vouched for',
      flushedIndex === null ? 'not known: the checkpoint is damaged or lost' : `up to ${grouped(flushedIndex)}`,
    ],
    ['applied', appliedIndex === null ? 'not known: the state is damaged' : `up to ${grouped(appliedIndex)}`],
    ['queues', `${grouped(messages)} messages compared with their units`],
    ['snapshots', report.snapshots.length === 0 ? 'none' : report.snapshots.map((one) => grouped(one)).join(', ')],
  ];
  const lines = rows.map(([name, value]) => `${name.padEnd(16)}${value}`);
  for (const { isVouched, file, position, end, firstIndex: from, lastIndex: to, reason } of report.gaps) {
    const which =
      to === null
        ? `from record ${grouped(from)} on`
        : from === to
          ? `record ${grouped(from)}`
          : `records ${grouped(from)} to ${grouped(to)}`;
    const where = `${file}, positions ${grouped(position)} to ${grouped(end)}`;
    lines.push(
      isVouched
        ? `DAMAGED         log: ${which}: ${where}: ${reason}`
        : `unfinished      ${which}: ${where}: no node has vouched for it; the next start cuts it`,
    );
  }
  for (const { what, file, reason } of report.findings) lines.push(`DAMAGED         ${what}: ${file}: ${reason}`);
  lines.push(report.sound ? 'nothing is damaged' : 'this directory is DAMAGED');
  return lines;
}
