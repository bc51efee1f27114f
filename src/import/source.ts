// A store as a whole: its logs one behind the other, and a verdict on what is damaged. A torn end is what a killed broker
// leaves, and no damage; whatever the store's other files vouch for and the log does not have, is.
import { statSync } from 'node:fs';
import { TLedgerError } from '../base/errors.ts';
import { type ConsumeQueueEnds, readConsumeQueueEnds } from './consume_queue_ends.ts';
import type { StoreLayout } from './layout.ts';
import { type SourceDamage, type SourceEnd, type SourceMessage, scan } from './scanner.ts';

/** How far the checkpoint may be behind or ahead of what it tells of (ROCKETMQ_GRPC.md 10.5). */
const CHECKPOINT_MARGIN_MS = 3_000;

/** What a pass over a store tells, in the order of the log. */
export type SourceEvent =
  | { readonly kind: 'messages'; readonly messages: readonly SourceMessage[]; readonly bytesRead: number }
  /** Gone on behind it, because that was wished. */
  | { readonly kind: 'damage'; readonly damage: SourceDamage }
  /** An end that is not clean, and no damage. */
  | { readonly kind: 'torn'; readonly end: SourceEnd };

/** A store that can be read from its beginning as often as one likes. */
export class Source {
  readonly layout: StoreLayout;
  readonly ends: ConsumeQueueEnds;
  readonly #modifiedMs: ReadonlyMap<string, number>;

  constructor(layout: StoreLayout) {
    this.layout = layout;
    this.ends = readConsumeQueueEnds(layout.consumeQueueDirectory);
    this.#modifiedMs = modifiedMsOf(layout);
  }

  /**
   * All messages, verified.
   * @param skipDamaged go on behind damage and tell of it, instead of ending with an error.
   * @throws TLedgerError DATA_CORRUPTED naming file and position; DATA_DIR_FOREIGN when there is no message at all where
   * the first one should be; DATA_DIR_LOCKED when somebody writes to the store; STORAGE_FAILED.
   */
  async *read(skipDamaged: boolean): AsyncGenerator<SourceEvent, void, void> {
    let bytesRead = 0;
    let lastStoredMs = 0;
    let count = 0;
    const found = function* (damage: SourceDamage): Generator<SourceEvent> {
      if (!skipDamaged) throw corrupted(damage);
      yield { kind: 'damage', damage };
    };
    for (const [number, area] of this.layout.areas.entries()) {
      const isLast = number === this.layout.areas.length - 1;
      for await (const event of scan(area)) {
        if (event.kind === 'messages') {
          bytesRead += event.bytes;
          count += event.messages.length;
          lastStoredMs = event.messages.at(-1)?.message.storedAtMs ?? lastStoredMs;
          yield { kind: 'messages', messages: event.messages, bytesRead };
        } else if (event.kind === 'damage') {
          if (this.#isBehindTheEnd(event.damage.position)) {
            yield { kind: 'torn', end: leftOver(event.damage) };
            break;
          }
          yield* found(event.damage);
        } else {
          const { end } = event;
          if (count === 0 && end.leftoverBytes > 0) throw unknownFormat(end);
          const damage = isLast ? this.#missing(end, lastStoredMs) : undefined;
          if (damage !== undefined) yield* found(damage);
          else if (end.leftoverBytes > 0) yield { kind: 'torn', end };
        }
      }
    }
    this.#assertUnchanged();
  }

  /**
   * Whether a clean stop left its queues complete, and none of them knows anything there: RocketMQ does not wipe what it
   * cuts off after a crash, so old bytes may follow the end of the log.
   */
  #isBehindTheEnd(position: number): boolean {
    const { endPosition } = this.ends;
    return this.layout.wasStoppedCleanly && endPosition !== null && position >= endPosition;
  }

  /** What other files know of the log beyond its end. */
  #missing(end: SourceEnd, lastStoredMs: number): SourceDamage | undefined {
    const { wasStoppedCleanly, flushedMs, endIndex } = this.layout;
    const { endPosition } = this.ends;
    const { file, position } = end;
    const missing = (endsAt: number, reason: string) => ({
      file,
      position,
      endPosition: endsAt,
      reason: `${reason}${detail(end)}`,
    });
    if (end.missingBytes > 0 && (endPosition === null || position < endPosition)) {
      return missing(position + end.missingBytes, `is the end of a file that lacks ${end.missingBytes} bytes`);
    }
    if (wasStoppedCleanly && endPosition !== null && position < endPosition) {
      return missing(endPosition, `is the end, but the consume queues know messages up to ${endPosition}`);
    }
    if (endIndex !== null && (end.lastIndex ?? -1) < endIndex) {
      return missing(
        position,
        `is the end at entry ${end.lastIndex ?? 'none'}, but DLedger had entries up to ${endIndex}`,
      );
    }
    if (flushedMs !== null && lastStoredMs + CHECKPOINT_MARGIN_MS < flushedMs) {
      const times = `${isoTime(lastStoredMs)}, but the checkpoint knows messages of ${isoTime(flushedMs)}`;
      return missing(position, `is the end with a message of ${times}`);
    }
    return undefined;
  }

  /** @throws TLedgerError DATA_DIR_LOCKED */
  #assertUnchanged(): void {
    for (const [path, before] of modifiedMsOf(this.layout)) {
      if (this.#modifiedMs.get(path) === before) continue;
      throw new TLedgerError('DATA_DIR_LOCKED', `${path} was written to meanwhile: stop the broker, and begin again`);
    }
  }
}

function modifiedMsOf({ areas }: StoreLayout): Map<string, number> {
  const files = areas.flatMap((area) => area.files);
  return new Map(files.map(({ path }) => [path, statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0]));
}

function leftOver({ file, position, endPosition, reason }: SourceDamage): SourceEnd {
  return { file, position, leftoverBytes: endPosition - position, reason, missingBytes: 0, lastIndex: null };
}

function detail({ reason }: SourceEnd): string {
  return reason === '' ? '' : `; what stands there ${reason}`;
}

function corrupted({ file, position, endPosition, reason }: SourceDamage): TLedgerError {
  const goesOn = endPosition > position ? ` Good records go on at ${endPosition}.` : '';
  const text = `${file}: position ${position} ${reason}.${goesOn} --skip-damaged imports all the rest`;
  return new TLedgerError('DATA_CORRUPTED', text);
}

function unknownFormat({ file, position, reason }: SourceEnd): TLedgerError {
  const text = `${file}: position ${position} ${reason}. No message of RocketMQ begins anywhere in it`;
  return new TLedgerError('DATA_DIR_FOREIGN', text);
}

function isoTime(ms: number): string {
  return ms > 8.64e15 ? `${ms} ms` : new Date(ms).toISOString();
}
