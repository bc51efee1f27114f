// tledger group create | list | describe | delete | reset-offset | resend
import { type Command, InvalidArgumentError } from 'commander';
import type { ClientList } from '../../client/admin.ts';
import { parseQuantity } from '../../config/quantity.ts';
import type { ConsumerGroup, GroupDescription } from '../../wire/group_messages.ts';
import { type CliContext, withSession } from '../context.ts';
import { duration, grouped, table } from '../output.ts';
import { integer, list, time } from '../parsing.ts';
import { clientsDocument, clientTable, differingSubscriptions, missingLines } from './client.ts';

interface CreateOptions {
  readonly fifo?: boolean;
  readonly maxAttempts?: number;
  readonly retry?: readonly number[];
  readonly lite?: string;
  readonly exclusive?: boolean;
}

interface ResetOptions {
  readonly topic: string;
  readonly to?: number | 'earliest' | 'latest';
  readonly queue?: readonly (readonly [queue: number, offset: number])[];
}

const CREATE_HELP = `
A group that nobody made is made on its first use, not in order and with RocketMQ's retries: 17 attempts, waiting 1s 5s 10s
30s 1m 2m … 2h. What is in order (--fifo) has to be made before. Doing it again changes what is said; progress stays.

A group of lite topics is bound to the topic that it subscribes to first, or that --lite names.

Examples:
  tledger group create billing --fifo
  tledger group create mailer --max-attempts 5 --retry 1s,10s,1m`;

const RESET_HELP = `
What the group holds at the moment is forgotten and delivered again, or never, as the offset says. Without --queue all queues go to
the first message at or after the time.

Examples:
  tledger group reset-offset billing --topic orders --to earliest
  tledger group reset-offset billing --topic orders --to 15m
  tledger group reset-offset billing --topic orders --queue 0=1200 --queue 3=0`;

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const group = program.command('group').description('consumer groups: what they are, how far they have come');
  group
    .command('create')
    .description('make a consumer group, or change it')
    .argument('<group>', 'letters, digits, _ - % |; at most 120')
    .option('--fifo', 'messages of a queue are handed out in order, one batch at a time')
    .option('--max-attempts <n>', 'deliveries before a message is a dead letter (17)', integer(1, 1_000))
    .option('--retry <steps>', 'how long clients wait before each further attempt: 1s,5s,1m', steps)
    .option('--lite <topic>', 'the group subscribes to lite topics of this topic, and of no other')
    .option('--exclusive', 'with --lite: a lite topic goes to the client that subscribed to it last')
    .addHelpText('after', CREATE_HELP)
    .action((name: string, options: CreateOptions, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { fifo = false, maxAttempts = 0, retry = [], lite: liteTopic = '' } = options;
        const liteExclusive = options.exclusive === true;
        if (liteExclusive && liteTopic === '') command.error('error: --exclusive needs --lite');
        const wish = {
          name,
          fifo,
          maxAttempts,
          retryMs: retry.map(String),
          createdTimestamp: '0',
          liteTopic,
          liteExclusive,
        };
        const { group: made, created } = await client.admin.putGroup(wish, { timeoutMs });
        await output.result({ created, ...shown(made ?? wish) }, () => `${created ? 'created' : 'changed'} ${name}`);
      }),
    );
  group
    .command('list')
    .description('list all consumer groups')
    .addHelpText('after', '\nExample:\n  tledger group list --format json')
    .action((_options: object, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { groups } = await client.admin.describeGroups([], { timeoutMs });
        const rows = groups.map((one) => [
          one.group?.name ?? '',
          one.group?.fifo === true ? 'in order' : 'any',
          one.topics.length,
          grouped(lagOf(one)),
          grouped(one.deadLetters),
        ]);
        const head = ['GROUP', 'ORDER', 'TOPICS', 'LAG', 'DEAD LETTERS'];
        const text = () => (rows.length === 0 ? 'no consumer groups' : table(head, rows));
        await output.result({ groups: groups.map(document) }, text);
      }),
    );
  group
    .command('describe')
    .description('show a consumer group, what it has consumed of each queue, and who is connected')
    .argument('<group>', 'the name')
    .addHelpText('after', '\nExample:\n  tledger group describe billing')
    .action((name: string, _options: object, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { groups } = await client.admin.describeGroups([name], { timeoutMs });
        const one = groups[0]!;
        const consumers = await client.admin.listClients(name, { timeoutMs });
        const differing = differingSubscriptions(consumers.clients);
        const whole = { ...document(one), ...clientsDocument(consumers), differingSubscriptions: differing };
        await output.result(whole, () => [described(one), '', ...connected(consumers, differing)].join('\n'));
      }),
    );
  registerChanges(group, context);
}

