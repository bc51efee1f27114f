// How a client shows that it lives, and that it leaves (ROCKETMQ §4.3, §4.4).
import { TLedgerError } from '../../base/errors.ts';
import type {
  HeartbeatRequest,
  HeartbeatResponse,
  NotifyClientTerminationRequest,
  NotifyClientTerminationResponse,
} from '../../wire/rocketmq/service_messages.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { isNamed } from './enums.ts';
import { groupKey } from './namespaces.ts';
import { okStatus } from './status.ts';

/** @throws TLedgerError UNRECOGNIZED_CLIENT: most clients then send their settings again; ILLEGAL_GROUP */
export function heartbeat(
  { clients }: Edge,
  { group, clientType }: HeartbeatRequest,
  { caller }: Asked,
): HeartbeatResponse {
  if (clientType === 'CLIENT_TYPE_UNSPECIFIED' || !isNamed(clientType)) {
    throw new TLedgerError('UNRECOGNIZED_CLIENT', 'the heartbeat says no known type of client');
  }
  if (clientType !== 'PRODUCER') groupKey(group, caller);
  clients.known(caller);
  return { status: okStatus };
}

/** @throws TLedgerError UNRECOGNIZED_CLIENT, ILLEGAL_GROUP */
export function notifyClientTermination(
  { clients }: Edge,
  { group }: NotifyClientTerminationRequest,
  { caller }: Asked,
): NotifyClientTerminationResponse {
  // Some clients name an empty group.
  if (group !== undefined && group.name !== '') groupKey(group, caller);
  const { clientId } = clients.known(caller);
  clients.remove(clientId);
  return { status: okStatus };
}
