// Where the queues of a topic are: all of them here. Every node answers every client, so a client is sent back to where it
// came from, by an address that it certainly can reach (ROCKETMQ §4.2, §4.5).
import { splitAddress, type Address as TextAddress } from '../../base/address.ts';
import { TLedgerError } from '../../base/errors.ts';
import { quoted } from '../../base/quoted.ts';
import type { TopicInfo } from '../../broker/types.ts';
import type { Address, Endpoints, MessageQueue, Resource } from '../../wire/rocketmq/definitions.ts';
import type {
  QueryAssignmentRequest,
  QueryAssignmentResponse,
  QueryRouteRequest,
  QueryRouteResponse,
} from '../../wire/rocketmq/service_messages.ts';
import type { Gateway } from '../gateway.ts';
import type { Asked } from './answering.ts';
import type { Caller } from './caller.ts';
import type { Edge } from './edge.ts';
import { acceptedTypes } from './message_type.ts';
import { groupKey } from './namespaces.ts';
import { okStatus } from './status.ts';
import { findTopic } from './topics.ts';

/** It is repeated in each queue of a route: whatever can be a host's name, and no more. */
const HOST = /^\S{1,255}$/;
/** The queue id that stands for a whole broker. */
const WHOLE_BROKER = -1;

/** @throws TLedgerError ILLEGAL_TOPIC, TOPIC_NOT_FOUND, ILLEGAL_ACCESS_POINT; what catching up throws. */
export async function queryRoute(
  { gateway }: Edge,
  { topic: resource, endpoints }: QueryRouteRequest,
  asked: Asked,
): Promise<QueryRouteResponse> {
  const topic = await findTopic(gateway, resource, asked);
  const queue = queueMaker(gateway, topic, resource!, endpointsFor(gateway, endpoints, asked.caller));
  // Lite topics are queues, which are nothing for clients to choose from.
  const count = topic.messageType === 'lite' ? 1 : topic.queues;
  const messageQueues = Array.from({ length: count }, (_, id) => queue(id));
  return { status: okStatus, messageQueues };
}

/** @throws TLedgerError ILLEGAL_TOPIC, ILLEGAL_GROUP, TOPIC_NOT_FOUND, ILLEGAL_ACCESS_POINT; what catching up throws. */
export async function queryAssignment(
  { gateway }: Edge,
  { topic: resource, group: groupResource, endpoints }: QueryAssignmentRequest,
  asked: Asked,
): Promise<QueryAssignmentResponse> {
  const group = groupKey(groupResource, asked.caller);
  const topic = await findTopic(gateway, resource, asked);
  const queue = queueMaker(gateway, topic, resource!, endpointsFor(gateway, endpoints, asked.caller));
  const isFifo = gateway.broker.tables.groups.get(group)?.isFifo === true;
  const ids =
    isFifo && topic.messageType !== 'lite' ? Array.from({ length: topic.queues }, (_, id) => id) : [WHOLE_BROKER];
  return { status: okStatus, assignments: ids.map((id) => ({ messageQueue: queue(id) })) };
}

function queueMaker(
  gateway: Gateway,
  topic: TopicInfo,
  resource: Resource,
  endpoints: Endpoints,
): (id: number) => MessageQueue {
  // Clients take brokers of id 0 for those that one may write to.
  const broker = { name: gateway.group, id: 0, endpoints };
  const acceptMessageTypes = acceptedTypes(topic);
  return (id) => ({ topic: resource, id, permission: 'READ_WRITE', broker, acceptMessageTypes });
}

/**
 * Where the client is to go: one address, with the host by which it came. The port is that by which it came if it says so
 * twice (by what it was configured with, and by what it dialled), as behind a forwarded port; this node's own otherwise.
 * @throws TLedgerError ILLEGAL_ACCESS_POINT
 */
export function endpointsFor(
  gateway: Gateway,
  asked: Endpoints | null,
  { authority }: Pick<Caller, 'authority'>,
): Endpoints {
  const own = splitAddress(gateway.self.clientAddress as TextAddress);
  const named = asked?.addresses.find(({ host }) => host !== '');
  if (named !== undefined && !HOST.test(named.host)) {
    throw new TLedgerError('ILLEGAL_ACCESS_POINT', `endpoints: ${quoted(named.host)} is no host`);
  }
  if (asked === null || named === undefined) return { scheme: schemeOf(own.host), addresses: [own] };
  const isDialled = (address: Address): boolean =>
    address.port > 0 && [`${address.host}:${address.port}`, `[${address.host}]:${address.port}`].includes(authority);
  const dialled = asked.addresses.find(isDialled);
  const { host, port } = dialled ?? { host: named.host, port: own.port };
  const scheme = asked.scheme === 'ADDRESS_SCHEME_UNSPECIFIED' ? schemeOf(host) : asked.scheme;
  return { scheme, addresses: [{ host, port }] };
}

function schemeOf(host: string): Endpoints['scheme'] {
  if (host.includes(':')) return 'IPv6';
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(host) ? 'IPv4' : 'DOMAIN_NAME';
}
