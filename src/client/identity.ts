// Who answers at an address. An address is only a claim, by the user or by the node that named it: before the first use
// the node behind it says which cluster, group and member it is, and who the others are.
import { TLedgerError } from '../base/errors.ts';
import { adminService } from '../wire/services.ts';
import type { Endpoint, MemberList, NodeIdentity } from './endpoint.ts';
import { unary } from './unary.ts';

/** What a node says of itself and of its group. */
export interface Introduction {
  readonly identity: NodeIdentity;
  /** Null when it does not say. */
  readonly members: MemberList | null;
}

/** Asks for it; the node answers from memory, with or without a leader. Rejects as `unary`. */
export async function askIdentity(
  endpoint: Endpoint,
  deadlineMs: number,
  signals: readonly (AbortSignal | undefined)[],
): Promise<Introduction> {
  const status = await unary(endpoint, adminService.clusterStatus, { localOnly: true }, { deadlineMs, signals });
  const [self] = status.nodes;
  if (self === undefined) throw new TLedgerError('INTERNAL', `${endpoint.address} does not say who it is`);
  return {
    identity: { cluster: status.cluster, group: status.group, nodeId: self.nodeId },
    members: status.membership,
  };
}

/** Whether two nodes keep the same log. */
export function isSameGroup(a: NodeIdentity, b: NodeIdentity): boolean {
  return a.cluster === b.cluster && a.group === b.group;
}
