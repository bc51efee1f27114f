// An independent model of what a log means, and the whole state of a broker as text, to hold against each other.
import { expect } from 'chai';
import {
  decodeMessageRecord,
  hasProducerStamp,
  locateParts,
  newParts,
  producerIdOf,
  sequenceOf,
  tagHash,
} from '../../src/format/message.ts';
import { magicAt, positionAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../../src/format/record.ts';
import { DIRECTORY, type FakeLog, type Harness } from './fixture.ts';

/** What the records up to `index` mean, by a model that shares no code with projection, queues or tables. */
export function modelOf(
  log: FakeLog,
  index: number,
  producersMax = 10_000,
): { units: Map<string, Buffer>; last: Map<string, number> } {
  const units = new Map<string, Buffer[]>();
  const last = new Map<string, number>();
  for (let at = 1; at <= index; at++) {
    const start = log.starts[at]!;
    const end = start + sizeAt(log.bytes, start);
    if (magicAt(log.bytes, start) !== recordMagic.message) continue;
    const stored = decodeMessageRecord(log.bytes, start, end)!;
    const path = `${DIRECTORY}/${stored.topic.replaceAll('|', '+')}/${stored.queueId}/00000000000000000000`;
    const unit = Buffer.alloc(20);
    unit.writeBigInt64BE(BigInt(positionAt(log.bytes, start) + RECORD_HEADER_BYTES), 0);
    unit.writeInt32BE(end - start - RECORD_HEADER_BYTES, 8);
    unit.writeBigInt64BE(BigInt(tagHash(stored.tag ?? '')), 12);
    const known = units.get(path) ?? [];
    expect(stored.queueOffset, 'offsets are dense').to.equal(known.length);
    units.set(path, [...known, unit]);
    const parts = newParts();
    locateParts(log.bytes, start + RECORD_HEADER_BYTES, end, parts);
    if (!hasProducerStamp(log.bytes, parts)) throw new Error('every stored message has a stamp');
    const id = producerIdOf(log.bytes, parts);
    last.delete(id);
    if (!/^0+$/.test(id)) last.set(id, sequenceOf(log.bytes, parts));
  }
  const kept = [...last].slice(-producersMax);
  return { units: new Map([...units].map(([path, list]) => [path, Buffer.concat(list)])), last: new Map(kept) };
}

/** Everything a broker holds, as text: the tables after a checkpoint, and the files. */
export async function stateOf(harness: Harness): Promise<{ tables: Map<string, string>; files: Map<string, string> }> {
  await harness.broker.checkpoint();
  const paths = harness.disk.files().filter((path) => path.startsWith(DIRECTORY));
  const files = new Map(paths.map((path) => [path, harness.disk.bytes(path).toString('hex')]));
  return { tables: new Map([...harness.medium.durable].sort()), files };
}
