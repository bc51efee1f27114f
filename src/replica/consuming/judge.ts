// Which verdicts hold, by the applied state, and what follows from them. One step takes as many orders as don't speak of the
// same message: the next one is judged by what this one has made of it.
import type { Changed, QueuedMessage } from '../../broker/consuming/consume_command.ts';
import type { TopicProgress } from '../../broker/consuming/progress.ts';
import type { LogIndex } from '../../raft/types.ts';
import type { Call } from './call.ts';
import type { MoveRequest, Receipt, Settled, SettleRequest, Verdict } from './types.ts';

/** What consumers and operators have ordered and is not decided yet. */
export type Order =
  | { readonly kind: 'settle'; readonly request: SettleRequest; readonly call: Call<readonly Settled[]> }
  | { readonly kind: 'move'; readonly request: MoveRequest; readonly call: Call<LogIndex> };

/** Verdicts of one caller, judged. */
export interface JudgedOrder {
  readonly call: Call<readonly Settled[]>;
  readonly isDone: readonly boolean[];
  /** To become dead letters, one by one, before the caller is answered. */
  readonly buried: readonly QueuedMessage[];
}

/** What one step makes of the orders it takes. */
export interface Judgement {
  /** Orders taken, from the first. */
  readonly count: number;
  readonly judged: readonly JudgedOrder[];
  readonly settled: readonly QueuedMessage[];
  readonly changed: readonly Changed[];
}

type Ruling = 'settle' | 'change' | 'bury' | 'done' | 'refused';

/**
 * @param orders begins with verdicts.
 * @param wallMs by the leader's clock: receipts whose time is over are not valid.
 */
export function judge(orders: readonly Order[], progress: TopicProgress | undefined, wallMs: number): Judgement {
  const settled: QueuedMessage[] = [];
  const changed: Changed[] = [];
  const judged: JudgedOrder[] = [];
  const decided = new Set<string>();
  let count = 0;
  for (const order of orders) {
    if (order.kind === 'move' || order.request.verdicts.some(({ receipt }) => decided.has(nameOf(receipt)))) break;
    count++;
    const own = new Map<string, Ruling>();
    const buried: QueuedMessage[] = [];
    const isDone: boolean[] = [];
    for (const { receipt, verdict } of order.request.verdicts) {
      const { queueId, offset } = receipt;
      const before = own.get(nameOf(receipt));
      const ruling = before === undefined ? rule(receipt, verdict, progress, wallMs) : ruleAgain(before, verdict);
      isDone.push(ruling !== 'refused');
      if (ruling === 'settle') settled.push({ queueId, offset });
      if (ruling === 'bury') buried.push({ queueId, offset });
      if (ruling === 'change' && verdict.kind === 'change') {
        changed.push({ queueId, offset, untilMs: wallMs + verdict.invisibleMs, mode: verdict.mode });
      }
      if (ruling === 'settle' || ruling === 'bury' || ruling === 'change') own.set(nameOf(receipt), ruling);
    }
    for (const name of own.keys()) decided.add(name);
    judged.push({ call: order.call, isDone, buried });
  }
  return { count, judged, settled, changed };
}

function rule(receipt: Receipt, verdict: Verdict, progress: TopicProgress | undefined, wallMs: number): Ruling {
  const queue = progress?.queues.get(receipt.queueId);
  const delivery = queue?.inFlight.get(receipt.offset);
  if (delivery === undefined) {
    // Settled before: saying it again is right.
    const wasHandedOut = receipt.offset < (queue?.next ?? 0);
    return wasHandedOut && verdict.kind !== 'change' ? 'done' : 'refused';
  }
  // Consumers ask again for ever until they hear yes: whatever the receipt, the message must not stay.
  if (verdict.kind === 'bury') return 'bury';
  if (delivery.handle !== receipt.handle || delivery.untilMs <= wallMs) return 'refused';
  return verdict.kind === 'acknowledge' ? 'settle' : 'change';
}

/** The same caller speaks of the same message once more: only what changes nothing is right. */
function ruleAgain(before: Ruling, verdict: Verdict): Ruling {
  return before !== 'change' && verdict.kind !== 'change' ? 'done' : 'refused';
}

function nameOf({ queueId, offset }: QueuedMessage): string {
  return `${queueId}/${offset}`;
}
