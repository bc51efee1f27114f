// tledger message send | read | tail; query has a file of its own
import type { Readable } from 'node:stream';
import { type Command, Option } from 'commander';
import type { StoredMessage } from '../../format/message.ts';
import { type CliContext, withSession } from '../context.ts';
import { messageDocument, messageLine } from '../messages.ts';
import { flushOption, integer, list, propertyOption, time } from '../parsing.ts';
import { registerQuery } from './message_query.ts';

interface SendOptions {
  readonly topic: string;
  readonly queue?: number;
  readonly key?: string[];
  readonly tag?: string;
  readonly flush?: 'sync' | 'async';
  readonly property?: Record<string, string>;
}

interface ReadOptions {
  readonly topic: string;
  readonly queue: number;
  readonly offset?: number;
  readonly fromTime?: number;
  readonly count: number;
}

const SEND_HELP = `
Without --queue the message goes to the queue of its first --key, or to any queue.
The body is the argument, or stdin when it is -.

Examples:
  tledger message send --topic orders "hello"
  tledger message send --topic orders --key 4711 --tag paid --property region=eu "hello"
  tledger message send --topic blobs - < picture.png`;

const READ_HELP = `
Examples:
  tledger message read --topic orders --queue 0 --offset 17 --count 3
  tledger message read --topic orders --queue 0 --from-time 2026-01-31T12:00:00Z
  tledger message read --topic orders --queue 0 --from-time 15m`;

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const message = program.command('message').description('send and read single messages');
  message
    .command('send')
    .description('send one message and print where it is, once it cannot be lost any more')
    .requiredOption('--topic <topic>', 'the topic')
    .option('--queue <n>', 'the queue', integer(0))
    .option('--key <key>', 'for look-ups; may be given several times', list(String))
    .option('--tag <tag>', 'for filters')
    .option('--property <name=value>', 'may be given several times', propertyOption)
    .addOption(flushOption())
    .argument('<body>', 'the body, or - for stdin')
    .addHelpText('after', SEND_HELP)
    .action((body: string, options: SendOptions, command: Command) => send(body, options, command, context));
  message
    .command('read')
    .description('print messages of one queue from an offset on')
    .requiredOption('--topic <topic>', 'the topic')
    .requiredOption('--queue <n>', 'the queue', integer(0))
    .option('--offset <n>', 'the first offset', integer(0))
    .addOption(
      new Option('--from-time <time>', 'the first message stored then or later, instead of --offset')
        .argParser(time)
        .conflicts('offset'),
    )
    .option('--count <n>', 'how many at most', integer(1, 10_000), 1)
    .addHelpText('after', READ_HELP)
    .action((options: ReadOptions, command: Command) => read(options, command, context));
  message
    .command('tail')
    .description('print messages as they come, with where they are, until Ctrl-C')
    .requiredOption('--topic <topic>', 'the topic')
    .option('--queue <n>', 'only this queue; may be given several times', list(integer(0)))
    .addHelpText('after', '\nExample:\n  tledger message tail --topic orders')
    .action((options: { readonly topic: string; readonly queue?: number[] }, command: Command) =>
      withSession(command, context, async ({ client, output }) => {
        const { topic, queue } = options;
        const signal = context.interrupted();
        const batches = client.consumeBatches({ topic, from: 'latest', signal, ...(queue && { queues: queue }) });
        for await (const { messages } of batches) {
          const print =
            output.format === 'json' ? (one: StoredMessage) => JSON.stringify(messageDocument(one)) : messageLine;
          await output.bytes(`${messages.map(print).join('\n')}\n`);
        }
      }),
    );
  registerQuery(message, context);
}

function send(argument: string, options: SendOptions, command: Command, context: CliContext): Promise<void> {
  return withSession(command, context, async ({ client, output, timeoutMs }) => {
    const body = argument === '-' ? await readAll(context.stdin) : Buffer.from(argument);
    const producer = client.producer({ sendTimeoutMs: timeoutMs ?? 10_000, flush: options.flush ?? '' });
    const { topic, queue, queueOffset } = await producer.send({
      topic: options.topic,
      body,
      queue: options.queue,
      orderKey: options.key?.[0],
      tag: options.tag,
      keys: options.key,
      properties: options.property,
    });
    const text = () => `${topic}, queue ${queue}, offset ${queueOffset ?? 'not known any more'}`;
    await output.result({ topic, queue, offset: queueOffset }, text);
  });
}

function read(options: ReadOptions, command: Command, context: CliContext): Promise<void> {
  if (options.offset === undefined && options.fromTime === undefined) {
    command.error("error: option '--offset' or '--from-time' is needed");
  }
  return withSession(command, context, async ({ client, output, timeoutMs }) => {
    const { topic, queue, count, fromTime } = options;
    const timeout = timeoutMs === undefined ? {} : { timeoutMs };
    const offset =
      options.offset ?? (await client.findOffset({ topic, queue, timeMs: fromTime ?? 0, current: true, ...timeout }));
    const found = await client.pull({ topic, queue, offset, countMax: count, ...timeout });
    const messages = found.messages.slice(0, count);
    const document = {
      messages: messages.map(messageDocument),
      nextOffset: offset + messages.length,
      minOffset: found.minOffset,
      maxOffset: found.maxOffset,
    };
    const none = `no message at offset ${offset}: the queue holds ${found.minOffset} up to ${found.maxOffset}`;
    await output.result(document, () => (messages.length === 0 ? none : messages.map(messageLine).join('\n')));
  });
}

async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
