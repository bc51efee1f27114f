// tledger produce: each line of stdin as a message.
import type { Command } from 'commander';
import { TLedgerError } from '../../base/errors.ts';
import type { Producer } from '../../client/producer.ts';
import { type CliContext, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { fieldOf, linesOf } from '../lines.ts';
import { duration, grouped } from '../output.ts';
import { delimiter, flushOption, integer } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';

interface ProduceOptions {
  readonly topic: string;
  readonly queue?: number;
  readonly keyField?: number;
  readonly delimiter: Buffer;
  readonly tag?: string;
  readonly flush?: 'sync' | 'async';
  readonly skipEmpty?: boolean;
  readonly keepNewline?: boolean;
  readonly progress: boolean;
}

const HELP = `
Each line is a message: its bytes, whatever they are, without the newline (0x0A). A last line without newline counts.
A message needs a body, so an empty line stops everything with its number, unless one of these is given:
  --skip-empty     empty lines are left out
  --keep-newline   each body keeps its newline; "consume --raw" then gives back the same bytes
Lines go to the --queue; or by --key-field to the queue of their key, where equal keys keep their order; or to all
queues in turn. --key-field counts from 1, fields are separated by --delimiter.

Reads no faster than the group takes. Survives a change of leader: each line is in the log exactly once when this ends
with 0. Otherwise the totals say how many lines were acknowledged, failed, or have an unknown outcome. After Ctrl-C what
is under way gets 2 seconds to be acknowledged (exit code 130).

Progress (a line that is redrawn on a terminal, a line a second elsewhere) and the totals go to stderr. stdout carries
nothing, or with --format json one document: the totals.

Examples:
  tledger produce --topic orders < orders.txt
  tledger produce --topic orders --key-field 2 --delimiter , < orders.csv
  tledger produce --topic logs --queue 0 --keep-newline < /var/log/syslog`;

/** How long a line may take from stdin to its acknowledgement. */
const SEND_TIMEOUT_MS = 30_000;

/** How long lines under way may take after an interruption. */
const INTERRUPTED_MS = 2_000;

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  program
    .command('produce')
    .description('send each line of stdin as a message')
    .requiredOption('--topic <topic>', 'the topic')
    .option('--queue <n>', 'the queue of all lines', integer(0))
    .option('--key-field <n>', 'the field whose bytes choose the queue', integer(1))
    .option('--delimiter <text>', 'what separates fields', delimiter, Buffer.from('\t'))
    .option('--tag <tag>', 'tag of all messages')
    .option('--skip-empty', 'leave out empty lines')
    .option('--keep-newline', 'send each line with its newline')
    .addOption(flushOption())
    .option('--no-progress', 'no progress on stderr')
    .addHelpText('after', HELP)
    .action((options: ProduceOptions, command: Command) => {
      if (options.queue !== undefined && options.keyField !== undefined) {
        return command.error('error: --queue and --key-field exclude each other');
      }
      return produce(options, command, context);
    });
}

/** Counts what became of the lines. */
class Totals {
  read = 0;
  acknowledged = 0;
  failed = 0;
  unknown = 0;
  skipped = 0;
  bytes = 0;
  /** The first failure, and the line it befell. */
  failure: { readonly line: number; readonly error: TLedgerError } | undefined;
  readonly #startedAtMs = performance.now();

