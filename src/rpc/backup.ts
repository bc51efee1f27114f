// Admin.Backup: makes a backup on this node's machine and tells how far it is.
import type { ServerWritableStream } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import type * as messages from '../wire/admin_messages.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import { type Incoming, wellFormed } from '../wire/services.ts';
import type { CallContext, OpenCall } from './calls.ts';
import type { BackupMade, BackupSteps, Gateway } from './gateway.ts';

/** Progress is told no more often than this. */
const TELL_INTERVAL_MS = 200;

/**
 * Serves one backup; it ends with the call.
 * @throws TLedgerError UNKNOWN_NODE when another node is meant; NODE_REMOVED; NO_LEADER unless `stale`; what `BackupDoor`
 * throws.
 */
export async function serveBackup(
  gateway: Gateway,
  { clock }: Pick<CallContext, 'clock'>,
  call: ServerWritableStream<Incoming<messages.BackupRequest>, messages.BackupProgress>,
  open: OpenCall,
): Promise<void> {
  const request = wellFormed(call.request);
  if (request.nodeId !== gateway.nodeId) {
    throw new TLedgerError('UNKNOWN_NODE', `this is node "${gateway.nodeId}", not "${request.nodeId}"`);
  }
  const refusal = gateway.outside();
  if (refusal !== null) throw refusal;
  const { directory, prune, stale } = request;
  const order = { directory, prune, bytesPerSecond: uint64ToNumber(request.bytesPerSecond, 'bytes_per_second') };
  const ended = new AbortController();
  open.whenOver(() => ended.abort());
  open.onDrain(() => ended.abort());
  // What was acknowledged before the call is in the backup.
  if (!stale) await gateway.readBarrier(open.stepDeadlineMs);
  let tellAtMs = clock.monotonicMs();
  const tell = (steps: BackupSteps): void => {
    // Who does not listen is told less often.
    if (clock.monotonicMs() < tellAtMs || open.isOver || call.writableNeedDrain) return;
    tellAtMs = clock.monotonicMs() + TELL_INTERVAL_MS;
    call.write(toProgress(steps, null));
  };
  const made = await gateway.backups.run(order, tell, ended.signal);
  if (!open.isOver) call.write(toProgress(made, toDone(made, gateway.nodeId, directory)));
}

function toProgress(steps: BackupSteps, done: messages.BackupDone | null): messages.BackupProgress {
  return {
    lastIndex: String(steps.lastIndex),
    bytesTotal: String(steps.bytesTotal),
    bytesRead: String(steps.bytesRead),
    bytesKept: String(steps.bytesKept),
    bytesLinked: String(steps.bytesLinked),
    bytesCopied: String(steps.bytesCopied),
    done,
  };
}

function toDone(made: BackupMade, nodeId: string, directory: string): messages.BackupDone {
  const { firstIndex, lastIndex, lastTerm, chainCrc, checksum, continuedFrom } = made;
  return {
    nodeId,
    directory,
    firstIndex: String(firstIndex),
    lastIndex: String(lastIndex),
    lastTerm: String(lastTerm),
    chainCrc,
    checksum,
    continuedFrom: String(continuedFrom),
  };
}
