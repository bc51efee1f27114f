// tledger log dump: records one by one, as they lie in the files of a stopped node.
import type { Command } from 'commander';
import type { DescribedRecord } from '../../format/describe_record.ts';
import type { DumpLine } from '../../server/dump.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { Output } from '../output.ts';
import { integer } from '../parsing.ts';

interface Options {
  readonly dataDir: string;
  readonly group: string;
  readonly from?: number;
  readonly to?: number;
  readonly position?: number;
  readonly topic?: string;
  readonly queue?: number;
  readonly offset?: number;
  readonly max: number;
  readonly preview: number;
}

const HELP = `
The records of a stopped node's log, one a line: index, term, position, size, kind, whether it continues the chain of
checksums, and of messages topic, queue, offset, tag, keys, properties and the beginning of the body. Where records are
damaged or missing a line says so, and the dump goes on with the next record that can be told to be one: its chain is
"unknown", as nothing is left to continue. With --format json each line is a document: {"record":…} or {"gap":…}.

The directory is locked while it is read, and not changed; a node that runs is refused.

Examples:
  tledger log dump --data-dir /var/lib/tledger --from 1000 --max 20
  tledger log dump --data-dir /var/lib/tledger --topic orders --queue 0 --offset 500
  tledger log dump --data-dir /var/lib/tledger --position 1073741824 --format json | jq .record.index`;

/** Adds the command. */
export function registerDump(log: Command, context: CliContext): void {
  log
    .command('dump')
    .description('show the records of a stopped node one by one, behind damage too')
    .requiredOption('--data-dir <directory>', "the node's data directory (required)")
    .option('--group <group>', 'the group', 'g0')
    .option('--from <index>', 'the first record (default: the first one held)', integer(1))
    .option('--to <index>', 'the last record', integer(1))
    .option('--position <bytes>', 'from the record at or behind this position of the log', integer(0))
    .option('--topic <topic>', 'only messages of this topic')
    .option('--queue <n>', 'with --topic: only of this queue', integer(0))
    .option('--offset <n>', 'with --topic and --queue: from this offset on', integer(0))
    .option('--max <n>', 'records shown at most', integer(1), 100)
    .option('--preview <bytes>', 'bytes of each body shown', integer(0, 65_536), 64)
    .addHelpText('after', HELP)
    .action(async (options: Options, command: Command) => {
      if (options.queue !== undefined && options.topic === undefined) command.error('error: --queue goes with --topic');
      if (options.offset !== undefined && options.queue === undefined)
        command.error('error: --offset goes with --queue');
      const { dumpDirectory } = await import('../../server/dump.ts');
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      const lines: Promise<void>[] = [];
      await dumpDirectory({
        dataDir: options.dataDir,
        group: options.group,
        range: {
          fromIndex: options.from ?? null,
          toIndex: options.to ?? null,
          position: options.position ?? null,
          topic: options.topic ?? null,
          queueId: options.queue ?? null,
          offset: options.offset ?? null,
          countMax: options.max,
          previewBytes: options.preview,
        },
        onLine: (line) => {
          lines.push(output.result(line, () => lineText(line)));
        },
      });
      await Promise.all(lines);
    });
}

/** One line for people. */
export function lineText(line: DumpLine): string {
  if ('record' in line) return recordText(line.record);
  const { isVouched, firstIndex, lastIndex, file, position, end, reason } = line.gap;
  const what = isVouched ? '!! DAMAGED' : '!! unfinished';
  return `${what}: records ${firstIndex} to ${lastIndex ?? '…'}: ${file}, positions ${position} to ${end}: ${reason}`;
}

function recordText({ index, term, position, sizeBytes, kind, chain, message, preview }: DescribedRecord): string {
  const head = `${index} term ${term} at ${position} (${sizeBytes} bytes) chain ${chain} ${kind}`;
  if (message === null) return preview === '' ? head : `${head}: ${preview}`;
  const { topic, queueId, queueOffset, tag, keys, properties, bodyBytes } = message;
  const parts = [
    `${topic}/${queueId}/${queueOffset}`,
    ...(tag === null ? [] : [`tag=${tag}`]),
    ...(keys.length === 0 ? [] : [`keys=${keys.join(' ')}`]),
    ...Object.entries(properties).map(([name, value]) => `${name}=${value}`),
  ];
  const rest = bodyBytes > preview.length ? '…' : '';
  return `${head} ${parts.join(' ')}: ${preview}${rest}`;
}
