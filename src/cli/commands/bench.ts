// tledger bench: how fast a running group is, and how long its users wait.
import { writeFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { messageOf, TLedgerError } from '../../base/errors.ts';
import type { Load } from '../../bench/drive.ts';
import {
  type BenchKind,
  type BenchOptions,
  type BenchReport,
  type SendOptions,
  STAMP_BYTES,
} from '../../bench/load.ts';
import { Meter } from '../../bench/meter.ts';
import { reportPlot, reportText } from '../../bench/report.ts';
import { parseQuantity } from '../../config/quantity.ts';
import { messageLimits } from '../../format/limits.ts';
import { type CliContext, globalOptionsOf, type Session, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped } from '../output.ts';
import { bytes, flushOption, integer } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';

interface BenchCommandOptions {
  readonly topic: string;
  readonly queues: number;
  readonly size: number;
  readonly connections?: number;
  readonly duration: number;
  readonly warmUp: number;
  readonly plot?: string;
  readonly progress: boolean;
  readonly flush?: 'sync' | 'async';
  readonly inFlight?: number;
  readonly rate?: number;
  readonly batch?: number;
  readonly window?: number;
  readonly transfers?: number;
}

/** What one kind needs beside the options of all. */
interface Kind {
  readonly name: BenchKind;
  readonly about: string;
  readonly help: string;
  /** Messages a second where no rate is given; undefined: a closed loop. */
  readonly rate?: number;
  readonly options: (command: Command) => Command;
}

const WINDOW_FRAMES = 16;
const SINGLES_IN_FLIGHT = 128;
const QUEUES_MAX = 1_024;
const DAY_MS = 86_400_000;
/** Bytes of a stored message beside its body and the name of its topic, rounded up. */
const OVERHEAD_BYTES = 256;

const LOOPS = `
Closed loop: --in-flight requests are under way, each answer lets the next one go. Finds the highest throughput; its
latencies are flattered, as a slow group is asked less. Open loop: with --rate requests are due at fixed times whatever
becomes of those before, and latency counts from when a request was due: nothing is omitted when the group stands still.
Both leave out --warm-up: for what a group does once it has run for a while give it 10s, as long as Node takes to compile
what is hot. Measure latencies at half of the highest throughput.`;

const COMMON = `
The topic is made if there is none, and keeps what is sent: use a group or a topic that may be filled. Client and nodes
share a machine's cores if they share the machine. Progress goes to stderr each second, the result to stdout.`;

const kinds: readonly Kind[] = [
  {
    name: 'append',
    about: 'append by stream: single messages that the client gathers, or frames of --batch encoded ones',
    options: (command) => addWindow(addBatch(addLoop(command))),
    help: `
Examples:
  tledger bench append --batch 256                      highest throughput
  tledger bench append --in-flight 1                    one message after the other
  tledger bench append --in-flight 1024 --size 100
  tledger bench append --rate 20000 --duration 60s --plot append.svg
  tledger bench append --batch 64 --format json`,
  },
  {
    name: 'unary',
    about: 'append by single gRPC calls, spread over the endpoints',
    options: (command) => addBatch(addLoop(command)),
    help: `
Without --connections one is opened to each endpoint. Give --endpoints with one address to ask one node only.

Examples:
  tledger bench unary --in-flight 128
  tledger bench unary --endpoints 127.0.0.1:8081 --rate 2000`,
  },
  {
    name: 'consume',
    about: 'read what the topic holds, checked and decoded, from its beginning; again when all is read',
    options: (command) => command,
    help: `
The queues are shared out among the --connections.

Examples:
  tledger bench append --batch 256 && tledger bench consume`,
  },
  {
    name: 'end-to-end',
    about: 'from a sender at a fixed rate to a consumer: latency of acknowledgements and of deliveries',
    rate: 1_000,
    options: (command) => command.addOption(flushOption()).addOption(rateOption(1_000)),
    help: `
Messages are at least ${STAMP_BYTES} bytes long: each carries when it was due.

Examples:
  tledger bench end-to-end --rate 10000 --size 1KiB`,
  },
  {
    name: 'failover',
    about: 'a fixed rate while leadership is handed over: how long nobody is served',
    rate: 400,
    options: (command) =>
      command
        .addOption(flushOption())
        .addOption(rateOption(400))
        .option(
          '--transfers <n>',
          'hand-overs, spread over the duration; 0: do the harm yourself',
          integer(0, 1000),
          3,
        ),
    help: `
With --transfers 0 it only watches: kill a node or cut a cable within --duration, and read the longest silence.

Examples:
  tledger bench failover --transfers 10 --duration 30s
  tledger bench failover --transfers 0 --duration 60s     # in another terminal: kill -9 a node`,
  },
];

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const bench = program.command('bench').description('how fast a running group is, and how long its users wait');
  for (const kind of kinds) {
    const command = bench
      .command(kind.name)
      .description(kind.about)
      .option('--topic <topic>', 'the topic; made if there is none', 'bench')
      .option('--queues <n>', 'its queues, if it is made', integer(1, QUEUES_MAX), 4)
      .option('--connections <n>', 'connections, each of a client of its own', integer(1, 256))
      .option('--duration <time>', 'measured time, as in 10s', duration(100), 10_000)
      .option('--warm-up <time>', 'time before it that does not count', duration(0), 2_000)
      .option('--plot <file.svg>', 'throughput and latencies over time, as a picture')
      .option('--no-progress', 'no progress on stderr');
    // What is read has its size already.
    if (kind.name !== 'consume') command.option('--size <bytes>', 'of a body, as in 100 or 16KiB', bytes(1), 1024);
    kind
      .options(command)
      .addHelpText('after', `${kind.name === 'consume' ? '' : LOOPS}${COMMON}\n${kind.help}`)
      .action((options: BenchCommandOptions) => run(kind, options, command, context));
  }
}

