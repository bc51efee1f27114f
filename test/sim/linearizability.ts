// Is a history of calls linearizable: is there one order of the operations that a single copy of the data could have
// gone through, in which each takes effect at one moment between its call and its return (Herlihy and Wing 1990)? The
// search is Wing and Gong's with Lowe's memory of configurations ("Testing for linearizability", 2017; the algorithm
// behind Knossos and Porcupine): exponential at worst, quick on small histories. An operation without an answer may
// have taken effect at any later moment, or never.

/** What was asked. */
export type Input =
  | { readonly kind: 'append'; readonly value: string }
  | { readonly kind: 'write'; readonly value: string }
  | { readonly kind: 'compare-and-set'; readonly expected: string; readonly value: string }
  | { readonly kind: 'read' }
  | { readonly kind: 'create'; readonly name: string; readonly value: string }
  | { readonly kind: 'list' };

/** What was answered; null when nothing is known of the answer. */
export type Output = number | string | boolean | readonly string[] | null;

/** One call. */
export interface Operation {
  readonly client: number;
  readonly callMs: number;
  /** Infinity when no answer came: the operation may take effect at any time from its call on, or never. */
  readonly returnMs: number;
  readonly input: Input;
  readonly output: Output;
}

/** What one copy of the data would do. States are values, compared by `===`. */
export interface Model<State> {
  readonly initial: State;
  /** The state after the operation, or undefined when it could not have answered like that in this state. */
  step(state: State, input: Input, output: Output): State | undefined;
}

/** Separates the values of a log in its state; no value contains it. */
const SEPARATOR = '\n';

/** One queue: `append` answers with the offset, `read` with all values from the first one on, or with their number. */
export const logModel: Model<string> = {
  initial: '',
  step(state, input, output) {
    if (input.kind === 'append') {
      const offset = state === '' ? 0 : state.split(SEPARATOR).length - 1;
      if (output !== null && output !== offset) return undefined;
      return `${state}${input.value}${SEPARATOR}`;
    }
    if (input.kind !== 'read') return undefined;
    if (output === null) return state;
    if (typeof output === 'number') return state.split(SEPARATOR).length - 1 === output ? state : undefined;
    return (output as readonly string[]).map((value) => `${value}${SEPARATOR}`).join('') === state ? state : undefined;
  },
};

/** One value, '' at first: `write` and `compare-and-set` (answers whether it did), `read`. */
export const registerModel: Model<string> = {
  initial: '',
  step(state, input, output) {
    switch (input.kind) {
      case 'write':
        return input.value;
      case 'compare-and-set': {
        const does = state === input.expected;
        if (output !== null && output !== does) return undefined;
        return does ? input.value : state;
      }
      case 'read':
        return output === null || output === state ? state : undefined;
      default:
        return undefined;
    }
  },
};

/**
 * A set of names, each with a value that never changes: `create` answers `created`, `exists` (with the same value) or
 * `conflict` (with another); `list` answers with all as `name=value`, sorted.
 */
export const namesModel: Model<string> = {
  initial: '',
  step(state, input, output) {
    if (input.kind === 'list') {
      return output === null || (output as readonly string[]).join(SEPARATOR) === state ? state : undefined;
    }
    if (input.kind !== 'create') return undefined;
    const wanted = `${input.name}=${input.value}`;
    const entries = state === '' ? [] : state.split(SEPARATOR);
    const known = entries.find((entry) => entry.startsWith(`${input.name}=`));
    const answer = known === undefined ? 'created' : known === wanted ? 'exists' : 'conflict';
    if (output !== null && output !== answer) return undefined;
    return known === undefined ? [...entries, wanted].sort().join(SEPARATOR) : state;
  },
};

/** What the search found. `unknown`: it was given up after `stepsMax`. */
export type Verdict = 'linearizable' | 'not linearizable' | 'unknown';

interface Entry {
  readonly number: number;
  readonly operation: Operation;
  readonly isCall: boolean;
  previous: Entry | null;
  next: Entry | null;
  /** Of a call: its return. */
  match: Entry | null;
}