  get seconds(): number {
    return (performance.now() - this.#startedAtMs) / 1_000;
  }

  get messagesPerSecond(): number {
    return Math.round(this.acknowledged / Math.max(0.001, this.seconds));
  }

  fail(line: number, error: TLedgerError): void {
    if (error.code === 'OUTCOME_UNKNOWN') this.unknown++;
    else this.failed++;
    this.failure ??= { line, error };
  }

  document() {
    const { acknowledged, failed, unknown, skipped, bytes, messagesPerSecond } = this;
    const seconds = Math.round(this.seconds * 1_000) / 1_000;
    return { acknowledged, failed, unknown, skipped, bytes, seconds, messagesPerSecond };
  }

  text(): string {
    const others = [
      ...(this.failed > 0 ? [`${grouped(this.failed)} failed`] : []),
      ...(this.unknown > 0 ? [`${grouped(this.unknown)} unknown`] : []),
      ...(this.skipped > 0 ? [`${grouped(this.skipped)} skipped`] : []),
    ];
    const rate = `${grouped(this.messagesPerSecond)} messages/s, ${(this.bytes / 1e6 / Math.max(0.001, this.seconds)).toFixed(1)} MB/s`;
    return [`${grouped(this.acknowledged)} acknowledged`, ...others, `${duration(this.seconds * 1_000)}`, rate].join(
      ', ',
    );
  }
}

function produce(options: ProduceOptions, command: Command, context: CliContext): Promise<void> {
  return withSession(command, context, async ({ client, output, timeoutMs }) => {
    const producer = client.producer({ sendTimeoutMs: timeoutMs ?? SEND_TIMEOUT_MS, flush: options.flush ?? '' });
    const interrupted = context.interrupted();
    const totals = new Totals();
    const progress = new ProgressLine(context, options.progress, () => totals.text());
    let failure: unknown;
    try {
      await sendLines(options, context, producer, totals, interrupted);
    } catch (error) {
      failure = error;
    }
    await closeSoon(producer, interrupted);
    progress.stop();
    context.stderr.write(`${totals.text()}\n`);
    if (output.format === 'json') await output.result(totals.document(), () => '');
    if (interrupted.aborted) throw new QuietExit(exitCodes.interrupted);
    if (totals.failure !== undefined) {
      const { line, error } = totals.failure;
      throw new TLedgerError(error.code, `line ${line}: ${error.message}`, error);
    }
    if (failure !== undefined) throw failure;
  });
}

/** Waits for all lines; after an interruption not for long. */
async function closeSoon(producer: Producer, interrupted: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const hurry = () => {
    timer = setTimeout(() => producer.abort(), INTERRUPTED_MS);
  };
  if (interrupted.aborted) hurry();
  else interrupted.addEventListener('abort', hurry, { once: true });
  await producer.close();
  interrupted.removeEventListener('abort', hurry);
  clearTimeout(timer);
}

async function sendLines(
  options: ProduceOptions,
  context: CliContext,
  producer: Producer,
  totals: Totals,
  interrupted: AbortSignal,
): Promise<void> {
  const { topic, queue, tag, keyField } = options;
  for await (const body of linesOf(context.stdin, { keepNewline: options.keepNewline === true, signal: interrupted })) {
    const line = ++totals.read;
    if (body.length === 0) {
      if (options.skipEmpty !== true) {
        throw new TLedgerError('BODY_EMPTY', `line ${line} is empty: use --skip-empty or --keep-newline`);
      }
      totals.skipped++;
      continue;
    }
    const orderKey = keyField === undefined ? undefined : fieldOf(body, keyField, options.delimiter);
    if (keyField !== undefined && orderKey === undefined) {
      throw new TLedgerError('INVALID_ARGUMENT', `line ${line} has no field ${keyField}`);
    }
    if (!producer.isWritable) await readyOr(producer, interrupted);
    if (interrupted.aborted) return;
    producer.append({ topic, body, queue, orderKey, tag }, (error) => {
      if (error !== null) return totals.fail(line, error);
      totals.acknowledged++;
      totals.bytes += body.length;
    });
    if (totals.failure !== undefined) return;
  }
}

/** Waits for room in the producer's buffer, or for the interruption. */
function readyOr(producer: Producer, interrupted: AbortSignal): Promise<void> {
  if (interrupted.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      interrupted.removeEventListener('abort', done);
      resolve();
    };
    interrupted.addEventListener('abort', done);
    void producer.ready().then(done);
  });
}
