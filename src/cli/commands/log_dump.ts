// tledger log dump: records one by one, as they lie on the disk of a node, running or stopped.
import type { Command } from 'commander';
import { type DescribedRecord, type DumpRange, describeRecord, isAskedFor } from '../../format/describe_record.ts';
import type { DumpLine } from '../../server/dump.ts';
import type { ReadLogRequest } from '../../wire/admin_messages.ts';
import { type CliContext, globalOptionsOf, type Session, withSession } from '../context.ts';
import { Output } from '../output.ts';
import { integer } from '../parsing.ts';

interface Options {
  readonly dataDir?: string;
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
The records of a log, one a line: with --data-dir that of a stopped node, else the committed ones of the node that is
asked (give one with --endpoints; by default any). A line says: index, term, position, size, kind, whether it continues the chain of
checksums, and of messages topic, queue, offset, tag, keys, properties and the beginning of the body. Where records are
damaged or missing a line says so, and the dump goes on with the next record that can be told to be one: its chain is
"unknown", as nothing is left to continue. With --format json each line is a document: {"record":…} or {"gap":…}.

A directory is locked while it is read, and not changed; one that a node uses is refused.

Examples:
  tledger log dump --endpoints 127.0.0.1:8082 --from 1000 --max 20
  tledger log dump --data-dir /var/lib/tledger --from 1000 --max 20
  tledger log dump --data-dir /var/lib/tledger --topic orders --queue 0 --offset 500
  tledger log dump --data-dir /var/lib/tledger --position 1073741824 --format json | jq .record.index`;

/** Adds the command. */
export function registerDump(log: Command, context: CliContext): void {
  log
    .command('dump')
    .description('show the records of a node one by one, behind damage too')
    .option('--data-dir <directory>', 'the data directory of a stopped node, instead of a running one')
    .option('--group <group>', 'with --data-dir: the group', 'g0')
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
      const range: DumpRange = {
        fromIndex: options.from ?? null,
        toIndex: options.to ?? null,
        position: options.position ?? null,
        topic: options.topic ?? null,
        queueId: options.queue ?? null,
        offset: options.offset ?? null,
        countMax: options.max,
        previewBytes: options.preview,
      };
      const { dataDir, group } = options;
      if (dataDir === undefined) return withSession(command, context, (session) => dumpOnline(session, range));
      const { dumpDirectory } = await import('../../server/dump.ts');
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      const lines: Promise<void>[] = [];
      const onLine = (line: DumpLine): void => void lines.push(output.result(line, () => lineText(line)));
      await dumpDirectory({ dataDir, group, range, onLine });
      return Promise.all(lines).then(() => {});
    });
}

/** Page by page; records that were verified by the node are checked once more against each other here. */
async function dumpOnline({ client, output, timeoutMs }: Session, range: DumpRange): Promise<void> {
  const { topic, queueId, offset, position } = range;
  let request: Partial<ReadLogRequest> = { fromIndex: String(range.fromIndex ?? 1) };
  if (position !== null) request = { byPosition: true, position: String(position) };
  else if (topic !== null && queueId !== null && offset !== null) request = { topic, queueId, offset: String(offset) };
  let shown = 0;
  for (;;) {
    const page = await client.admin.readLog(request, { timeoutMs });
    for (const { index, record, damage } of page.records) {
      if (Number(index) > (range.toIndex ?? Number.POSITIVE_INFINITY) || shown >= range.countMax) return;
      if (damage !== '') {
        const line = { damaged: { index: Number(index), reason: damage } };
        await output.result(line, () => `!! DAMAGED: record ${index}: ${damage}`);
        continue;
      }
      const described = describeRecord(record, 0, { chain: 'ok', previewBytes: range.previewBytes });
      if (!isAskedFor(described, range)) continue;
      shown++;
      const line: DumpLine = { record: described };
      await output.result(line, () => lineText(line));
    }
    if (Number(page.nextIndex) > Number(page.appliedIndex) || shown >= range.countMax) return;
    request = { fromIndex: page.nextIndex };
  }
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
