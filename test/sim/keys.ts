// Whether a replica at rest finds by key what its queues hold: every message, nothing else, the newest first.
import type { Broker } from '../../src/broker/broker.ts';
import { decodeMessageRecord } from '../../src/format/message.ts';
import { sizeAt } from '../../src/format/record.ts';
import { hold } from './truth.ts';

/** Small enough that a segment has several files and a slot several keys. */
export const SIM_KEY_LAYOUT = { slots: 5, entriesMax: 40 };
const KEYS = 7;
/** A page of a query; odd, so that pages end anywhere. */
const PAGE_COUNT = 13;

/** The key of a message with that body. */
export function keyOfBody(body: string): string {
  return `k${body.charCodeAt(body.length - 1) % KEYS}`;
}

/** @returns messages that were found by key. @throws Violation */
export function checkKeys(id: string, broker: Broker, topic: string, queues: number): number {
  const expected = new Map<string, number[]>();
  for (let queueId = 0; queueId < queues; queueId++) {
    const { min, max } = broker.range(topic, queueId);
    for (let offset = min; offset < max; ) {
      const page = broker.pull({ topic, queueId, offset, countMax: 1_000, bytesMax: 1 << 20 });
      for (const { keys, physicalOffset } of decode(page.records)) {
        for (const key of keys) expected.set(key, [...(expected.get(key) ?? []), physicalOffset]);
      }
      offset = page.nextOffset;
    }
  }
  let count = 0;
  for (let number = 0; number < KEYS; number++) {
    const key = `k${number}`;
    const right = (expected.get(key) ?? []).sort((a, b) => b - a);
    const found: number[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const bounds = { beginMs: 0, endMs: Number.MAX_SAFE_INTEGER, countMax: PAGE_COUNT, bytesMax: 1 << 20 };
      const page = broker.keys.query({ topic, by: 'key', key, cursor, ...bounds });
      found.push(...decode(page.records).map(({ physicalOffset }) => physicalOffset));
      // What is still being made anew may lack messages, and must not invent any.
      if (!page.isComplete) return 0;
      cursor = page.cursor;
    }
    hold(found.join() === right.join(), () => `${id} finds ${found.join()} of ${topic} by ${key}, not ${right.join()}`);
    count += found.length;
  }
  return count;
}

function decode(records: Buffer) {
  const messages = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    const message = decodeMessageRecord(records, at, at + sizeAt(records, at));
    if (message !== undefined) messages.push(message);
  }
  return messages;
}