/**
 * Judges a history.
 * @param stepsMax bound of the search; a history of a few dozen operations with little overlap needs a few hundred.
 */
export function checkLinearizable<State>(
  model: Model<State>,
  history: readonly Operation[],
  stepsMax = 2_000_000,
): Verdict {
  const head = entriesOf(history);
  let mustEnd = history.filter(({ returnMs }) => returnMs < Number.POSITIVE_INFINITY).length;
  const done = new Bits(history.length);
  const visited = new Set<string>();
  const ids = new Map<State, number>();
  const trail: { readonly entry: Entry; readonly state: State }[] = [];
  let state = model.initial;
  let entry = head.next;
  for (let steps = 0; mustEnd > 0; steps++) {
    if (steps >= stepsMax) return 'unknown';
    if (entry?.isCall) {
      const { input, output } = entry.operation;
      const next = model.step(state, input, output);
      if (next !== undefined && isNew(visited, ids, done, entry.number, next)) {
        trail.push({ entry, state });
        state = next;
        if (entry.operation.returnMs < Number.POSITIVE_INFINITY) mustEnd--;
        lift(entry);
        entry = head.next;
        continue;
      }
      done.flip(entry.number, false);
      entry = entry.next;
      continue;
    }
    // A return is met before its call was placed (or nothing is left to try): go back one decision.
    const last = trail.pop();
    if (last === undefined) return 'not linearizable';
    state = last.state;
    done.flip(last.entry.number, false);
    if (last.entry.operation.returnMs < Number.POSITIVE_INFINITY) mustEnd++;
    unlift(last.entry);
    entry = last.entry.next;
  }
  return 'linearizable';
}

/** Operations done, as a key for the memory. */
class Bits {
  readonly #words: Uint32Array;

  constructor(size: number) {
    this.#words = new Uint32Array((size + 31) >> 5);
  }

  flip(at: number, on: boolean): void {
    const bit = 1 << (at & 31);
    if (on) this.#words[at >> 5]! |= bit;
    else this.#words[at >> 5]! &= ~bit;
  }

  get key(): string {
    return this.#words.join();
  }
}

/** Marks the operation as done; false (and leaves it marked) when this set of operations led to this state before. */
function isNew<State>(
  visited: Set<string>,
  ids: Map<State, number>,
  done: Bits,
  number: number,
  state: State,
): boolean {
  let id = ids.get(state);
  if (id === undefined) {
    id = ids.size;
    ids.set(state, id);
  }
  done.flip(number, true);
  const key = `${id}:${done.key}`;
  if (visited.has(key)) return false;
  visited.add(key);
  return true;
}

/** Calls and returns as a list in the order of time; at the same moment calls come first, which excuses more. */
function entriesOf(history: readonly Operation[]): Entry {
  const events = history.flatMap((operation, number) => {
    const call: Entry = { number, operation, isCall: true, previous: null, next: null, match: null };
    if (operation.returnMs === Number.POSITIVE_INFINITY) return [{ atMs: operation.callMs, entry: call }];
    const end: Entry = { number, operation, isCall: false, previous: null, next: null, match: null };
    call.match = end;
    return [
      { atMs: operation.callMs, entry: call },
      { atMs: operation.returnMs, entry: end },
    ];
  });
  events.sort((a, b) => a.atMs - b.atMs || Number(b.entry.isCall) - Number(a.entry.isCall));
  const head: Entry = {
    number: -1,
    operation: history[0]!,
    isCall: false,
    previous: null,
    next: null,
    match: null,
  };
  let last = head;
  for (const { entry } of events) {
    last.next = entry;
    entry.previous = last;
    last = entry;
  }
  return head;
}

function lift(call: Entry): void {
  unlink(call);
  if (call.match !== null) unlink(call.match);
}

function unlift(call: Entry): void {
  if (call.match !== null) relink(call.match);
  relink(call);
}

function unlink(entry: Entry): void {
  entry.previous!.next = entry.next;
  if (entry.next !== null) entry.next.previous = entry.previous;
}

function relink(entry: Entry): void {
  entry.previous!.next = entry;
  if (entry.next !== null) entry.next.previous = entry;
}
