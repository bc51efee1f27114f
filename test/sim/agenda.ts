// What is going to happen, in order: a binary heap of events by time, then by the order in which they were planned.

/** What kind of thing an event is to the process it belongs to: after a stall, due timers run before unread bytes. */
export type EventKind = 'timer' | 'io' | 'immediate';

/** Something that happens at one moment of simulated time. */
export interface Event<Owner> {
  atMs: number;
  sequence: number;
  /** Whose event it is: it does not happen if its owner has died by then. Null for the world's own. */
  readonly owner: Owner | null;
  readonly kind: EventKind;
  /** Null once cancelled. */
  run: (() => void) | null;
}

/** The heap. */
export class Agenda<Owner> {
  readonly #heap: Event<Owner>[] = [];
  #sequence = 0;

  get size(): number {
    return this.#heap.length;
  }

  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  add(owner: Owner | null, kind: EventKind, atMs: number, run: () => void): Event<Owner> {
    const event: Event<Owner> = { atMs, sequence: 0, owner, kind, run };
    this.put(event);
    return event;
  }

  /** Plans an event (again), behind all that is planned for the same moment. */
  put(event: Event<Owner>): void {
    event.sequence = this.#sequence++;
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = heap[(at - 1) >> 1]!;
      if (isBefore(parent, event)) break;
      heap[at] = parent;
      at = (at - 1) >> 1;
    }
    heap[at] = event;
  }

  /** Takes out the next event; the heap must not be empty. */
  take(): Event<Owner> {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (isBefore(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore<Owner>(one: Event<Owner>, other: Event<Owner>): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.sequence < other.sequence);
}
