// Whether a history of one queue is linearizable, when the queue's final contents are known: then the order of all appends
// is known, too, and nothing needs to be searched. It takes O(n log n), so it judges histories of any size, where
// linearizability.ts (which needs no final contents) is for small ones. The two are tested against each other.
//
// With the contents known there is one order of states: empty, [v0], [v0 v1] … A read that saw n values happens between
// the append of v(n-1) and that of v(n); reads of the same state are free among themselves. Such an order agrees with the
// clock if and only if nothing returned before something was called that comes earlier in it.
import type { Operation } from './linearizability.ts';

/** What was found wrong, in words; empty when the history is linearizable. */
export type Complaints = readonly string[];

interface Placed {
  readonly operation: Operation;
  /** Appends of value n stand at 2n+1, reads that saw n values at 2n. */
  readonly place: number;
}

/**
 * Judges appends and whole reads of a queue.
 * @param history values are unique. A read may tell of its end only: then its output is a number.
 * @param final the queue's contents after the last operation, from its first offset on.
 */
export function checkLogOrder(history: readonly Operation[], final: readonly string[]): Complaints {
  const complaints: string[] = [];
  const offsets = new Map(final.map((value, offset) => [value, offset]));
  if (offsets.size < final.length) complaints.push('a value is there twice');
  const placed: Placed[] = [];
  const known = new Set<string>();
  for (const operation of history) {
    const { input } = operation;
    if (input.kind === 'append') known.add(input.value);
    const place = input.kind === 'append' ? placeOfAppend(operation, offsets) : placeOfRead(operation, final);
    if (typeof place === 'string') complaints.push(place);
    else if (place !== null) placed.push({ operation, place });
  }
  for (const value of final) if (!known.has(value)) complaints.push(`${value} was never appended`);
  placed.sort((a, b) => a.place - b.place);
  complaints.push(...againstTheClock(placed));
  return complaints;
}

/** A place, a complaint, or null when the append never took effect. */
function placeOfAppend(
  { input, returnMs, output }: Operation,
  offsets: ReadonlyMap<string, number>,
): number | string | null {
  const { value } = input as { readonly value: string };
  const offset = offsets.get(value);
  if (offset === undefined) return returnMs === Number.POSITIVE_INFINITY ? null : `${value} is lost`;
  if (output !== null && output !== offset) return `${value} is at ${offset}, not at ${output}`;
  return 2 * offset + 1;
}

function placeOfRead({ input, output }: Operation, final: readonly string[]): number | string | null {
  if (input.kind !== 'read') return `${input.kind} is no operation of a log`;
  if (output === null) return null;
  if (typeof output === 'number') return output <= final.length ? 2 * output : `a read ends at ${output}`;
  const values = output as readonly string[];
  const wrong = values.findIndex((value, offset) => final[offset] !== value);
  return wrong < 0 ? 2 * values.length : `a read shows ${values[wrong]} at ${wrong}, where ${final[wrong]} is`;
}

/** Nothing may return before something was called that stands at an earlier place. */
function againstTheClock(placed: readonly Placed[]): string[] {
  const complaints: string[] = [];
  let latest: Operation | null = null;
  let group: Operation | null = null;
  let place = -1;
  for (const { operation, place: here } of placed) {
    if (here !== place) {
      latest = later(latest, group);
      group = null;
      place = here;
    }
    if (latest !== null && operation.returnMs < latest.callMs) {
      complaints.push(`${JSON.stringify(operation)} had returned before ${JSON.stringify(latest)} was called`);
    }
    group = later(group, operation);
  }
  return complaints;
}

function later(one: Operation | null, other: Operation | null): Operation | null {
  if (one === null || other === null) return one ?? other;
  return one.callMs >= other.callMs ? one : other;
}
