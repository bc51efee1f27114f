// The file `repair`: this replica is being repaired, and may neither vote nor lead nor serve before its log holds again
// all that it vouched for. Durable before anything of the log is overwritten or taken away, gone when the log is whole.
import { TLedgerError } from '../base/errors.ts';
import { physicalOffset } from '../format/record.ts';
import { readUint64, writeUint64 } from '../format/uint64.ts';
import { type LogIndex, logIndex, type Term, term } from '../raft/types.ts';
import { type Damage, DamageError } from './damage.ts';
import type { Disk } from './disk.ts';
import { SlotFile } from './slots.ts';

const FORMAT = { magic: 0x544c_5250, version: 1 } as const; // "TLRP"
const PAYLOAD_BYTES = 16;

/**
 * The last record that a replica may have acknowledged. A log whose last record is committed, or is this one, and that
 * is not behind it (`isBehind`), holds all that was vouched for and can be committed: along a committed log terms don't
 * fall, so behind a committed record of a later term there is none of an earlier one (paper §5.4.1).
 */
export interface Vouched {
  readonly index: LogIndex;
  readonly term: Term;
}

/** Where nobody knows what was vouched for: nothing of `ofTerm` covers it, only a record of a later term does. */
export function anythingUpTo(ofTerm: Term): Vouched {
  return { index: logIndex(Number.MAX_SAFE_INTEGER), term: ofTerm };
}

/** Whether `tip` is less up to date than `vouched`: an earlier term, or the same and an earlier record. */
export function isBehind(tip: Vouched, vouched: Vouched): boolean {
  return tip.term < vouched.term || (tip.term === vouched.term && tip.index < vouched.index);
}

/**
 * What is stored, or null when no repair is under way.
 * @throws TLedgerError DATA_CORRUPTED when neither slot is valid: then nobody knows what was vouched for.
 */
export function loadRepairMark(disk: Disk, directory: string): Vouched | null {
  const path = pathOf(directory);
  if (!disk.exists(path)) return null;
  const { slots, payload } = SlotFile.open(disk, path, FORMAT);
  slots.close();
  if (payload?.length !== PAYLOAD_BYTES) {
    throw new TLedgerError('DATA_CORRUPTED', `${path}: neither slot says what the log has to hold`);
  }
  return { index: logIndex(readUint64(payload, 0)), term: term(readUint64(payload, 8)) };
}

/** Whether a repair has begun and not ended. */
export function isUnderRepair(disk: Disk, directory: string): boolean {
  return disk.exists(pathOf(directory));
}

/** What the mark itself says: the log may lack what was vouched for, and must not be used. Null when there is none. */
export function unfinishedRepair(disk: Disk, directory: string): (Damage & { readonly kind: 'log' }) | null {
  const file = pathOf(directory);
  if (!disk.exists(file)) return null;
  const reason = 'a repair of this log has not ended';
  return { kind: 'log', file, position: physicalOffset(0), index: logIndex(1), reason };
}

/** @throws DamageError when a repair has not ended. */
export function refuseUnderRepair(disk: Disk, directory: string): void {
  const damage = unfinishedRepair(disk, directory);
  if (damage !== null) throw new DamageError(damage);
}

/** Durable, and as a whole, when it returns. */
export function saveRepairMark(disk: Disk, directory: string, vouched: Vouched): void {
  const payload = Buffer.alloc(PAYLOAD_BYTES);
  writeUint64(payload, vouched.index, 0);
  writeUint64(payload, vouched.term, 8);
  SlotFile.create(disk, pathOf(directory), FORMAT, payload).close();
}

/** The log is whole, and all of it durable. */
export function removeRepairMark(disk: Disk, directory: string): void {
  disk.remove(pathOf(directory));
}

function pathOf(directory: string): string {
  return `${directory}/repair`;
}
