// What the rows of a comparison say: medians, how many times faster TLedger is, and whether goals are met.
import Table from 'cli-table3';
import { median } from '../../../src/server/demo/gap_meter.ts';
import type { Goal } from '../goals.ts';
import { systems } from './contender.ts';
import type { Footprint, Found, Row } from './rounds.ts';

/** A row in the middle of its rounds. */
export interface Middle {
  readonly shape: string;
  readonly system: string;
  readonly flush: string;
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
  /** TLedger's rate as a multiple of this one; null where either is missing. */
  readonly tledgerRatio: number | null;
}

type Figure = 'messagesPerSecond' | 'p50Ms' | 'p99Ms';

/** One line of the goals; without a value where its rows were not measured. */
interface Wish extends Omit<Goal, 'value'> {
  readonly value: (middles: Middles) => number | undefined;
}

const MEMORY_MEGABYTES_MAX = 400;
/** What the prototype and TLedger shall reach with records of 100 bytes. */
const SMALL_SHARE = 750_000 / 1_300_000;

/** Medians of all rounds; failures of all of them together. */
export function middlesOf(rows: readonly Row[]): Middle[] {
  const middles = rows.map(({ rounds, ...row }) => ({
    ...row,
    messagesPerSecond: Math.round(median(rounds.map((one) => one.messagesPerSecond)) ?? 0),
    p50Ms: median(rounds.map((one) => one.p50Ms)) ?? 0,
    p99Ms: median(rounds.map((one) => one.p99Ms)) ?? 0,
    failures: rounds.reduce((sum, one) => sum + one.failures, 0),
  }));
  const all = new Middles(middles);
  return middles.map((one) => ({
    ...one,
    tledgerRatio: all.times([one.shape, systems.tledger], [one.shape, one.system]) ?? null,
  }));
}

/** Looks medians up. A place is a shape and a system. */
class Middles {
  readonly #middles: readonly Omit<Middle, 'tledgerRatio'>[];

  constructor(middles: readonly Omit<Middle, 'tledgerRatio'>[]) {
    this.#middles = middles;
  }

  of([shape, system]: readonly [string, string], figure: Figure = 'messagesPerSecond'): number | undefined {
    return this.#middles.find((one) => one.shape === shape && one.system === system)?.[figure];
  }

  /** How many times the second one the first one is. */
  times(
    first: readonly [string, string],
    second: readonly [string, string],
    figure: Figure = 'messagesPerSecond',
  ): number | undefined {
    return ratio(this.of(first, figure), this.of(second, figure));
  }

  /** How many times what `system` reached at best, in whatever shape. */
  timesBest(first: readonly [string, string], system: string): number | undefined {
    const rates = this.#middles.filter((one) => one.system === system).map((one) => one.messagesPerSecond);
    return ratio(this.of(first), rates.length === 0 ? undefined : Math.max(...rates));
  }
}

function ratio(first: number | undefined, second: number | undefined): number | undefined {
  return first === undefined || second === undefined || second === 0 ? undefined : hundredths(first / second);
}

const own = (shape: string) => [shape, systems.tledger] as const;

