// tledger import: a stopped store of RocketMQ into a running group.
import type { Command } from 'commander';
import { Option } from 'commander';
import { TLedgerError } from '../../base/errors.ts';
import type { ImportProgress } from '../../import/importer.ts';
import type { Source } from '../../import/source.ts';
import type { Tally } from '../../import/tally.ts';
import { type CliContext, globalOptionsOf, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { duration, grouped, Output, table } from '../output.ts';
import { countByName, list } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';

interface Options {
  readonly dryRun?: boolean;
  readonly topic?: string[];
  readonly includeRetry?: boolean;
  readonly includeDlq?: boolean;
  readonly compressed: 'fail' | 'keep' | 'skip';
  readonly skipRefused?: boolean;
  readonly skipDamaged?: boolean;
  readonly merge?: boolean;
  readonly queues?: readonly (readonly [string, number])[];
  readonly storeId?: string;
  readonly progressFile?: string;
  readonly offsets?: string;
  readonly progress: boolean;
}

const HELP = `
STORE is the store directory of a RocketMQ broker that is stopped: the one with commitlog/ or dledger-<id>/ in it. Of a
DLedger group take the member that was the leader last. It is only read.

What is carried over, each queue in its order: body (zlib is undone), tag, keys, UNIQ_KEY, the user's properties, born time
and host, flag. RocketMQ's own properties get the prefix RMQ_ (WAIT is left out); IMPORT_STORE_TIMESTAMP and
IMPORT_QUEUE_OFFSET say what the message had before, IMPORT_ORIGIN where it comes from. Topics are made with their queues.
What stays behind is counted by reason, never dropped silently; see it before with --dry-run.

May be interrupted, killed and begun again: nothing is lost or doubled, since each message in the group says where it comes
from. Not to be run twice at the same time.

Damage ends it with file and position, unless --skip-damaged. What a killed broker left unfinished at the end is no damage.

Writes two files here: <id>.progress.json, by which a second run knows sooner where to go on, and <id>.offsets.json:
which offsets became which, and where each consumer group goes on.

Examples:
  tledger import /var/rocketmq/store --dry-run
  tledger import /var/rocketmq/store --endpoints 10.0.0.1:8081,10.0.0.2:8081
  tledger import /var/rocketmq/store/dledger-n0 --topic orders --topic payments`;

/** How long one frame may take, elections included. */
const SEND_TIMEOUT_MS = 60_000;

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  program
    .command('import')
    .description('carry the messages of a stopped RocketMQ or DLedger store over into the group')
    .argument('<store>', 'the store directory')
    .option('--dry-run', 'say what is there and what would stay behind; needs no group')
    .option('--topic <topic>', 'only this topic (may be given several times)', list(String))
    .option('--include-retry', 'take messages along that wait for another attempt (%RETRY%…)')
    .option('--include-dlq', 'take dead letters along (%DLQ%…)')
    .addOption(
      new Option('--compressed <how>', 'bodies in LZ4 or ZSTD: stop there, keep them as they are, leave them')
        .choices(['fail', 'keep', 'skip'])
        .default('fail'),
    )
    .option('--skip-refused', 'leave messages that the group does not take, instead of stopping')
    .option('--skip-damaged', 'go on behind damage, instead of stopping')
    .option('--merge', 'append to queues that hold messages of others, too')
    .option('--queues <topic=n>', 'number of queues of a topic, if the store does not say', list(countByName))
    .option('--store-id <id>', '16 hex digits (default: made from the first message of the store)')
    .option(
      '--progress-file <file>',
      'where to remember how far it has come (default: tledger-import-<id>.progress.json)',
    )
    .option('--offsets <file>', 'where to write the new offsets (default: tledger-import-<id>.offsets.json)')
    .option('--no-progress', 'no progress on stderr')
    .addHelpText('after', HELP)
    .action((store: string, options: Options, command: Command) => {
      if (options.storeId !== undefined && !/^[0-9a-f]{16}$/.test(options.storeId)) {
        return command.error('error: --store-id: 16 lower-case hex digits are expected');
      }
      return options.dryRun === true
        ? dryRun(store, options, command, context)
        : withSession(command, context, ({ client, output, timeoutMs }) =>
            importStore(store, options, context, { client, output, timeoutMs }),
          );
    });
}

