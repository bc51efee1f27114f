// The judge: the memory of a run (history.ts) against the log that the group holds in the end. Offsets give the order, so
// everything is found in time linear in the log. Each promise is one count, and must be zero.
import { describe, type FinalLog, FOREIGN, type History, keyOf, nameOf, type Operation } from './history.ts';

/** The promises, and how often each was broken. */
export interface Faults {
  /** Acknowledged, but not there. */
  readonly lost: number;
  /** There, but not where the acknowledgement said. */
  readonly misplaced: number;
  /** There more often than it was sent without a producer id. */
  readonly doubled: number;
  /** There, but nobody sent it, or to another queue. */
  readonly invented: number;
  /** Behind a later message of its sender, or behind one that was sent after it had been acknowledged. */
  readonly reordered: number;
  /** Said to have failed, but there. */
  readonly wronglyFailed: number;
  /** Two values at one offset, on whatever nodes. */
  readonly diverged: number;
  /** Shown to a reader, but not in the final log at that offset. */
  readonly phantom: number;
  /** Acknowledged before a read began, but missing in what it saw. */
  readonly stale: number;
  /** Small histories of topics and queues that no order of their calls explains. */
  readonly unlinearizable: number;
  /** Bytes or offsets that a reader should never get. */
  readonly broken: number;
}

/** What was found. */
export interface Verdict {
  readonly faults: Faults;
  /** Messages in the final log. */
  readonly read: number;
  readonly acknowledged: number;
  readonly failed: number;
  readonly unknown: number;
  /** Second and further copies of messages that were sent again without a producer id: allowed, but worth knowing. */
  readonly repeats: number;
  /** The first of each kind, in words. */
  readonly examples: readonly string[];
}

/** Expected of every group, whatever happened to it. */
export const clean: Faults = {
  ...{ lost: 0, misplaced: 0, doubled: 0, invented: 0, reordered: 0, wronglyFailed: 0 },
  ...{ diverged: 0, phantom: 0, stale: 0, unlinearizable: 0, broken: 0 },
};

const EXAMPLES_MAX = 5;

/** Whether every promise was kept. */
export function isFaultless(verdict: Verdict): boolean {
  return Object.values(verdict.faults).every((count) => count === 0);
}

/**
 * Holds a run against what the group holds in the end.
 * @param log undefined when nothing could be read: then only what was seen on the way is judged.
 */
export function judge(history: History, log: FinalLog | undefined): Verdict {
  const found = new Findings();
  for (const { kind, what } of history.sightings) found.add(kind, what);
  const repeats = log === undefined ? 0 : compare(history, log, found);
  return {
    faults: found.counts,
    read: log?.reduce((sum, keys) => sum + keys.length, 0) ?? 0,
    acknowledged: history.acknowledged,
    failed: history.failed,
    unknown: history.unknown,
    repeats,
    examples: found.examples,
  };
}

/** Everything that the log can tell. @returns second and further copies. */
function compare(history: History, log: FinalLog, found: Findings): number {
  const copies = countCopies(history, log, found);
  checkSenders(history, log, copies, found);
  log.forEach((keys, queue) => {
    checkOrder(history, keys, queue, found);
    checkTime(history, keys, queue, found);
  });
  checkShown(history, log, found);
  let repeats = 0;
  for (const count of copies.values()) repeats += count - 1;
  return repeats;
}

class Findings {
  readonly counts: { -readonly [Kind in keyof Faults]: number } = { ...clean };
  readonly examples: string[] = [];

  add(kind: keyof Faults, what: string): void {
    if (this.counts[kind]++ < EXAMPLES_MAX) this.examples.push(`${kind}: ${what}`);
  }
}

/** How often each message lies in the log. */
function countCopies(history: History, log: FinalLog, found: Findings): ReadonlyMap<number, number> {
  const copies = new Map<number, number>();
  log.forEach((keys, queue) => {
    keys.forEach((key, offset) => {
      const operation = operationOf(history, key);
      if (operation === undefined || operation.queue !== queue) {
        found.add('invented', `${describe(key)} at ${queue}/${offset}`);
        return;
      }
      const count = (copies.get(key) ?? 0) + 1;
      copies.set(key, count);
      if (count > operation.copiesMax) found.add('doubled', `${describe(key)}, again at ${queue}/${offset}`);
    });
  });
  return copies;
}

/** What senders were told, against the log. */
function checkSenders(history: History, log: FinalLog, copies: ReadonlyMap<number, number>, found: Findings): void {
  for (const operation of history.operations()) {
    const key = keyOf(operation);
    const { queue, offset, outcome } = operation;
    const isThere = copies.has(key);
    if (outcome === 'acknowledged' && !isThere) found.add('lost', `${describe(key)}, queue ${queue}`);
    else if (outcome === 'acknowledged' && offset !== null && log[queue]![offset] !== key) {
      found.add('misplaced', `${describe(key)}, acknowledged at ${queue}/${offset}`);
    }
    if (outcome === 'failed' && isThere) found.add('wronglyFailed', describe(key));
  }
}

/** Acknowledged messages of one sender in one queue lie in the order in which they were sent. */
function checkOrder(history: History, keys: readonly number[], queue: number, found: Findings): void {
  const highest = new Map<number, number>();
  keys.forEach((key, offset) => {
    const operation = operationOf(history, key);
    if (operation === undefined || operation.copiesMax > 1 || !isAcknowledgedHere(operation, offset)) return;
    const { sender, number } = operation;
    const before = highest.get(sender) ?? -1;
    if (number < before) found.add('reordered', `${describe(key)} at ${queue}/${offset}, behind ${sender}:${before}`);
    highest.set(sender, Math.max(before, number));
  });
}

/** What was acknowledged before another message was sent lies before it. */
function checkTime(history: History, keys: readonly number[], queue: number, found: Findings): void {
  let latestInvokedMs = Number.NEGATIVE_INFINITY;
  let latest = FOREIGN;
  keys.forEach((key, offset) => {
    const operation = operationOf(history, key);
    if (operation === undefined) return;
    if (isAcknowledgedHere(operation, offset) && operation.settledMs < latestInvokedMs) {
      found.add(
        'reordered',
        `${describe(key)} at ${queue}/${offset}, behind ${describe(latest)}, which was sent later`,
      );
    }
    if (operation.invokedMs > latestInvokedMs) {
      latestInvokedMs = operation.invokedMs;
      latest = key;
    }
  });
}

/** Whether this is the copy that the sender was told of, as far as that can be known. */
function isAcknowledgedHere({ outcome, offset, copiesMax }: Operation, here: number): boolean {
  return outcome === 'acknowledged' && (offset === null ? copiesMax === 1 : offset === here);
}

/** What any reader was ever shown is what the log holds there. */
function checkShown(history: History, log: FinalLog, found: Findings): void {
  for (let queue = 0; queue < history.queues; queue++) {
    history.shown(queue).forEach((key, offset) => {
      if (key === undefined || log[queue]![offset] === key) return;
      found.add('phantom', `${describe(key)} was shown at ${queue}/${offset}`);
    });
  }
}

function operationOf(history: History, key: number): Operation | undefined {
  return key === FOREIGN ? undefined : history.operation(nameOf(key));
}
