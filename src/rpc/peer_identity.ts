// Members introduce themselves on every peer call. A stranger, a member of another cluster or group, a call meant for
// another node and a member with other settings are each refused by name.
import { Metadata } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import type { NodeId } from '../raft/types.ts';

/** Who this node is among its peers. */
export interface PeerIdentity {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  readonly members: readonly NodeId[];
  /** What must be equal on all members for their logs to be byte-identical, as text: `segmentSizeBytes=…`. */
  readonly settings: string;
}

const key = {
  cluster: 'tledger-cluster',
  group: 'tledger-group',
  from: 'tledger-from',
  to: 'tledger-to',
  settings: 'tledger-settings',
} as const;

/** The metadata of a call from `self` to `to`. */
export function introduce(self: PeerIdentity, to: NodeId, options: { readonly waitForReady: boolean }): Metadata {
  const metadata = new Metadata(options);
  metadata.set(key.cluster, self.cluster);
  metadata.set(key.group, self.group);
  metadata.set(key.from, self.nodeId);
  metadata.set(key.to, to);
  metadata.set(key.settings, self.settings);
  return metadata;
}

/**
 * Checks who calls.
 * @returns the calling member.
 * @throws TLedgerError NOT_A_MEMBER, WRONG_CLUSTER or UNKNOWN_GROUP, naming what was said and what was expected.
 */
export function identify(self: PeerIdentity, metadata: Metadata): NodeId {
  const said = (name: string): string => String(metadata.get(name)[0] ?? '');
  const from = said(key.from);
  if (said(key.cluster) !== self.cluster) {
    throw new TLedgerError(
      'WRONG_CLUSTER',
      `this node is of cluster "${self.cluster}", the caller of "${said(key.cluster)}"`,
    );
  }
  if (said(key.group) !== self.group) {
    throw new TLedgerError('UNKNOWN_GROUP', `this node serves group "${self.group}", not "${said(key.group)}"`);
  }
  if (!self.members.includes(from) || from === self.nodeId) {
    throw new TLedgerError('NOT_A_MEMBER', `"${from}" is not another member of group "${self.group}"`);
  }
  if (said(key.to) !== self.nodeId) {
    throw new TLedgerError('WRONG_CLUSTER', `this is node "${self.nodeId}", the call is meant for "${said(key.to)}"`);
  }
  if (said(key.settings) !== self.settings) {
    throw new TLedgerError('WRONG_CLUSTER', `node "${from}" has ${said(key.settings)}, this node has ${self.settings}`);
  }
  return from;
}
