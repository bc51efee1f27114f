// The refusal of an offset that a queue does not hold: not yet, or not any more. It says where the reader may go on.
import { TLedgerError } from '../base/errors.ts';
import { type QueueOffset, queueOffset } from '../format/message.ts';

/** OFFSET_OUT_OF_RANGE with the offsets that can be read from. */
export class OffsetOutOfRange extends TLedgerError {
  /** First offset that is kept: what comes before is gone with the log that held it. */
  readonly min: QueueOffset;
  /** Offset of the next message to come. */
  readonly max: QueueOffset;
  /** Where a reader goes on that wants to miss as little as possible. */
  readonly nextOffset: QueueOffset;

  /** @param queue names the queue, e.g. `queue 3 of topic orders`. */
  constructor(
    queue: string,
    { offset, min, max }: { readonly offset: number; readonly min: QueueOffset; readonly max: QueueOffset },
  ) {
    const nextOffset = offset > max ? max : offset > min ? queueOffset(Math.ceil(offset)) : min;
    const held = `which holds ${min} to ${max}; the next valid offset is ${nextOffset}`;
    super('OFFSET_OUT_OF_RANGE', `offset ${offset} is not in ${queue}, ${held}`);
    this.min = min;
    this.max = max;
    this.nextOffset = nextOffset;
  }
}
