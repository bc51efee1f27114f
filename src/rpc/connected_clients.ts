// Who is connected to the group: each node knows its own clients, and asks the others for theirs. In pages, by client id and
// node, since there may be many:
//
//   n0   a b c d …            (its page is full at d)
//   n1   a c x                (no more)
//   n2   does not answer: named
//        a a b c c d          one page: behind d n0 may have some that come before x
import { TLedgerError } from '../base/errors.ts';
import type { NodeId } from '../raft/types.ts';
import type { AskedNode, ConnectedClient, ListClientsRequest, ListClientsResponse } from '../wire/client_messages.ts';
import { errorOf } from '../wire/status.ts';

/** Clients of one page. */
export const CLIENTS_PAGE_COUNT_MAX = 500;
/** Bytes of what they say, about; one client may exceed them (rocketmq/settings.ts bounds it). */
const PAGE_BYTES_MAX = 512 * 1_024;
/** How long another node may take to tell. */
const ASK_TIMEOUT_MS = 1_000;

/** A client as it is told of; the node that knows it adds its own name. */
export type LocalClient = Omit<ConnectedClient, 'nodeId'>;

/** How the others are asked. */
export interface ConnectedClientsOptions {
  readonly nodeId: NodeId;
  readonly members: () => readonly { readonly nodeId: NodeId }[];
  readonly ask: (nodeId: NodeId, request: ListClientsRequest, timeoutMs: number) => Promise<ListClientsResponse>;
}

/** The clients of a group as one node sees them. */
export class ConnectedClients {
  readonly #options: ConnectedClientsOptions;
  #local: () => Iterable<LocalClient> = () => [];

  constructor(options: ConnectedClientsOptions) {
    this.#options = options;
  }

  /** Whoever serves clients here says who they are; before that there are none. */
  known(local: () => Iterable<LocalClient>): void {
    this.#local = local;
  }

  /** Those of this node. */
  localPage(request: ListClientsRequest): ListClientsResponse {
    const { nodeId } = this.#options;
    const wanted: ConnectedClient[] = [];
    for (const client of this.#local()) {
      if (request.group !== '' && client.group !== request.group) continue;
      const named = { ...client, nodeId };
      if (isAfter(named, request)) wanted.push(named);
    }
    return { ...firstOf(wanted), nodes: [{ nodeId, error: '' }] };
  }

  /** Those of all nodes that answer; the others are named. */
  async page(request: ListClientsRequest): Promise<ListClientsResponse> {
    if (request.localOnly) return this.localPage(request);
    const members = this.#options.members().map(({ nodeId }) => nodeId);
    // A node that is no member any more, or not yet, has clients, too.
    const asked = members.includes(this.#options.nodeId) ? members : [this.#options.nodeId, ...members];
    const answers = await Promise.all(asked.map((nodeId) => this.#pageOf(nodeId, request)));
    const full = answers.flatMap(({ page }) => (page === null || page.complete ? [] : [page.clients.at(-1)!]));
    const [bound] = full.sort(byPlace);
    const known = answers
      .flatMap(({ page }) => page?.clients ?? [])
      .filter((client) => bound === undefined || byPlace(client, bound) <= 0);
    const { clients, complete } = firstOf(known);
    return { clients, nodes: answers.map(({ node }) => node), complete: complete && bound === undefined };
  }

  async #pageOf(
    nodeId: NodeId,
    request: ListClientsRequest,
  ): Promise<{ readonly node: AskedNode; readonly page: ListClientsResponse | null }> {
    try {
      const isHere = nodeId === this.#options.nodeId;
      const page = isHere
        ? this.localPage(request)
        : await this.#options.ask(nodeId, { ...request, localOnly: true }, ASK_TIMEOUT_MS);
      if (!page.complete && page.clients.length === 0) {
        throw new TLedgerError('INTERNAL', 'it says that there are more clients, and names none');
      }
      return { node: { nodeId, error: '' }, page };
    } catch (error) {
      return { node: { nodeId, error: errorOf(error).message }, page: null };
    }
  }
}

/** As many as a page holds, by their places. */
function firstOf(known: readonly ConnectedClient[]): Pick<ListClientsResponse, 'clients' | 'complete'> {
  const clients: ConnectedClient[] = [];
  let bytes = 0;
  for (const client of [...known].sort(byPlace)) {
    bytes += Buffer.byteLength(JSON.stringify(client));
    const isFull = clients.length === CLIENTS_PAGE_COUNT_MAX || bytes > PAGE_BYTES_MAX;
    if (isFull && clients.length > 0) break;
    clients.push(client);
  }
  return { clients, complete: clients.length === known.length };
}

type Place = Pick<ConnectedClient, 'clientId' | 'nodeId'>;

function byPlace(a: Place, b: Place): number {
  if (a.clientId !== b.clientId) return a.clientId < b.clientId ? -1 : 1;
  return a.nodeId === b.nodeId ? 0 : a.nodeId < b.nodeId ? -1 : 1;
}

function isAfter(client: Place, { afterClientId, afterNodeId }: ListClientsRequest): boolean {
  return byPlace(client, { clientId: afterClientId, nodeId: afterNodeId }) > 0;
}
