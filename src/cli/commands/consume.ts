// tledger consume: the bodies of a topic's messages to stdout.
import { type Command, Option } from 'commander';
import type { TLedgerClient } from '../../client/client.ts';
import type { StartPosition } from '../../client/options.ts';
import { type CliContext, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { messageDocument } from '../messages.ts';
import { integer, list, startPosition, time } from '../parsing.ts';

interface ConsumeCommandOptions {
  readonly topic: string;
  readonly queue?: number[];
  readonly from: StartPosition;
  readonly fromTime?: number;
  readonly count?: number;
  readonly follow?: boolean;
  readonly raw?: boolean;
  readonly stale?: boolean;
}

const HELP = `
Ends when it has printed everything that was committed when it began, or --count messages if that is less. With --follow
it waits for more instead; with both it ends after --count messages. Order holds within a queue, not between queues.

Where the queues end is asked of the group, so without a leader nothing is read (exit code 3). With --stale whichever
node answers says what it knows: that works without a majority, but may leave out the newest messages.

A body is followed by a newline. With --raw it is not: what "produce --keep-newline" sent comes back byte for byte.
With --format json each message is one line; its body is base64.

Examples:
  tledger consume --topic orders
  tledger consume --topic orders --queue 2 --from 1000 --count 10
  tledger consume --topic orders --from-time 15m
  tledger consume --topic orders --from latest --follow --format json
  tledger consume --topic logs --queue 0 --raw > copy.txt`;

const NEWLINE = Buffer.from('\n');

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  program
    .command('consume')
    .description('print the bodies of messages, a line each')
    .requiredOption('--topic <topic>', 'the topic')
    .option('--queue <n>', 'only this queue; may be given several times', list(integer(0)))
    .option('--from <where>', 'earliest, latest, or an offset', startPosition, 'earliest')
    .addOption(
      new Option('--from-time <time>', 'each queue from its first message stored then or later').argParser(time),
    )
    .option('--count <n>', 'print at most so many messages', integer(1))
    .option('--follow', 'wait for more at the end, until Ctrl-C')
    .option('--raw', 'print bodies without adding newlines')
    .option('--stale', 'read what the node that answers knows, without a leader, too')
    .addHelpText('after', HELP)
    .action((options: ConsumeCommandOptions, command: Command) => consume(options, command, context));
}

function consume(options: ConsumeCommandOptions, command: Command, context: CliContext): Promise<void> {
  return withSession(command, context, async ({ client, output, timeoutMs }) => {
    const interrupted = context.interrupted();
    const positions = await positionsAt(client, options, timeoutMs);
    const batches = client.consumeBatches({
      topic: options.topic,
      from: options.from,
      stale: options.stale,
      untilEnd: options.follow !== true,
      signal: interrupted,
      ...(options.queue && { queues: options.queue }),
      ...(positions && { positions }),
      ...(timeoutMs !== undefined && { resumeTimeoutMs: timeoutMs }),
    });
    let left = options.count ?? Number.POSITIVE_INFINITY;
    for await (const batch of batches) {
      const messages = batch.messages.length > left ? batch.messages.slice(0, left) : batch.messages;
      if (output.format === 'json') {
        await output.bytes(`${messages.map((one) => JSON.stringify(messageDocument(one))).join('\n')}\n`);
      } else {
        const pieces = messages.flatMap(({ body }) => (options.raw === true ? [body] : [body, NEWLINE]));
        await output.bytes(Buffer.concat(pieces));
      }
      left -= messages.length;
      if (left <= 0) return;
    }
    // Ctrl-C is how --follow ends; anything else has not been read to its end.
    if (interrupted.aborted && options.follow !== true) throw new QuietExit(exitCodes.interrupted);
  });
}

/** Where each queue was at --from-time; undefined without it. */
async function positionsAt(
  client: TLedgerClient,
  { topic, queue, fromTime, stale }: ConsumeCommandOptions,
  timeoutMs: number | undefined,
): Promise<ReadonlyMap<number, number> | undefined> {
  if (fromTime === undefined) return undefined;
  const { queues } = await client.admin.topic(topic, { timeoutMs, stale });
  const positions = new Map<number, number>();
  for (const one of queue ?? Array.from({ length: queues }, (_, at) => at)) {
    positions.set(one, await client.findOffset({ topic, queue: one, timeMs: fromTime, timeoutMs }));
  }
  return positions;
}
