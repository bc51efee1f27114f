// One day of the shop: orders that are paid, are not, are refused, or whose shop dies; text messages; a flash sale.
import type { Admin } from '../../../src/client/admin.ts';
import { until } from '../../chaos/pause.ts';
import { type OrderState, Shop, shopGroups, shopTopics } from './shop.ts';

/** Makes what the shop needs, once. */
export async function furnish(admin: Admin): Promise<void> {
  for (const [name, messageType] of Object.entries(shopTopics)) {
    await admin.createTopic(name, { queues: 4, messageType });
  }
  for (const group of shopGroups) await admin.putGroup({ ...group, retryMs: ['100'], createdTimestamp: '0' });
}

/** What there was to see in the evening. */
export interface Day {
  readonly orders: ReadonlyMap<string, OrderState>;
  readonly asked: readonly string[];
  readonly paymentsSeen: ReadonlyMap<string, readonly string[]>;
  readonly index: ReadonlyMap<string, readonly string[]>;
  readonly textAttempts: ReadonlyMap<string, readonly number[]>;
  readonly deadTexts: readonly string[];
  readonly sale: { readonly sent: number; readonly sold: number; readonly sentMs: number; readonly drainedMs: number };
  /** Consumers go when their polls end: within 20 s, or when something comes. */
  readonly closed: Promise<void>;
}

/** How large a day is. */
export interface DayOptions {
  readonly endpoints: string;
  /** Of each kind of orders. */
  readonly orders: number;
  readonly purchases: number;
  readonly unpaidMs: number;
  readonly onLine?: (line: string) => void;
}

const WAIT_MS = 60_000;

/** Runs it. */
export async function shopDay(options: DayOptions): Promise<Day> {
  const shop = await Shop.open(options.endpoints, options.unpaidMs);
  try {
    return { ...(await workDay(shop, options)), closed: shop.close() };
  } catch (error) {
    await shop.close();
    throw error;
  }
}

async function workDay(shop: Shop, { orders, purchases, onLine = () => {} }: DayOptions): Promise<Omit<Day, 'closed'>> {
  const kind = (name: string): string[] => Array.from({ length: orders }, (_, at) => `${name}-${at}`);
  for (const id of kind('paid')) {
    await shop.place(id);
    await shop.pay(id);
  }
  for (const id of kind('unpaid')) await shop.place(id);
  for (const id of kind('refused')) await shop.place(id, 'refused');
  await shop.place('crashed-0', 'crash');
  onLine(
    `${shop.orders.size} orders placed in transactions, ${orders} paid, ${orders} refused; one shop died before its end`,
  );
  for (const receiver of ['fine-1', 'busy-1', 'dead-1', 'fine-2']) await shop.text(receiver);

  const beganMs = performance.now();
  await shop.sell(purchases);
  const sentMs = performance.now() - beganMs;
  await until(() => shop.sold.size === purchases, WAIT_MS);
  const drainedMs = performance.now() - beganMs;
  onLine(
    `flash sale: ${purchases} purchases taken in ${Math.round(sentMs)} ms, worked off in ${Math.round(drainedMs)} ms`,
  );

  const cancelled = orders + 1;
  const count = (state: OrderState): number => [...shop.orders.values()].filter((one) => one === state).length;
  await until(() => count('cancelled') === cancelled && count('placed') === 0, WAIT_MS);
  const isIndexed = (): boolean => [...shop.orders].every(([id, state]) => shop.index.get(id)?.at(-1) === state);
  const isPaid = (): boolean => [...shop.paymentsSeen.values()].every((seen) => seen.length === orders);
  await until(() => isIndexed() && isPaid(), WAIT_MS);
  onLine(`${count('cancelled')} unpaid orders cancelled; the broker asked about ${shop.asked.join(', ')}`);
  const deadTexts = await shop.deadTexts(1);
  onLine(`text messages given up: ${deadTexts.join(', ')}`);
  // What it looked like in the evening: the consumers are still there, and may hear more.
  return {
    orders: new Map(shop.orders),
    asked: [...shop.asked],
    paymentsSeen: new Map([...shop.paymentsSeen].map(([group, seen]) => [group, [...seen]])),
    index: new Map(shop.index),
    textAttempts: new Map(shop.textAttempts),
    deadTexts,
    sale: { sent: purchases, sold: shop.sold.size, sentMs, drainedMs },
  };
}
