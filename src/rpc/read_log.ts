// Admin.ReadLog: the records of the node that is asked, for `tledger log dump`.
import { TLedgerError } from '../base/errors.ts';
import { queueOffset } from '../format/message.ts';
import { indexAt } from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { ReadLogRequest, ReadLogResponse } from '../wire/admin_messages.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import type { Gateway } from './gateway.ts';

/** Records of one answer. */
const COUNT_MAX = 1_000;

/** @throws TLedgerError INVALID_ARGUMENT; TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE for a place in a queue. */
export function readLog(gateway: Gateway, request: ReadLogRequest): ReadLogResponse {
  const countMax = Math.min(COUNT_MAX, request.countMax === 0 ? COUNT_MAX : request.countMax);
  const page = gateway.recordPage(startOf(gateway, request), countMax);
  return {
    nodeId: gateway.nodeId,
    records: page.records.map(({ index, bytes, damage }) => ({
      ...{ index: String(index), record: bytes ?? Buffer.alloc(0), damage: damage ?? '' },
    })),
    nextIndex: String(page.nextIndex),
    firstIndex: String(page.firstIndex),
    appliedIndex: String(page.appliedIndex),
  };
}

function startOf(
  gateway: Gateway,
  { fromIndex, byPosition, position, topic, queueId, offset }: ReadLogRequest,
): LogIndex {
  if (byPosition) return gateway.indexAtPosition(uint64ToNumber(position, 'position'));
  if (topic === '') return logIndex(uint64ToNumber(fromIndex, 'from_index'));
  const from = queueOffset(uint64ToNumber(offset, 'offset'));
  const { records, count } = gateway.broker.pull({ topic, queueId, offset: from, countMax: 1, bytesMax: 1 });
  if (count === 0)
    throw new TLedgerError('OFFSET_OUT_OF_RANGE', `queue ${queueId} of ${topic} has no message ${from} yet`);
  return indexAt(records, 0);
}
