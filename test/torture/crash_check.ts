// What must hold of a replica that is opened after a crash, whatever was lost: everything acknowledged is there, nothing is
// there that never was, and what is derived is what the log makes of it; opening it once more changes no byte.
import { KEY_INDEX_KEY } from '../../src/broker/state_tables.ts';
import type { OpenGroup } from '../../src/replica/open_group.ts';
import { queueFilePath, UNIT_BYTES } from '../../src/storage/consume_queue.ts';
import { MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import {
  applyTo,
  DIRECTORY,
  type Known,
  type MemoryDisk,
  MemoryStateMedium,
  openReplica,
  recordsOf,
  type Version,
} from './crash_replica.ts';

/** A promise that a crash broke, as a sentence. */
export class BrokenPromise extends Error {}

const DERIVED = ['consumequeue', 'index', 'keyindex'];
/** Both slots of these are written anew at each start; what they say is checked by other means. */
const SLOTS = /\/(hardstate|checkpoint|base)(\.new)?$/;

/** Replicas made anew from their logs, by what they were made from. */
export class Rebuilt {
  readonly #states = new Map<string, string>();
  made = 0;

  /** The state that the log of `disk`, as `group` found it, leads to when nothing derived is left. */
  async stateAt(disk: MemoryDisk, { log }: OpenGroup, index: number): Promise<string> {
    const key = `${log.base.index}:${log.base.chainCrc}:${index}:${log.chainAt(index as never)}`;
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    for (const path of disk.files()) if (DERIVED.includes(path.split('/')[2]!)) disk.lose(path);
    const medium = new MemoryStateMedium();
    const anew = await openReplica(disk, medium);
    applyTo(anew, index);
    const state = await stateOf(anew, disk, medium);
    this.#states.set(key, state);
    this.made++;
    return state;
  }
}

/** Opens what a crash has left and checks it. @throws BrokenPromise */
export async function checkRecovery(
  disk: MemoryDisk,
  medium: MemoryStateMedium,
  known: Known,
  rebuilt: Rebuilt,
): Promise<void> {
  const group = await openReplica(disk, medium);
  await checkAgain(disk, medium, known);
  const version = checkLog(group, known);
  check(
    known.hardStates.some(
      ({ term, vote }) => group.hardState.state.term === term && group.hardState.state.vote === vote,
    ),
    () => `it has forgotten its vote: ${JSON.stringify(group.hardState.state)}`,
  );
  const snapshots: readonly number[] = group.snapshots.list();
  const needed = known.versions.length === 1 ? known.snapshots : [];
  check(
    [...needed, ...(group.log.base.index > 0 ? [group.log.base.index] : [])].every((at) => snapshots.includes(at)),
    () => `snapshots ${needed} were complete, and there are ${snapshots}`,
  );
  for (const at of group.snapshots.list()) drain(group, at);
  const { broker, log } = group;
  check(broker.appliedIndex <= log.lastIndex, () => `applied ${broker.appliedIndex} of ${log.lastIndex}`);
  check(broker.appliedIndex >= known.stored || version.base > known.stored, () => {
    return `a checkpoint at ${known.stored} was reported, and it stands at ${broker.appliedIndex}`;
  });
  applyTo(group, Math.min(log.lastIndex, version.committed));
  const copy = disk.clone();
  const state = await stateOf(group, disk, medium);
  const expected = await rebuilt.stateAt(copy, group, broker.appliedIndex);
  check(state === expected, () => `derived files differ from those made anew: ${differing(state, expected)}`);
}

/** @returns which of the known versions the log is. */
function checkLog(group: OpenGroup, { versions }: Known): Version {
  const { log } = group;
  const records = recordsOf(group);
  const version = versions.find(({ base, timeline, flushed }) => {
    const isWhole = base === log.base.index && log.lastIndex >= flushed && log.lastIndex <= timeline.length;
    return isWhole && records.every((record, at) => record.equals(timeline[base + at]!));
  });
  if (version === undefined) {
    const told = versions.map(({ base, flushed, timeline }) => `${base} … ${flushed} … ${timeline.length}`);
    throw new BrokenPromise(`the log is ${log.base.index} … ${log.lastIndex}, and might be ${told.join(' or ')}`);
  }
  check(log.flushedIndex === log.lastIndex, () => 'what recovery kept is not durable');
  for (let index = log.firstIndex; index <= log.lastIndex; index++) {
    const { position, sizeBytes } = log.locate(index);
    const record = records[index - log.firstIndex]!;
    check(log.readAt(position, sizeBytes).equals(record), () => `the log index is wrong about record ${index}`);
  }
  return version;
}

/** What was recovered is durable, and found again as it is. */
async function checkAgain(disk: MemoryDisk, medium: MemoryStateMedium, known: Known): Promise<void> {
  const found = contentOf(disk);
  const [again, againMedium] = [disk.clone(), medium.clone()];
  again.crash({ mode: 'lost' });
  againMedium.crash();
  sameContent(found, contentOf(again), 'recovery left what was not durable');
  const group = await openReplica(again, againMedium);
  sameContent(found, contentOf(again), 'a second recovery changed');
  checkLog(group, known);
}

function contentOf(disk: MemoryDisk): Map<string, Buffer> {
  const kept = disk.files().filter((path) => !SLOTS.test(path) && !/\/(consumequeue|keyindex)\//.test(path));
  return new Map(kept.map((path) => [path, disk.bytes(path)]));
}

function sameContent(before: Map<string, Buffer>, after: Map<string, Buffer>, what: string): void {
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const [one, other] = [before.get(path), after.get(path)];
    check(one !== undefined && other?.equals(one) === true, () => `${what} ${path}`);
  }
}

/** Everything derived, as text: topics, queues with their units, and the stored rows. */
async function stateOf({ broker }: OpenGroup, disk: MemoryDisk, medium: MemoryStateMedium): Promise<string> {
  await broker.checkpoint();
  const queues = broker.topics().flatMap(({ name, queues }) => {
    return Array.from({ length: queues }, (_, queueId) => {
      const { min, max } = broker.range(name, queueId);
      const path = `${DIRECTORY}/consumequeue/${queueFilePath(name, queueId, 0)}`;
      const units =
        max > min
          ? disk
              .bytes(path)
              .subarray(min * UNIT_BYTES, max * UNIT_BYTES)
              .toString('hex')
          : '';
      return [name, queueId, min, max, units];
    });
  });
  // How far the key index has come is stored when it has: it may stand where it began, which needs no row.
  const rows = [...(await new MemoryStateStore(medium).load())].filter(([key]) => key !== KEY_INDEX_KEY);
  return JSON.stringify({ topics: broker.topics(), queues, rows });
}

function drain({ snapshots }: OpenGroup, index: number): void {
  const snapshot = snapshots.open(index as never);
  for (const _ of snapshot.rows());
  snapshot.close();
}

function differing(one: string, other: string): string {
  let at = 0;
  while (one[at] === other[at]) at++;
  const from = Math.max(0, at - 60);
  return `${one.slice(from, at + 60)} instead of ${other.slice(from, at + 60)}`;
}

function check(holds: boolean, message: () => string): void {
  if (!holds) throw new BrokenPromise(message());
}
