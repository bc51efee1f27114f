// One life of a simulated process: from its start to its end, with the clock it sees. A process that has ended does
// nothing any more, whatever its promises and timers had planned; one that stalls does everything late.
import type { Clock, Timer } from '../../src/base/clock.ts';
import type { Agenda, Event, EventKind } from './agenda.ts';

/** A hair, so that a timer is never early by a rounding of the clock's rate. */
const ROUNDING_MS = 1e-6;

/** What a process's clock is like. */
export interface ClockShape {
  /** Where the monotonic clock begins. */
  readonly startMs: number;
  /** How fast it runs: 1 is right. */
  readonly rate: number;
  /** How far the wall clock is off. */
  wallOffsetMs: number;
}

/** The time of the world that the life is part of. */
export interface Present {
  readonly nowMs: number;
}

/** See the head of the file. */
export class Life implements Clock {
  readonly node: number;
  isAlive = true;
  /** The event loop is blocked until then. */
  stalledUntilMs = 0;
  readonly #world: Present;
  readonly #agenda: Agenda<Life>;
  readonly #shape: ClockShape;
  readonly #bornMs: number;
  /** What fell due while the event loop was blocked. */
  #backlog: Event<Life>[] = [];

  /** @param node number of the node that lives it. */
  constructor(node: number, world: Present, agenda: Agenda<Life>, shape: ClockShape) {
    this.node = node;
    this.#world = world;
    this.#agenda = agenda;
    this.#shape = shape;
    this.#bornMs = world.nowMs;
  }

  monotonicMs(): number {
    const { startMs, rate } = this.#shape;
    return startMs + (this.#world.nowMs - this.#bornMs) * rate;
  }

  wallMs(): number {
    return 1_700_000_000_000 + Math.floor(this.#world.nowMs + this.#shape.wallOffsetMs);
  }

  after(delayMs: number, task: () => void): Timer {
    const event = this.plan('timer', Math.max(0, delayMs) / this.#shape.rate + ROUNDING_MS, task);
    return {
      cancel: () => {
        event.run = null;
      },
    };
  }

  defer(task: () => void): void {
    this.plan('immediate', 0, task);
  }

  soon(task: () => void): void {
    this.defer(task);
  }

  /** Plans something for this process, `delayMs` of world time from now. */
  plan(kind: EventKind, delayMs: number, run: () => void): Event<Life> {
    return this.#agenda.add(this, kind, this.#world.nowMs + delayMs, run);
  }

  /** Sets the wall clock; the monotonic one does not notice. */
  turnWallClock(byMs: number): void {
    this.#shape.wallOffsetMs += byMs;
  }

  /** Blocks the event loop; nothing is lost, everything is late. */
  stall(forMs: number): void {
    this.stalledUntilMs = Math.max(this.stalledUntilMs, this.#world.nowMs + forMs);
    this.#agenda.add(null, 'timer', this.stalledUntilMs, () => this.#resume());
  }

  /** Keeps an event for later. */
  hold(event: Event<Life>): void {
    this.#backlog.push(event);
  }

  #resume(): void {
    if (this.#world.nowMs < this.stalledUntilMs) return;
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const kind of ['timer', 'io', 'immediate'] as const) {
      for (const event of backlog) {
        if (event.kind !== kind) continue;
        event.atMs = this.#world.nowMs;
        this.#agenda.put(event);
      }
    }
  }
}
