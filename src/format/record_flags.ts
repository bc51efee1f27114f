// Bits of a record header's channel field. The leader sets them when it takes a record in; chainCrc covers them.
import { flagsAt } from './record.ts';

/** What a message record is, beside a message. */
export const recordFlag = {
  /** Held back: no queue has it before another record brings it there (a delayed message, half of a transaction). */
  parked: 0x100,
  /** Its property `EFFECT` says what else happens when it is applied. */
  effect: 0x200,
  /** Its message id is remembered for a while, so that the client's own repetition is recognised. */
  remembered: 0x400,
  /**
   * A replica says that it holds this record only once it is on its disk, even if it says so of others after the write
   * already (`flush: async`).
   */
  flushFirst: 0x800,
} as const;

/** Whether the message record at `at` is held back: it lies in no queue and is found by no key, whatever its fields say. */
export const isParkedAt = (buffer: Buffer, at: number): boolean => (flagsAt(buffer, at) & recordFlag.parked) !== 0;