function registerChanges(group: Command, context: CliContext): void {
  group
    .command('delete')
    .description(
      'forget a consumer group and all that it has consumed; used again, it begins with the earliest message',
    )
    .argument('<group>', 'the name')
    .addHelpText('after', '\nExample:\n  tledger group delete billing')
    .action((name: string, _options: object, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { existed } = await client.admin.deleteGroup(name, { timeoutMs });
        await output.result({ name, existed }, () => (existed ? `deleted ${name}` : `there was no group ${name}`));
      }),
    );
  group
    .command('reset-offset')
    .description('have a consumer group go on elsewhere in a topic')
    .argument('<group>', 'the name')
    .requiredOption('--topic <topic>', 'the topic (required)')
    .option('--to <time>', 'earliest, latest, a time, or so long ago: 15m', target)
    .option('--queue <queue=offset>', 'only this queue, to this offset; may be repeated', list(queueOffset))
    .addHelpText('after', RESET_HELP)
    .action((name: string, options: ResetOptions, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { topic, to, queue = [] } = options;
        if ((to === undefined) === (queue.length === 0)) command.error('error: either --to or --queue is needed');
        const timestamp = to === 'latest' ? String(Number.MAX_SAFE_INTEGER) : String(to === 'earliest' ? 0 : (to ?? 0));
        const wanted = queue.map(([one, offset]) => ({ queue: one, offset: String(offset) }));
        const request = { group: name, topic, timestamp, positions: wanted };
        const { positions } = await client.admin.resetGroup(request, { timeoutMs });
        const rows = positions.map(({ queue: one, offset }) => [one, offset]);
        const shownPositions = positions.map(({ queue: one, offset }) => ({ queue: one, offset: Number(offset) }));
        await output.result({ group: name, topic, positions: shownPositions }, () => table(['QUEUE', 'NEXT'], rows));
      }),
    );
  group
    .command('resend')
    .description('send the dead letters of a consumer group to their topics again, each once')
    .argument('<group>', 'the name')
    .option('--max <n>', 'at most so many (1000)', integer(1, 100_000))
    .addHelpText(
      'after',
      '\nAll groups that read those topics get them.\n\nExample:\n  tledger group resend billing --max 100',
    )
    .action((name: string, { max = 0 }: { readonly max?: number }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { count, complete } = await client.admin.resendDeadLetters({ group: name, maxCount: max }, { timeoutMs });
        const rest = complete ? 'there are no more' : 'there may be more';
        await output.result({ group: name, count, complete }, () => `sent ${count} again; ${rest}`);
      }),
    );
}

function described(one: GroupDescription): string {
  const { group } = one;
  const steps = group?.retryMs.map((ms) => duration(Number(ms))).join(' ') ?? '';
  const lines = [
    `${group?.name}: ${group?.fifo === true ? 'in order' : 'in any order'}, at most ${group?.maxAttempts} attempts, after ${steps}`,
    `dead letters: ${grouped(one.deadLetters)}`,
    ...(group?.liteTopic
      ? [`lite topics: of ${group.liteTopic}${group.liteExclusive ? ', each for one client' : ''}`]
      : []),
  ];
  for (const { topic, queues, lag } of one.topics) {
    const rows = queues.map((row) => [
      row.queue,
      row.committedOffset,
      row.nextOffset,
      row.maxOffset,
      row.inFlight,
      row.lag,
    ]);
    const head = ['QUEUE', 'CONSUMED', 'NEXT', 'END', 'IN FLIGHT', 'LAG'];
    lines.push('', `${topic}: lag ${grouped(lag)}`, table(head, rows));
  }
  return lines.join('\n');
}

function connected(consumers: ClientList, differing: readonly string[]): string[] {
  const { clients } = consumers;
  const warning = 'warning: the consumers of this group do not all subscribe to the same, so messages go to nobody:';
  return [
    clients.length === 0 ? 'no consumers are connected' : clientTable(clients),
    ...missingLines(consumers),
    ...(differing.length === 0 ? [] : ['', warning, ...differing.map((line) => `  ${line}`)]),
  ];
}

function document(one: GroupDescription): object {
  return {
    ...(one.group === null ? {} : shown(one.group)),
    deadLetters: Number(one.deadLetters),
    topics: one.topics.map(({ topic, queues, lag }) => ({
      topic,
      lag: Number(lag),
      queues: queues.map((row) => ({
        queue: row.queue,
        committedOffset: Number(row.committedOffset),
        nextOffset: Number(row.nextOffset),
        inFlight: Number(row.inFlight),
        minOffset: Number(row.minOffset),
        maxOffset: Number(row.maxOffset),
        lag: Number(row.lag),
      })),
    })),
  };
}

function shown({
  name,
  fifo,
  maxAttempts,
  retryMs,
  createdTimestamp,
  liteTopic = '',
  liteExclusive = false,
}: ConsumerGroup): object {
  const common = { name, fifo, maxAttempts, retryMs: retryMs.map(Number), createdTimestamp: Number(createdTimestamp) };
  return liteTopic === '' ? common : { ...common, liteTopic, liteExclusive };
}

function lagOf({ topics }: GroupDescription): number {
  return topics.reduce((sum, { lag }) => sum + Number(lag), 0);
}

function steps(text: string): number[] {
  return text.split(',').map((part) => {
    const ms = parseQuantity(part.trim(), 'ms');
    if (typeof ms !== 'number' || !Number.isInteger(ms))
      throw new InvalidArgumentError('Times are expected: 1s,5s,1m.');
    return ms;
  });
}

function queueOffset(text: string): readonly [queue: number, offset: number] {
  const [, queue, offset] = /^([0-9]{1,9})=([0-9]{1,15})$/.exec(text) ?? [];
  if (queue === undefined) throw new InvalidArgumentError('queue=offset is expected.');
  return [Number(queue), Number(offset)];
}

function target(text: string): number | 'earliest' | 'latest' {
  return text === 'earliest' || text === 'latest' ? text : time(text);
}