function addLoop(command: Command): Command {
  const inFlight = `closed loop: requests under way (${SINGLES_IN_FLIGHT}; frames: --window a connection)`;
  return command
    .addOption(new Option('--in-flight <n>', inFlight).argParser(integer(1, 65_536)).conflicts('rate'))
    .addOption(rateOption())
    .addOption(flushOption());
}

function addBatch(command: Command): Command {
  return command.option('--batch <n>', 'messages of one request', integer(1, messageLimits.batchCountMax), 1);
}

function addWindow(command: Command): Command {
  return command.option('--window <n>', 'frames of a connection sent and not answered', integer(1, 64), WINDOW_FRAMES);
}

function rateOption(preset?: number): Option {
  const option = new Option('--rate <n>', 'open loop: messages a second').argParser(integer(1, 10_000_000));
  return preset === undefined ? option : option.default(preset);
}

/** Parses a duration with or without a unit; milliseconds. */
function duration(min: number): (text: string) => number {
  return (text) => {
    const value = parseQuantity(text, 'ms');
    if (typeof value !== 'number' || value < min || value > DAY_MS) {
      throw new InvalidArgumentError(`A time of ${min} ms to 24h is expected, as in 10s.`);
    }
    return value;
  };
}

function run(kind: Kind, options: BenchCommandOptions, command: Command, context: CliContext): Promise<void> {
  return withSession(command, context, async (session) => {
    const { endpoints } = globalOptionsOf(command);
    const signal = context.interrupted();
    const sizeBytes = options.size ?? 0;
    check(kind, options, command);
    if (options.plot !== undefined) writePlot(options.plot, '');
    const queues = await queuesOf(session, options, kind.name !== 'consume');
    const connections = options.connections ?? (kind.name === 'unary' ? endpoints.length : 1);
    if (kind.name === 'consume' && connections > queues) {
      throw new TLedgerError('INVALID_ARGUMENT', `${connections} connections cannot share ${queues} queues`);
    }
    const meter = new Meter();
    const bench: BenchOptions = {
      ...{ endpoints, topic: options.topic, queues, sizeBytes, connections, signal, meter },
      ...{ flush: options.flush ?? '', warmUpMs: options.warmUp, durationMs: options.duration },
    };
    const progress = new ProgressLine(context, options.progress, () => progressText(kind.name, meter));
    let more: Partial<BenchReport>;
    try {
      more = await measure(kind, options, bench, context);
    } finally {
      progress.stop();
    }
    const report: BenchReport = {
      kind: kind.name,
      setting: settingOf(options, bench, kind),
      ...meter.figures(),
      ...more,
    };
    if (options.plot !== undefined) writePlot(options.plot, reportPlot(report));
    await session.output.result(report, () => reportText(report));
    if (signal.aborted) throw new QuietExit(exitCodes.interrupted);
  });
}

