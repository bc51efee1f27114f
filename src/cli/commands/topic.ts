// tledger topic create | update | list | describe
import { type Command, Option } from 'commander';
import type { Topic } from '../../wire/ledger_messages.ts';
import { type CliContext, withSession } from '../context.ts';
import { grouped, table } from '../output.ts';
import { integer } from '../parsing.ts';

const UPDATE_HELP = `
Queues are added behind those that there are, never taken away; type and messages stay as they are. Producers and consumers
find them by themselves within half a minute. Messages of one key or message group go to another queue from then on: those sent
before the change may be read after those sent later. Where that matters, let consumers catch up while nobody sends.

Example:
  tledger topic update orders --queues 16`;

const STALE = ['--stale', 'what the node that answers knows, without a leader, too; may lack the newest'] as const;

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const topic = program.command('topic').description('create topics and look at them');
  topic
    .command('create')
    .description('create a topic; done already is fine, with other settings it is an error')
    .argument('<topic>', 'letters, digits, _ - % |; at most 127')
    .option('--queues <n>', 'number of queues; order holds within one (default: 4)', integer(1, 65_536))
    .addOption(
      new Option('--type <type>', "what RocketMQ's clients may send: mixed is all but lite and priority")
        .choices(['mixed', 'normal', 'fifo', 'delay', 'transaction', 'lite', 'priority'])
        .default('mixed'),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  tledger topic create orders --queues 8\n  tledger topic create payments --type fifo',
    )
    .action((name: string, options: { readonly queues?: number; readonly type: string }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { topic: made, created } = await client.admin.createTopic(name, {
          queues: options.queues,
          messageType: options.type,
          timeoutMs,
        });
        const document = { created, ...(made === null ? { name } : describe(made)) };
        const queues = made === null ? '' : ` with ${made.queues} queues`;
        await output.result(document, () => `${created ? 'created' : 'exists already:'} ${name}${queues}`);
      }),
    );
  topic
    .command('update')
    .description('give a topic more queues')
    .argument('<topic>', 'the name')
    .requiredOption('--queues <n>', 'as many as it has, or more; at most 1024 (required)', integer(1, 65_536))
    .addHelpText('after', UPDATE_HELP)
    .action((name: string, { queues }: { readonly queues: number }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { topic: now, changed } = await client.admin.updateTopic(name, { queues, timeoutMs });
        const document = { changed, ...(now === null ? { name } : describe(now)) };
        await output.result(document, () => `${changed ? 'changed' : 'unchanged:'} ${name} has ${now?.queues} queues`);
      }),
    );
  topic
    .command('list')
    .description('list all topics')
    .option(...STALE)
    .addHelpText('after', '\nExample:\n  tledger topic list --format json')
    .action(({ stale }: { readonly stale?: boolean }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { topics } = await client.admin.metadata([], { timeoutMs, stale });
        const rows = topics.map((one) => [one.name, one.queues, grouped(heldBy(one))]);
        const text = () => (rows.length === 0 ? 'no topics' : table(['TOPIC', 'QUEUES', 'MESSAGES'], rows));
        await output.result({ topics: topics.map(describe) }, text);
      }),
    );
  topic
    .command('describe')
    .description('show what each queue of a topic holds')
    .argument('<topic>', 'the name')
    .option(...STALE)
    .addHelpText('after', '\nExample:\n  tledger topic describe orders')
    .action((name: string, { stale }: { readonly stale?: boolean }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const found = await client.admin.topic(name, { timeoutMs, stale });
        const rows = found.ranges.map(({ queue, minOffset, maxOffset }) => [
          queue,
          minOffset,
          maxOffset,
          String(BigInt(maxOffset) - BigInt(minOffset)),
        ]);
        await output.result(describe(found), () => table(['QUEUE', 'FIRST', 'NEXT', 'MESSAGES'], rows));
      }),
    );
}

function heldBy(topic: Topic): string {
  return String(topic.ranges.reduce((sum, one) => sum + BigInt(one.maxOffset) - BigInt(one.minOffset), 0n));
}

function describe(topic: Topic) {
  return {
    name: topic.name,
    queues: topic.queues,
    createdTimestamp: Number(topic.createdTimestamp),
    ranges: topic.ranges.map(({ queue, minOffset, maxOffset }) => ({
      queue,
      minOffset: Number(minOffset),
      maxOffset: Number(maxOffset),
    })),
  };
}
