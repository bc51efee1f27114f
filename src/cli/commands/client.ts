// tledger client list
import type { Command } from 'commander';
import type { ClientList } from '../../client/admin.ts';
import type { ConnectedClient } from '../../wire/client_messages.ts';
import { type CliContext, withSession } from '../context.ts';
import { duration, table } from '../output.ts';

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const client = program.command('client').description("the clients of RocketMQ's protocol that are connected");
  client
    .command('list')
    .description('list connected clients, whichever node they are connected to')
    .option('--group <group>', 'only consumers of this group')
    .addHelpText(
      'after',
      '\nA client that is connected to several nodes is listed once for each.\n\nExamples:\n  tledger client list\n  tledger client list --group billing --format json',
    )
    .action(({ group = '' }: { readonly group?: string }, command: Command) =>
      withSession(command, context, async ({ client: session, output, timeoutMs }) => {
        const list = await session.admin.listClients(group, { timeoutMs });
        await output.result(clientsDocument(list), () => {
          const shown = list.clients.length === 0 ? 'no clients' : clientTable(list.clients);
          return [shown, ...missingLines(list)].join('\n');
        });
      }),
    );
}

/** Clients as a table, times relative to now. */
export function clientTable(clients: readonly ConnectedClient[]): string {
  const nowMs = Date.now();
  const ago = (timestamp: string) => duration(Math.max(0, nowMs - Number(timestamp)));
  const rows = clients.map((one) => [
    one.clientId,
    one.kind.toLowerCase().replaceAll('_', ' '),
    one.group === '' ? '-' : one.group,
    one.topics.map(subscriptionText).join(', '),
    `${one.language} ${one.version}`.trim(),
    one.address,
    one.nodeId,
    ago(one.connectedTimestamp),
    `${ago(one.lastSeenTimestamp)} ago`,
  ]);
  return table(['CLIENT', 'KIND', 'GROUP', 'TOPICS', 'LANGUAGE', 'ADDRESS', 'NODE', 'SINCE', 'SEEN'], rows);
}

/** A line for each node whose clients are missing. */
export function missingLines({ nodes }: Pick<ClientList, 'nodes'>): string[] {
  return nodes
    .filter(({ error }) => error !== '')
    .map(({ nodeId, error }) => `${nodeId} does not answer, its clients are missing: ${error}`);
}

/** The same for programs. */
export function clientsDocument({ clients, nodes }: ClientList) {
  return {
    clients: clients.map(({ connectedTimestamp, lastSeenTimestamp, ...said }) => ({
      ...said,
      connectedTimestamp: Number(connectedTimestamp),
      lastSeenTimestamp: Number(lastSeenTimestamp),
    })),
    nodes: nodes.map(({ nodeId, error }) => (error === '' ? { nodeId } : { nodeId, error })),
  };
}

/**
 * What consumers of one group do not agree about: RocketMQ has all of them subscribe to the same, since each gets messages of
 * the whole group, and those that it filters out go to nobody.
 * @returns a line for each topic that they read differently, or not all of them.
 */
export function differingSubscriptions(clients: readonly ConnectedClient[]): string[] {
  // On several nodes it is the same client.
  const consumers = new Map(clients.filter(({ group }) => group !== '').map((one) => [one.clientId, one]));
  const names = new Set([...consumers.values()].flatMap(({ topics }) => topics.map(({ name }) => name)));
  return [...names].sort().flatMap((name) => {
    const ways = new Map<string, string[]>();
    for (const { clientId, topics } of consumers.values()) {
      const topic = topics.find((one) => one.name === name);
      const way = topic === undefined ? 'not at all' : filterText(topic.filterType, topic.filter);
      ways.set(way, [...(ways.get(way) ?? []), clientId]);
    }
    if (ways.size < 2) return [];
    return [`${name}: ${[...ways].map(([way, ids]) => `${way} (${idsText(ids)})`).join('; ')}`];
  });
}

const IDS_SHOWN_MAX = 3;

function idsText(ids: readonly string[]): string {
  const others = ids.length - IDS_SHOWN_MAX;
  return others > 0 ? `${ids.slice(0, IDS_SHOWN_MAX).join(', ')} and ${others} more` : ids.join(', ');
}

function subscriptionText({ name, filterType, filter }: ConnectedClient['topics'][number]): string {
  return filterType === '' || (filterType === 'TAG' && filter === '*')
    ? name
    : `${name} (${filterText(filterType, filter)})`;
}

function filterText(filterType: string, filter: string): string {
  return filterType === 'SQL' ? `sql ${filter}` : `tags ${filter}`;
}
