// Where a queue was at a time: the first message stored then or later. Store times never go back within a group (the
// leader's admission sees to it), so halving finds it; each look reads and verifies one message.
//
//   store times   10  20  20  20  30        a queue that holds offsets 5 to 9
//   asked for  5 -> 5     20 -> 6     21 -> 9     31 -> 10, the offset of the next message
import { type QueueOffset, queueOffset } from '../format/message.ts';
import { storedAtOf } from '../storage/key_index_records.ts';
import type { Broker } from './broker.ts';

/**
 * RocketMQ's lower boundary (`getOffsetInQueueByTime`, BoundaryType.LOWER): the first of several messages of the same
 * time; the first message that is kept when all are later; the offset of the next message when all are earlier. Among
 * the messages that were applied when it was called.
 * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, and what `Broker.read` throws.
 */
export async function offsetByTime(
  broker: Broker,
  topic: string,
  queueId: number,
  timeMs: number,
): Promise<QueueOffset> {
  let { min: low, max: high } = broker.range(topic, queueId);
  while (low < high) {
    const middle = queueOffset(Math.floor((low + high) / 2));
    const { min } = broker.range(topic, queueId);
    if (middle < min) {
      // Cut off meanwhile.
      low = queueOffset(Math.min(min, high));
      continue;
    }
    const { records } = await broker.read({ topic, queueId, offset: middle, countMax: 1, bytesMax: 1 });
    if (storedAtOf(records, 0) < timeMs) low = queueOffset(middle + 1);
    else high = middle;
  }
  return low;
}