const wishes: readonly Wish[] = [
  ...['frames-64', 'frames-256'].flatMap((shape): Wish[] => [
    { what: shape, unit: 'msg/s', value: (all) => all.of(own(shape)) },
    {
      ...{ what: '  of the bare prototype', least: 0.75, unit: 'x' },
      value: (all) => all.times(own(shape), [shape, systems.prototype]),
    },
    { what: "  of NATS's best", least: 3, unit: 'x', value: (all) => all.timesBest(own(shape), systems.nats) },
    { what: "  of etcd's best", least: 5, unit: 'x', value: (all) => all.timesBest(own(shape), systems.etcd) },
    { what: "  of RabbitMQ's best", unit: 'x', value: (all) => all.timesBest(own(shape), systems.rabbitmq) },
  ]),
  { what: 'frames-100b', unit: 'msg/s', value: (all) => all.of(own('frames-100b')) },
  {
    ...{ what: '  of the bare prototype', least: hundredths(SMALL_SHARE), unit: 'x' },
    value: (all) => all.times(own('frames-100b'), ['frames-100b', systems.prototype]),
  },
  { what: 'frames-16k', unit: 'msg/s', value: (all) => all.of(own('frames-16k')) },
  {
    ...{ what: '  of the bare prototype', unit: 'x' },
    value: (all) => all.times(own('frames-16k'), ['frames-16k', systems.prototype]),
  },
  ...[1, 128, 1_024].flatMap((inFlight): Wish[] => {
    const shape = `singles-${inFlight}`;
    const of = (system: string) => (all: Middles) => all.times(own(shape), [shape, system]);
    return [
      { what: shape, unit: 'msg/s', value: (all) => all.of(own(shape)) },
      { what: '  of NATS', ...(inFlight === 128 && { least: 1.3 }), unit: 'x', value: of(systems.nats) },
      { what: '  of etcd', unit: 'x', value: of(systems.etcd) },
      { what: '  of RabbitMQ', unit: 'x', value: of(systems.rabbitmq) },
    ];
  }),
  { what: 'singles-1: p50', most: 1, unit: 'ms', value: (all) => all.of(own('singles-1'), 'p50Ms') },
  {
    ...{ what: "  of etcd's", most: 1, unit: 'x' },
    value: (all) => all.times(own('singles-1'), ['singles-1', systems.etcd], 'p50Ms'),
  },
  { what: 'unary-1: p50', most: 1, unit: 'ms', value: (all) => all.of(own('unary-1'), 'p50Ms') },
  {
    ...{ what: "  of etcd's", most: 1, unit: 'x' },
    value: (all) => all.times(own('unary-1'), ['unary-1', systems.etcd], 'p50Ms'),
  },
  { what: 'unary-128', unit: 'msg/s', value: (all) => all.of(own('unary-128')) },
  {
    ...{ what: '  of etcd', least: 1.3, unit: 'x' },
    value: (all) => all.times(own('unary-128'), ['unary-128', systems.etcd]),
  },
  {
    ...{ what: '  of the bare gRPC server', unit: 'x' },
    value: (all) => all.times(own('unary-128'), ['unary-128', systems.bareServer]),
  },
  {
    ...{ what: 'unary-spread of unary-128', least: 1.1, unit: 'x' },
    value: (all) => all.times(own('unary-spread'), own('unary-128')),
  },
  { what: 'peak-singles', unit: 'msg/s', value: (all) => all.of(own('peak-singles')) },
  { what: 'peak-frames', unit: 'msg/s', value: (all) => all.of(own('peak-frames')) },
  { what: 'open-singles: p99', most: 15, unit: 'ms', value: (all) => all.of(own('open-singles'), 'p99Ms') },
  { what: 'open-frames: p99', most: 15, unit: 'ms', value: (all) => all.of(own('open-frames'), 'p99Ms') },
  { what: 'consume', least: 300_000, unit: 'msg/s', value: (all) => all.of(own('consume')) },
  { what: 'end-to-end: p50', most: 3, unit: 'ms', value: (all) => all.of(own('end-to-end'), 'p50Ms') },
];

/** The goals whose rows were measured, and what TLedger's nodes took of memory. */
export function goalsOf({ rows, footprints }: Pick<Found, 'rows' | 'footprints'>): Goal[] {
  const middles = middlesOf(rows);
  const all = new Middles(middles);
  const failures = middles.filter(({ system }) => system === systems.tledger).map((one) => one.failures);
  const memory = footprints.find(({ system }) => system === systems.tledger)?.memoryMegabytes ?? [];
  return [
    ...wishes.flatMap(({ value, ...goal }) => {
      const found = value(all);
      return found === undefined ? [] : [{ ...goal, value: hundredths(found) }];
    }),
    ...memory.map((value, at) => ({
      what: `most memory of node ${at}`,
      value,
      most: MEMORY_MEGABYTES_MAX,
      unit: 'MB',
    })),
    { what: 'requests that failed', value: failures.reduce((sum, one) => sum + one, 0), most: 0, unit: '' },
  ];
}

/** A line for each row. */
export function rowsTable(middles: readonly Middle[]): string {
  const table = new Table({
    head: ['shape', 'system', 'messages/s', 'p50 ms', 'p99 ms', 'TLedger is', 'acknowledged when'],
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'left'],
    style: { head: [], border: [] },
  });
  const latency = (ms: number): string => (ms === 0 ? '' : ms.toFixed(2));
  for (const { shape, system, messagesPerSecond, p50Ms, p99Ms, tledgerRatio, flush } of middles) {
    const times = system === systems.tledger || tledgerRatio === null ? '' : `x ${tledgerRatio}`;
    table.push([shape, system, messagesPerSecond.toLocaleString('en'), latency(p50Ms), latency(p99Ms), times, flush]);
  }
  return table.toString();
}

/** What systems took of the machine while they were not measured, and everybody else. */
export function machineText({ footprints, othersCpuPercent, unsettled }: Omit<Found, 'rows'>): string {
  const idle = ({ system, idleCpuPercent, idleCpuPercentMost }: Footprint): readonly string[] =>
    idleCpuPercent === null ? [] : [`${system} ${idleCpuPercent} % (most ${idleCpuPercentMost} %)`];
  const idlers = footprints.flatMap(idle);
  const memory = (one: Footprint): string => `${one.system} ${one.memoryMegabytes.join(' ')}`;
  return [
    ...(idlers.length === 0 ? [] : [`of one core while others were measured: ${idlers.join(', ')}`]),
    `most memory of each process, MB: ${footprints.map(memory).join(', ')}`,
    `of the machine, processes of others took ${othersCpuPercent} %`,
    `measurements that began while a system still worked on what came before: ${unsettled}`,
  ].join('\n');
}

function hundredths(value: number): number {
  return Number(value.toFixed(2));
}