function carryingOf(options: Options) {
  return {
    topics: options.topic === undefined ? undefined : new Set(options.topic),
    includeRetry: options.includeRetry === true,
    includeDeadLetters: options.includeDlq === true,
    compressed: options.compressed,
    skipRefused: options.skipRefused === true,
    skipDamaged: options.skipDamaged === true,
  };
}

async function openSource(store: string): Promise<Source> {
  const { Source } = await import('../../import/source.ts');
  const { openLayout } = await import('../../import/layout.ts');
  return new Source(openLayout(store));
}

async function dryRun(store: string, options: Options, command: Command, context: CliContext): Promise<void> {
  const { bytesTotalOf, survey } = await import('../../import/importer.ts');
  const { readGroupOffsets, readTopics } = await import('../../import/config_files.ts');
  const output = new Output(context.stdout, globalOptionsOf(command).format);
  const source = await openSource(store);
  const { layout } = source;
  const signal = context.interrupted();
  const progress = { bytesRead: 0, bytesTotal: bytesTotalOf(source), appended: 0, alreadyThere: 0 };
  const line = new ProgressLine(
    context,
    options.progress,
    progressText(progress, () => 0),
  );
  // All that could end an import is counted.
  const lenient = { ...carryingOf(options), skipDamaged: true, skipRefused: true };
  const compressed = options.compressed === 'fail' ? 'skip' : options.compressed;
  const tally = await survey(source, { ...lenient, compressed, signal }, progress).finally(() => line.stop());
  if (signal.aborted) throw new QuietExit(exitCodes.interrupted);
  const topics = readTopics(layout.configDirectory);
  const groups = readGroupOffsets(layout.configDirectory);
  const { kind, wasStoppedCleanly } = layout;
  const queues =
    topics === null ? null : Object.fromEntries([...topics].map(([name, config]) => [name, config.queues]));
  const head = { store: layout.directory, kind, wasStoppedCleanly, bytes: progress.bytesTotal, topicQueues: queues };
  const groupNames = groups === null ? null : [...new Set(groups.map(({ group }) => group))];
  await output.result({ ...head, groups: groupNames, ...tally.document() }, () => {
    const stop = wasStoppedCleanly ? '' : ', not stopped cleanly';
    const how = groupNames === null ? 'no consumer offsets' : `offsets of ${groupNames.length} consumer groups`;
    const first = `${layout.directory}: a store of ${kind === 'dledger' ? 'DLedger' : 'RocketMQ'}${stop}, ${how}`;
    return [first, ...tallyLines(tally)].join('\n');
  });
}