/** Refuses what cannot work before anything is sent. */
function check({ name }: Kind, { size, batch = 1 }: BenchCommandOptions, command: Command): void {
  if (name === 'end-to-end' && size < STAMP_BYTES) command.error(`error: --size must be at least ${STAMP_BYTES} here`);
  if (name !== 'consume' && size > messageLimits.bodyBytesMax) {
    command.error(`error: --size must be at most ${messageLimits.bodyBytesMax}`);
  }
  if (batch > 1 && batch * (size + OVERHEAD_BYTES) > messageLimits.batchBytesMax) {
    const most = Math.max(1, Math.floor(messageLimits.batchBytesMax / (size + OVERHEAD_BYTES)));
    command.error(`error: --batch must be at most ${most} for messages of ${size} bytes`);
  }
}

function writePlot(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new TLedgerError('INVALID_ARGUMENT', `--plot ${path}: ${messageOf(error)}`, error);
  }
}

/** Queues of the topic, which is made if it may be. */
async function queuesOf(
  { client, timeoutMs }: Session,
  { topic, queues }: BenchCommandOptions,
  mayMake: boolean,
): Promise<number> {
  try {
    return (await client.admin.topic(topic, { timeoutMs })).queues;
  } catch (error) {
    if (!mayMake || (error as Partial<TLedgerError>).code !== 'TOPIC_NOT_FOUND') throw error;
    await client.admin.createTopic(topic, { queues, ...(timeoutMs !== undefined && { timeoutMs }) });
    return queues;
  }
}

async function measure(
  { name }: Kind,
  options: BenchCommandOptions,
  bench: BenchOptions,
  context: CliContext,
): Promise<Partial<BenchReport>> {
  const windowFrames = options.window ?? WINDOW_FRAMES;
  const send: SendOptions = { ...bench, load: loadOf(options, bench), batch: options.batch ?? 1, windowFrames };
  switch (name) {
    case 'append':
      await (await import('../../bench/append.ts')).benchAppend(send);
      return {};
    case 'unary':
      await (await import('../../bench/unary.ts')).benchUnary(send);
      return {};
    case 'consume':
      await (await import('../../bench/consume.ts')).benchConsume(bench);
      return {};
    case 'end-to-end':
      return { deliveryMs: await (await import('../../bench/end_to_end.ts')).benchEndToEnd(send) };
    case 'failover': {
      const { benchFailover } = await import('../../bench/failover.ts');
      const onTransfer = (number: number, gapMs: number) => {
        if (options.progress) context.stderr.write(`hand-over ${number}: ${gapMs} ms without an acknowledgement\n`);
      };
      return { gapsMs: await benchFailover({ ...send, transfers: options.transfers ?? 0, onTransfer }) };
    }
  }
}

function loadOf({ rate, inFlight, batch = 1, window = WINDOW_FRAMES }: BenchCommandOptions, bench: BenchOptions): Load {
  if (rate !== undefined) return { kind: 'open', requestsPerSecond: rate / batch };
  return { kind: 'closed', inFlight: inFlight ?? (batch === 1 ? SINGLES_IN_FLIGHT : window * bench.connections) };
}

/** What the figures belong to. */
function settingOf(options: BenchCommandOptions, bench: BenchOptions, { name }: Kind): BenchReport['setting'] {
  const { topic, queues, connections, sizeBytes, flush } = bench;
  const common = { topic, queues, connections };
  if (name === 'consume') return common;
  const load = loadOf(options, bench);
  const loop = load.kind === 'open' ? { rate: options.rate! } : { 'in flight': load.inFlight };
  const batch = options.batch === undefined ? {} : { batch: options.batch };
  return { ...loop, size: sizeBytes, ...batch, flush: flush === '' ? 'as the group' : flush, ...common };
}

function progressText(kind: BenchKind, meter: Meter): string {
  const second = meter.lastSecond;
  if (second === undefined) return `${kind}: warming up`;
  const latency = second.p50Ms === 0 ? '' : `   p50 ${second.p50Ms.toFixed(2)} ms   p99 ${second.p99Ms.toFixed(2)} ms`;
  return `${kind}: ${second.atSeconds.toFixed(0)} s   ${grouped(second.messagesPerSecond)} messages/s${latency}`;
}
