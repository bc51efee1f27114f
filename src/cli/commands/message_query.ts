// tledger message query: messages by key or id, the newest first.
import { type Command, Option } from 'commander';
import type { TLedgerClient } from '../../client/client.ts';
import type { QueryOptions, QueryResult } from '../../client/queries.ts';
import { isMessageId } from '../../format/message_id.ts';
import { type CliContext, withSession } from '../context.ts';
import { messageDocument, messageLine } from '../messages.ts';
import { integer, time } from '../parsing.ts';

interface QueryCommandOptions {
  readonly topic: string;
  readonly key?: string;
  readonly id?: string;
  readonly from?: number;
  readonly to?: number;
  readonly max: number;
  readonly cursor?: string;
  readonly stale?: boolean;
}

const HELP = `
Prints the newest message first. --id is the id that the client of a message gave it (RocketMQ's clients give each one an
id), or the 32 digits that this command prints behind id=.

Times are as in 2026-01-31T12:00:00Z, milliseconds since the epoch, or so long ago: 15m.

Examples:
  tledger message query --topic orders --key 4711
  tledger message query --topic orders --key 4711 --from 24h --max 5
  tledger message query --topic orders --id 0000000000000000000000000001A2B8`;

/** Adds the command. */
export function registerQuery(message: Command, context: CliContext): void {
  message
    .command('query')
    .description('find messages by key or id')
    .requiredOption('--topic <topic>', 'the topic')
    .option('--key <key>', 'one of its keys')
    .addOption(new Option('--id <id>', 'its id').conflicts(['key', 'from', 'to', 'cursor']))
    .option('--from <time>', 'stored then or later', time)
    .option('--to <time>', 'stored then or earlier', time)
    .option('--max <n>', 'print at most so many', integer(1, 100_000), 32)
    .option('--cursor <cursor>', 'go on where an earlier query stopped')
    .option('--stale', 'read what the node that answers knows, without a leader, too')
    .addHelpText('after', HELP)
    .action((options: QueryCommandOptions, command: Command) => {
      if (options.key === undefined && options.id === undefined)
        command.error("error: option '--key' or '--id' is needed");
      return withSession(command, context, async ({ client, output, timeoutMs }) => {
        const common = { topic: options.topic, timeoutMs, current: options.stale !== true, countMax: options.max };
        const { key, from: fromMs, to: toMs, cursor } = options;
        const found =
          options.id === undefined
            ? await client.query({ ...common, key, fromMs, toMs, cursor })
            : await byId(client, options.id, common);
        await output.result(documentOf(found), () => textOf(found));
      });
    });
}

/** Ids that clients give may look like message ids: what is not found as one is looked for as the other. */
async function byId(client: TLedgerClient, id: string, common: QueryOptions): Promise<QueryResult> {
  if (isMessageId(id)) {
    const found = await client.query({ ...common, messageId: id });
    if (found.messages.length > 0) return found;
  }
  return client.query({ ...common, uniqueId: id });
}

function documentOf({ messages, cursor, isComplete }: QueryResult) {
  const documents = messages.map((one) => ({ ...messageDocument(one), messageId: one.messageId }));
  return { messages: documents, cursor, complete: isComplete };
}

function textOf({ messages, cursor, isComplete }: QueryResult): string {
  const lines = messages.map(
    (one) => `${new Date(one.storedAtMs).toISOString()}  id=${one.messageId}  ${messageLine(one)}`,
  );
  if (lines.length === 0) lines.push('no such message');
  if (cursor !== null) lines.push(`there may be more: go on with --cursor ${cursor}`);
  if (!isComplete) lines.push('a part of the log is being indexed on the node that answered: messages may be missing');
  return lines.join('\n');
}