async function importStore(
  store: string,
  options: Options,
  context: CliContext,
  session: Parameters<Parameters<typeof withSession>[2]>[0],
): Promise<void> {
  const { Importer, storeIdOf } = await import('../../import/importer.ts');
  const { readGroupOffsets } = await import('../../import/config_files.ts');
  const { offsetsDocument, translateOffsets } = await import('../../import/offsets_report.ts');
  const { writeWhole } = await import('../../import/progress_file.ts');
  const { client, output, timeoutMs } = session;
  const source = await openSource(store);
  const storeId = options.storeId ?? (await storeIdOf(source));
  if (storeId === null) throw new TLedgerError('INVALID_ARGUMENT', `${source.layout.directory} holds no message`);
  const groupOffsets = readGroupOffsets(source.layout.configDirectory) ?? [];
  const progressFile = options.progressFile ?? `tledger-import-${storeId}.progress.json`;
  const offsetsFile = options.offsets ?? `tledger-import-${storeId}.offsets.json`;
  const signal = context.interrupted();
  const queues = new Map(options.queues ?? []);
  const sendTimeoutMs = timeoutMs ?? SEND_TIMEOUT_MS;
  const how = {
    ...carryingOf(options),
    merge: options.merge === true,
    storeId,
    progressFile,
    queues,
    sendTimeoutMs,
    signal,
  };
  const importer = await Importer.open(source, client, how, storeId);
  const startedAtMs = performance.now();
  const secondsSoFar = () => Math.max(0.001, (performance.now() - startedAtMs) / 1_000);
  const line = new ProgressLine(context, options.progress, progressText(importer.progress, secondsSoFar));
  await importer.run().finally(() => line.stop());
  const { appended, alreadyThere } = importer.progress;
  const seconds = Math.round(secondsSoFar() * 1_000) / 1_000;
  const positions = translateOffsets(groupOffsets, importer.lanes);
  if (!signal.aborted) writeWhole(offsetsFile, JSON.stringify(offsetsDocument(storeId, importer.lanes, positions)));
  const rate = Math.round(appended / secondsSoFar());
  const document = { storeId, complete: !signal.aborted, appended, alreadyThere, seconds, messagesPerSecond: rate };
  const files = { progressFile, offsetsFile: signal.aborted ? null : offsetsFile };
  await output.result({ ...document, ...files, groups: positions, ...importer.tally.document() }, () =>
    [
      `${grouped(appended)} appended, ${grouped(alreadyThere)} were there, ${duration(seconds * 1_000)}, ${grouped(rate)} messages/s`,
      ...tallyLines(importer.tally),
      ...(signal.aborted ? ['interrupted: run it again to go on'] : [`offsets: ${offsetsFile}`]),
    ].join('\n'),
  );
  if (signal.aborted) throw new QuietExit(exitCodes.interrupted);
}

function progressText(progress: ImportProgress, seconds: () => number): () => string {
  const startedAtMs = performance.now();
  return () => {
    const { bytesRead, bytesTotal, appended, alreadyThere } = progress;
    const done = Math.min(1, bytesRead / Math.max(1, bytesTotal));
    const elapsedMs = performance.now() - startedAtMs;
    const left = done > 0.001 ? `, ${duration((elapsedMs / done) * (1 - done))} left` : '';
    const bytes = `${(bytesRead / 1e6).toFixed(0)} of ${(bytesTotal / 1e6).toFixed(0)} MB (${(done * 100).toFixed(0)} %)`;
    if (seconds() === 0) return `${bytes} read${left}`;
    const rate = grouped(Math.round(appended / seconds()));
    return `${bytes} read, ${grouped(appended)} appended, ${grouped(alreadyThere)} were there, ${rate} messages/s${left}`;
  };
}

function tallyLines(tally: Tally): string[] {
  const rows = [...tally.topics].flatMap(([topic, queues]) =>
    [...queues]
      .sort(([a], [b]) => a - b)
      .map(([queue, one]) => [topic, queue, grouped(one.messages), `${one.firstOffset}-${one.lastOffset}`]),
  );
  const left = [...tally.leftOut.values()].map(({ count, meaning, topics, first }) => {
    const names = Object.entries(topics).map(([topic, some]) => `${topic} ${grouped(some)}`);
    const detail = first.detail === '' ? '' : `; the first one, at position ${first.position}: ${first.detail}`;
    return `left behind: ${grouped(count)} ${meaning}: ${names.join(', ')}${detail}`;
  });
  const damaged = tally.damages.map(({ file, position, endPosition, reason }) => {
    return `damaged: ${file}: position ${position} ${reason}; ${grouped(endPosition - position)} bytes left out`;
  });
  const torn = tally.torn.map(({ file, position, leftoverBytes, reason }) => {
    return `unfinished: ${file}: the log ends at position ${position}; ${grouped(leftoverBytes)} bytes behind it are no message (what stands there ${reason})`;
  });
  return [
    ...(rows.length === 0 ? ['no messages to carry over'] : [table(['TOPIC', 'QUEUE', 'MESSAGES', 'OFFSETS'], rows)]),
    ...left,
    ...damaged,
    ...(tally.damageCount > tally.damages.length ? [`damaged: ${tally.damageCount} places in all`] : []),
    ...torn,
  ];
}
