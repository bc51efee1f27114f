// A backup by one node of the group, which a follower makes unless another one is asked.
import { TLedgerError } from '../base/errors.ts';
import type { BackupProgress, ClusterStatusResponse, NodeStatus } from '../wire/admin_messages.ts';
import { numberToInt64 } from '../wire/int64.ts';
import { adminService } from '../wire/services.ts';
import { errorOf } from '../wire/status.ts';
import { Endpoint } from './endpoint.ts';
import { serverStream } from './server_stream.ts';

/** So far behind the others a node may be and still count as caught up. */
const LAG_RECORDS_MAX = 10_000;

/** What is backed up where. */
export interface BackupWish {
  /** Absolute, on the machine of the node that makes the backup. */
  readonly directory: string;
  /** Who makes it; by default the first follower by name that has caught up, the leader if there is no follower. */
  readonly nodeId?: string | undefined;
  /** Read and written by the node at most; as much as its disk gives when 0 (default). */
  readonly bytesPerSecond?: number | undefined;
  /** Lets go of what the node's log does not hold any more. Default false: an earlier backup's part of it is kept. */
  readonly prune?: boolean | undefined;
  /** Backs up what the node has, without asking the leader what is committed by now. Default false. */
  readonly stale?: boolean | undefined;
  /** Ends it; nothing half is left behind. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Who makes a backup.
 * @throws TLedgerError UNKNOWN_NODE, UNREACHABLE
 */
export function backupNodeOf(status: ClusterStatusResponse, nodeId: string | undefined): NodeStatus {
  const candidates = status.nodes.filter((node) => nodeId === undefined || node.nodeId === nodeId);
  if (candidates.length === 0) throw new TLedgerError('UNKNOWN_NODE', `the group has no member "${nodeId}"`);
  const reachable = candidates.filter((node) => node.reachable);
  const furthest = Math.max(...reachable.map(({ appliedIndex }) => Number(appliedIndex)));
  const hasCaughtUp = ({ appliedIndex }: NodeStatus): boolean => furthest - Number(appliedIndex) <= LAG_RECORDS_MAX;
  const rank = (node: NodeStatus): number => (node.nodeId === status.leaderId ? 1 : 0) + (hasCaughtUp(node) ? 0 : 2);
  const [chosen] = reachable.sort((a, b) => rank(a) - rank(b) || (a.nodeId < b.nodeId ? -1 : 1));
  if (chosen !== undefined) return chosen;
  throw new TLedgerError('UNREACHABLE', `${nodeId ?? 'no member'} cannot be reached: ${candidates[0]!.error}`);
}

/** How far the backup is, a few times a second; the last message says what was made. */
export async function* backup(
  node: Pick<NodeStatus, 'nodeId' | 'clientAddress'>,
  wish: BackupWish,
  closing: AbortSignal,
): AsyncGenerator<BackupProgress, void, void> {
  const { directory, bytesPerSecond, prune, stale, signal } = wish;
  const request = {
    ...{ nodeId: node.nodeId, directory, prune: prune === true, stale: stale === true },
    bytesPerSecond: numberToInt64(bytesPerSecond ?? 0, 'bytesPerSecond'),
  };
  const endpoint = new Endpoint(node.clientAddress);
  let isDone = false;
  try {
    for await (const progress of serverStream(endpoint, adminService.backup, request, [signal, closing])) {
      isDone = progress.done !== null;
      yield progress;
    }
  } catch (error) {
    throw errorOf(error);
  } finally {
    endpoint.close();
  }
  if (!isDone) throw new TLedgerError('UNREACHABLE', `${node.nodeId} ended before the backup was complete`);
}
