// Nodes of a group introduce themselves on every peer call. One of another cluster or group, a call meant for another
// node and a node with other settings are each refused by name. Who is a member is no matter of the introduction: the log
// says so, and whoever calls may know more of it than whoever is called.
import { Metadata } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import { NAME, NAME_LENGTH_MAX } from '../base/names.ts';
import type { NodeId } from '../raft/types.ts';

/** The group that this node is of: told from others of the same name by an id. */
export interface GroupBelonging {
  /** Null until a group has taken the node in. */
  readonly groupId: string | null;
  /** Joins the group of that id for good; durable when it returns. */
  adopt(groupId: string): void;
}

/** Who this node is among its peers. */
export interface PeerIdentity {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /** Asked anew for every call, as a node that joins gets its group by the first call of a member. */
  readonly belonging: GroupBelonging;
  /** What must be equal on all members for their logs to be byte-identical, as text: `segmentSizeBytes=…`. */
  readonly settings: string;
}

const key = {
  cluster: 'tledger-cluster',
  group: 'tledger-group',
  groupId: 'tledger-group-id',
  from: 'tledger-from',
  to: 'tledger-to',
  settings: 'tledger-settings',
} as const;

const GROUP_ID = /^[0-9a-f]{16}$/;

/** The metadata of a call from `self` to `to`. */
export function introduce(self: PeerIdentity, to: NodeId, options: { readonly waitForReady: boolean }): Metadata {
  const metadata = new Metadata(options);
  metadata.set(key.cluster, self.cluster);
  metadata.set(key.group, self.group);
  metadata.set(key.groupId, self.belonging.groupId ?? '');
  metadata.set(key.from, self.nodeId);
  metadata.set(key.to, to);
  metadata.set(key.settings, self.settings);
  return metadata;
}

/**
 * Checks who calls. A node that waits to be taken in joins the caller's group.
 * @returns the calling node.
 * @throws TLedgerError NOT_A_MEMBER, WRONG_CLUSTER or UNKNOWN_GROUP, naming what was said and what was expected. The
 * text is read elsewhere, so that it names nodes.
 */
export function identify(self: PeerIdentity, metadata: Metadata): NodeId {
  const said = (name: string): string => String(metadata.get(name)[0] ?? '');
  const from = said(key.from);
  if (said(key.cluster) !== self.cluster) {
    throw new TLedgerError(
      'WRONG_CLUSTER',
      `node "${self.nodeId}" is of cluster "${self.cluster}", the caller of "${said(key.cluster)}"`,
    );
  }
  if (said(key.group) !== self.group) {
    throw new TLedgerError(
      'UNKNOWN_GROUP',
      `node "${self.nodeId}" serves group "${self.group}", not "${said(key.group)}"`,
    );
  }
  if (!NAME.test(from) || from.length > NAME_LENGTH_MAX || from === self.nodeId) {
    throw new TLedgerError('NOT_A_MEMBER', `"${from}" is not another node of group "${self.group}"`);
  }
  if (said(key.to) !== self.nodeId) {
    throw new TLedgerError('WRONG_CLUSTER', `this is node "${self.nodeId}", the call is meant for "${said(key.to)}"`);
  }
  if (said(key.settings) !== self.settings) {
    throw new TLedgerError(
      'WRONG_CLUSTER',
      `node "${from}" has ${said(key.settings)}, node "${self.nodeId}" has ${self.settings}: they must be equal`,
    );
  }
  checkGroup(self, from, said(key.groupId));
  return from;
}

/** Comes last: a call that is refused for anything else must not make a node join. */
function checkGroup({ belonging, group, nodeId }: PeerIdentity, from: NodeId, groupId: string): void {
  if (!GROUP_ID.test(groupId)) {
    throw new TLedgerError('NOT_A_MEMBER', `node "${from}" waits itself to be added to a group`);
  }
  if (belonging.groupId === null) belonging.adopt(groupId);
  if (belonging.groupId === groupId) return;
  throw new TLedgerError(
    'WRONG_CLUSTER',
    `node "${from}" is of another group named "${group}" (id ${groupId}, "${nodeId}" of ${belonging.groupId}), founded by others or recovered by force; whichever is to join: delete its data and start it with --join`,
  );
}
