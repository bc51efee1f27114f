// A log with everything in it that a group writes, and ways to apply it.
import { SeededRandom } from '../../src/base/random.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { codeOf, FakeLog, Harness, membership, message } from './fixture.ts';

/** A log as a busy group leaves it: topics, batches with and without producers, repeats, no-ops, segment ends. */
export async function busyLog(seed: number, rounds: number): Promise<FakeLog> {
  const random = new SeededRandom(seed);
  const harness = await Harness.start({ queues: 0, log: new FakeLog(16_384), limits: LIMITS });
  const names = ['T', '__proto__', '%RETRY%g', 'a|b'];
  const sequences = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    const topic = names[random.between(0, names.length - 1)]!;
    if (harness.broker.topic(topic) === undefined) harness.createTopic(topic, random.between(1, 5));
    const queueId = random.between(0, harness.broker.topic(topic)!.queues - 1);
    const count = random.between(1, 12);
    const producer = random.between(0, 8);
    const producerId = producer < 3 ? '' : `00000000000000c${producer}`;
    const sequence = sequences.get(producerId) ?? 1;
    const records = Array.from({ length: count }, (_, number) => {
      const tag = random.next() < 0.5 ? `tag${random.between(1, 3)}` : undefined;
      return encodeMessageRecord(message({ topic, queueId, tag, body: Buffer.from(`${round}-${number}`) }));
    });
    const request = { topic, queueId, producerId, sequence, records: Buffer.concat(records) };
    const code = codeOf(() => harness.admit(request));
    if (code === 'UNKNOWN_PRODUCER') sequences.delete(producerId);
    else sequences.set(producerId, sequence + count);
    if (random.next() < 0.1) harness.noop();
    if (random.next() < 0.05) harness.membership(membership(`n${random.between(1, 5)}`));
    if (random.next() < 0.5) harness.applyTo();
  }
  return harness.log;
}

/** Few producers and runs, so that forgetting happens; few files, so that closing and opening happens. */
export const LIMITS = { producersMax: 3, producerRunsMax: 4, openQueueFilesMax: 8 };

/** Applies the whole log in pieces of random length, with something in between. */
export async function applyInPieces(
  harness: Harness,
  random: SeededRandom,
  between: () => Promise<void>,
): Promise<void> {
  while (harness.broker.appliedIndex < harness.log.lastIndex) {
    harness.applyTo(Math.min(harness.log.lastIndex, harness.broker.appliedIndex + random.between(1, 40)));
    await between();
  }
}
