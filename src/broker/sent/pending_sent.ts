// Message ids that the leader let into the log and that are not applied yet, in front of the window of those that are.
import type { LogIndex } from '../../raft/types.ts';
import type { SentWindow } from './sent_window.ts';

/** Where a message will stand, or stands. */
export interface SentPlace {
  readonly offset: number;
  readonly lastIndex: LogIndex;
}

/** Leader only. */
export class PendingSent {
  readonly #window: SentWindow;
  /** In the order of the log. */
  readonly #pending = new Map<string, SentPlace>();

  constructor(window: SentWindow) {
    this.#window = window;
  }

  /** Where the message of that id went or is on its way to. */
  find(topic: string, id: string): SentPlace | undefined {
    const pending = this.#pending.get(nameOf(topic, id));
    if (pending !== undefined) return pending;
    const sent = this.#window.find(topic, id);
    return sent === undefined ? undefined : { offset: sent.offset, lastIndex: sent.index };
  }

  /** A batch was let in; whoever sends its first message again is told of it. */
  add(topic: string, ids: readonly string[], place: SentPlace): void {
    for (const id of ids) this.#pending.set(nameOf(topic, id), place);
  }

  /** Everything up to `index` is applied: the window knows it. */
  settle(index: LogIndex): void {
    for (const [name, { lastIndex }] of this.#pending) {
      if (lastIndex > index) return;
      this.#pending.delete(name);
    }
  }

  clear(): void {
    this.#pending.clear();
  }
}

function nameOf(topic: string, id: string): string {
  return `${topic}\n${id}`;
}
