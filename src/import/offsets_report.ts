// Which offsets became which, and what that means for consumer groups: a file for whoever moves the consumers.
import type { GroupOffset } from './config_files.ts';
import type { Lane } from './lane.ts';
import type { OffsetRun } from './offset_runs.ts';

/** Where a group goes on with one queue. */
export interface GroupPosition {
  readonly group: string;
  readonly topic: string;
  readonly queue: number;
  /** As the store has it. */
  readonly oldOffset: number;
  /** In the group of TLedger; null when nothing of that queue was carried over. */
  readonly newOffset: number | null;
  /** Whether that is the very place, or only the next message that was carried over. */
  readonly exact: boolean;
}

/** Translates all groups' offsets. */
export function translateOffsets(offsets: readonly GroupOffset[], lanes: readonly Lane[]): GroupPosition[] {
  const byName = new Map(lanes.map((lane) => [`${lane.queue} ${lane.topic}`, lane]));
  return offsets.map(({ group, topic, queue, offset }) => {
    const found = byName.get(`${queue} ${topic}`)?.runs.translate(offset) ?? null;
    return { group, topic, queue, oldOffset: offset, newOffset: found?.offset ?? null, exact: found?.exact ?? false };
  });
}

/** The file: `queues` has [first old offset, first new offset, number of messages], `groups` what it means for each. */
export function offsetsDocument(storeId: string, lanes: readonly Lane[], positions: readonly GroupPosition[]) {
  const queues = new Map<string, Record<number, readonly OffsetRun[]>>();
  for (const { topic, queue, runs } of lanes) queues.set(topic, { ...queues.get(topic), [queue]: runs.runs });
  const groups = new Map<string, Omit<GroupPosition, 'group'>[]>();
  for (const { group, ...position } of positions) groups.set(group, [...(groups.get(group) ?? []), position]);
  return { storeId, queues: Object.fromEntries(queues), groups: Object.fromEntries(groups) };
}
