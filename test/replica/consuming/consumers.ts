// Consumers of a simulated group: what they ask of whoever leads, as promises.

import { decodeMessageRecord, encodeMessageRecord } from '../../../src/format/message.ts';
import type { NodeId } from '../../../src/raft/types.ts';
import type { PoppedMessage, PopRequest, Receipt, Settled, Verdict } from '../../../src/replica/consuming/types.ts';
import type { Group } from '../group.ts';

export const popOf = (some: Partial<PopRequest> = {}): PopRequest => ({
  group: 'g',
  topic: 't',
  filter: { type: 'tag', expression: '*' },
  countMax: 32,
  bytesMax: 1_000_000,
  invisibleMs: 10_000,
  attemptId: '',
  waitMs: 0,
  ...some,
});

export const textOf = ({ record }: PoppedMessage): string =>
  decodeMessageRecord(record, 0, record.length)!.body.toString();

/** Runs time until the answer is there. */
export async function answered<T>(group: Group, promise: Promise<T>, maxMs = 60_000): Promise<T> {
  let isOver = false;
  promise.then(
    () => {
      isOver = true;
    },
    () => {
      isOver = true;
    },
  );
  await group.until('the answer', () => isOver, maxMs);
  return promise;
}

export function pop(group: Group, id: NodeId, some: Partial<PopRequest> = {}): Promise<readonly PoppedMessage[]> {
  const request = popOf(some);
  return new Promise((resolve, reject) => {
    group.replica(id).consuming.pop(request, group.clock.monotonicMs() + request.waitMs + 5_000, (error, result) => {
      if (result === null) reject(error);
      else resolve(result);
    });
  });
}

export function settle(
  group: Group,
  id: NodeId,
  verdicts: readonly { readonly receipt: Receipt; readonly verdict: Verdict }[],
  topic = 't',
): Promise<readonly Settled[]> {
  return new Promise((resolve, reject) => {
    const request = { group: 'g', topic, verdicts };
    group.replica(id).consuming.settle(request, group.clock.monotonicMs() + 5_000, (error, result) => {
      if (result === null) reject(error);
      else resolve(result);
    });
  });
}

export const acknowledge = (receipt: Receipt) => ({ receipt, verdict: { kind: 'acknowledge' } as const });

/** Appends one message a text and waits until they are committed. */
export async function send(
  group: Group,
  id: NodeId,
  texts: readonly string[],
  queueId = 0,
  tag?: string,
): Promise<void> {
  const records = Buffer.concat(
    texts.map((text) => encodeMessageRecord({ topic: 't', queueId, body: Buffer.from(text), tag, bornAtMs: 1 })),
  );
  await answered(group, group.append(id, { topic: 't', queueId, producerId: '', sequence: 0, records }));
}
