// Damage to what is stored: bits that flip where they lie, and disks that are gone. Within what the contract allows: never
// so much that no majority of sound nodes is left, and of the log only what the node's checkpoint durably vouches for;
// what lies behind it cannot be told from a torn write after a power loss, by any means of this node's own.
import type { Random } from '../../src/base/random.ts';
import { RECORD_HEADER_BYTES } from '../../src/format/record.ts';
import type { LogIndex } from '../../src/raft/types.ts';
import { Checkpoint } from '../../src/storage/checkpoint.ts';
import type { LogTip } from '../../src/storage/log_tip.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium } from '../../src/storage/memory_state_store.ts';
import type { DamagedPart, SimNode } from './node.ts';

/** Two copies of a value lie so far apart (src/storage/slots.ts). */
const SLOT_BYTES = 4096;
const FLIPS_MAX = 3;
const NEAR_BYTES = 40;

/** Parts that a strike may hit, as often as they are named; of one node all strikes hit the same part. */
const parts: readonly DamagedPart[] = [
  ...(['log', 'log', 'log', 'hard state', 'checkpoint', 'base', 'log index', 'queues', 'state', 'snapshots'] as const),
];

/**
 * Damages a part of what a node has stored.
 * @param lastIndexes where the logs of the other nodes end.
 * @returns which one, or null when there was nothing to damage.
 */
export function flipBits(node: SimNode, random: Random, lastIndexes: readonly number[]): DamagedPart | null {
  // Damage in two places at once, such as a record and the checkpoint that vouches for it, is beyond the contract.
  const part = [...node.damage][0] ?? parts[random.between(0, parts.length - 1)]!;
  const isDone = part === 'log' ? flipLog(node, random, lastIndexes) : flipIn(node, part, random);
  if (!isDone) return null;
  node.damage.add(part);
  return part;
}

/** The disk is replaced by an empty one: whoever was on it is gone. The process has ended before. */
export function loseDisk(node: SimNode): void {
  node.disk = new MemoryDisk();
  node.medium = new MemoryStateMedium();
  node.isLost = true;
}

function flipIn(node: SimNode, part: Exclude<DamagedPart, 'log'>, random: Random): boolean {
  switch (part) {
    case 'hard state':
      return flipSlot(node, `${node.directory}/hardstate`, random);
    case 'checkpoint':
      return flipSlot(node, `${node.directory}/checkpoint`, random);
    case 'base':
      return flipSlot(node, `${node.directory}/base`, random);
    case 'log index':
      return flipFile(node, `${node.directory}/index/`, random);
    case 'queues':
      return flipFile(node, `${node.directory}/consumequeue/`, random);
    case 'state':
      node.isStateDamaged = true;
      return true;
    case 'snapshots':
      return flipFile(node, `${node.directory}/snapshot/`, random);
  }
}

function flipLog(node: SimNode, random: Random, lastIndexes: readonly number[]): boolean {
  const vouched = durablyVouched(node);
  if (vouched === null || vouched.end === 0) return false;
  const files = filesUnder(node, `${node.directory}/commitlog/`);
  const first = Number(files[0]!.slice(-20));
  let isDone = false;
  for (let count = random.between(1, FLIPS_MAX); count > 0; count--) {
    const position = headerByte(node, vouched, random, lastIndexes) ?? between(first, vouched.end - 1, random);
    const path = files.findLast((name) => Number(name.slice(-20)) <= position);
    // What is vouched for may lie in no file any more: the log is being begun anew behind a snapshot.
    if (path === undefined) continue;
    isDone = flip(node, path, position - Number(path.slice(-20)), random) || isDone;
  }
  if (isDone) node.damagedUpTo = Math.max(node.damagedUpTo, vouched.index);
  return isDone;
}

/** A byte of the header of the record that another node's log ends with: what is said about it comes from there. */
function headerByte(node: SimNode, vouched: LogTip, random: Random, lastIndexes: readonly number[]): number | null {
  const { process } = node;
  if (process === null || lastIndexes.length === 0 || random.next() < 0.7) return null;
  const index = lastIndexes[random.between(0, lastIndexes.length - 1)]! as LogIndex;
  if (index < process.log.firstIndex || index > vouched.index) return null;
  return node.observe(({ log }) => log.locate(index).position) + random.between(0, RECORD_HEADER_BYTES - 1);
}

/** What a restart would know to be flushed even if the power went now; null when it would know nothing. */
function durablyVouched(node: SimNode): LogTip | null {
  const path = `${node.directory}/checkpoint`;
  if (!node.disk.exists(path) || filesUnder(node, `${node.directory}/commitlog/`).length === 0) return null;
  // A process that died between a change of names and its flush has left it pending; the system writes it some time.
  node.isObserved = true;
  node.disk.makeDirectory(node.directory);
  node.isObserved = false;
  const copy = node.disk.clone();
  copy.crash({ mode: 'lost' });
  if (!copy.exists(path)) return null;
  const checkpoint = new Checkpoint(copy, path);
  checkpoint.close();
  return checkpoint.loaded?.flushed ?? null;
}

/** One of two slots goes bad: the other one has to do. The same one each time, or nothing would be left. */
function flipSlot(node: SimNode, path: string, random: Random): boolean {
  if (!node.disk.exists(path)) return false;
  const slot = node.number % 2;
  return flip(node, path, slot * SLOT_BYTES + random.between(0, 60), random);
}

function flipFile(node: SimNode, directory: string, random: Random): boolean {
  const files = filesUnder(node, directory);
  if (files.length === 0) return false;
  let isDone = false;
  for (let count = random.between(1, FLIPS_MAX); count > 0; count--) {
    const path = files[random.between(0, files.length - 1)]!;
    const size = node.disk.bytes(path).length;
    if (size > 0) isDone = flip(node, path, between(0, size - 1, random), random) || isDone;
  }
  return isDone;
}

/** Anywhere, or near the end, where a restart looks. */
function between(low: number, high: number, random: Random): number {
  return random.next() < 0.5 ? random.between(low, high) : random.between(Math.max(low, high - NEAR_BYTES), high);
}

function flip(node: SimNode, path: string, position: number, random: Random): boolean {
  const bytes = node.disk.bytes(path).subarray(position, position + 1);
  if (bytes.length === 0) return false;
  bytes[0]! ^= 1 << random.between(0, 7);
  node.disk.corrupt(path, position, bytes);
  return true;
}

function filesUnder(node: SimNode, directory: string): string[] {
  return node.disk.files().filter((path) => path.startsWith(directory));
}
