// A client as operators are told of it.
import type { Clock } from '../../base/clock.ts';
import type { ClientTopic } from '../../wire/client_messages.ts';
import type { LocalClient } from '../connected_clients.ts';
import type { Client } from './clients.ts';

/** What is known of a client. */
export function clientEntry(client: Client, clock: Clock): LocalClient {
  const { clientId, type, settings, role, caller, connectedAtMs, seenAtMs } = client;
  const { language, version } = settings.userAgent ?? {};
  const isSaid = language !== undefined && language !== 'LANGUAGE_UNSPECIFIED';
  return {
    clientId,
    kind: type,
    group: role.group,
    topics: topicsOf(client),
    // Some give themselves out as another one in their headers (ROCKETMQ §1.4).
    language: isSaid ? String(language) : caller.language,
    version: version || caller.version,
    address: caller.peer,
    connectedTimestamp: String(connectedAtMs),
    lastSeenTimestamp: String(Math.round(clock.wallMs() - (clock.monotonicMs() - seenAtMs))),
  };
}

function topicsOf({ role, settings }: Client): ClientTopic[] {
  const published = [...role.publishes.keys()].map((name) => ({ name, filterType: '', filter: '' }));
  const subscriptions = settings.subscription?.subscriptions ?? [];
  const subscribed = role.subscribes.map((name, at) => {
    const { type = 'TAG', expression = '' } = subscriptions[at]?.expression ?? {};
    const filterType = type === 'SQL' ? 'SQL' : 'TAG';
    return { name, filterType, filter: expression === '' && filterType === 'TAG' ? '*' : expression };
  });
  return [...published, ...subscribed].sort((a, b) => (a.name < b.name ? -1 : 1));
}
