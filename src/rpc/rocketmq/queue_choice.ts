// Which queue of a topic a message goes to: messages of one group always to the same, so that they stay in order; the others
// to one after the other.
import { crc32 } from '../../base/crc.ts';

/** Topics whose turn is remembered. */
const TURNS_MAX = 10_000;

/** Chooses for one node. */
export class QueueChoice {
  readonly #turns = new Map<string, number>();

  /** @param messageGroup '' for none. */
  choose(topic: string, queues: number, messageGroup: string): number {
    if (messageGroup !== '') return crc32(Buffer.from(messageGroup)) % queues;
    if (this.#turns.size >= TURNS_MAX && !this.#turns.has(topic)) this.#turns.clear();
    const turn = this.#turns.get(topic) ?? Math.floor(Math.random() * queues);
    this.#turns.set(topic, turn + 1);
    return turn % queues;
  }
}
