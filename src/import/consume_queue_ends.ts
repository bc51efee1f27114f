// What a store's consume queues say of its log: how many queues each topic has, and up to where the log had come when the
// queues were written last. They are derived from the log, so they can witness that a part of it is missing.
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { readUint64 } from '../format/uint64.ts';
import { filesOf, isDirectory } from './layout.ts';

const UNIT_BYTES = 20;
const SIZE_AT = 8;
/** The size in units that only fill the place before a queue's first message. */
const FILL_SIZE = 0x7fff_ffff;

/** The witnesses of a store. */
export interface ConsumeQueueEnds {
  /** Topic -> highest queue number + 1. */
  readonly queues: ReadonlyMap<string, number>;
  /** Physical offset behind the last message that any queue knows; null when there is none. */
  readonly endPosition: number | null;
}

/** Reads the last unit of every queue; nothing when there are no queues. */
export function readConsumeQueueEnds(directory: string): ConsumeQueueEnds {
  const queues = new Map<string, number>();
  let endPosition: number | null = null;
  for (const topic of directoriesIn(directory)) {
    for (const queue of directoriesIn(join(directory, topic)).filter((name) => /^\d+$/.test(name))) {
      queues.set(topic, Math.max(queues.get(topic) ?? 0, Number(queue) + 1));
      const end = lastUnitEnd(join(directory, topic, queue));
      if (end !== null && (endPosition === null || end > endPosition)) endPosition = end;
    }
  }
  return { queues, endPosition };
}

function directoriesIn(directory: string): string[] {
  if (!isDirectory(directory)) return [];
  return readdirSync(directory).filter((name) => isDirectory(join(directory, name)));
}

/** Units are dense and zeros follow them, so the last one is found by halving. */
function lastUnitEnd(directory: string): number | null {
  for (const { path, sizeBytes } of filesOf(directory).reverse()) {
    const file = openSync(path, 'r');
    try {
      const unit = Buffer.alloc(UNIT_BYTES);
      const sizeAt = (number: number): number => {
        readSync(file, unit, 0, UNIT_BYTES, number * UNIT_BYTES);
        return unit.readUInt32BE(SIZE_AT);
      };
      let written = 0;
      for (let above = Math.floor(sizeBytes / UNIT_BYTES); written < above; ) {
        const middle = Math.floor((written + above) / 2);
        if (sizeAt(middle) > 0) written = middle + 1;
        else above = middle;
      }
      if (written === 0) continue;
      const size = sizeAt(written - 1);
      return size === FILL_SIZE ? null : readUint64(unit, 0) + size;
    } finally {
      closeSync(file);
    }
  }
  return null;
}
