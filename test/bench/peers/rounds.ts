// Rounds of a comparison: every shape at every system in turn, A B C B C A C A B, so that what else the machine does hits all
// alike, and then, after all others were ended, what TLedger does alone; and what the systems that are not measured, and
// everybody else, take of the machine meanwhile.
import { cpus } from 'node:os';
import { median } from '../../../src/server/demo/gap_meter.ts';
import { cpuMsOf, machineCpuMs, memoryOf, ownCpuMs } from '../processes.ts';
import { type Contender, type Measured, type Shape, systems, takesPart } from './contender.ts';

/** All that was measured of one shape at one system, a round each. */
export interface Row {
  readonly shape: string;
  readonly system: string;
  readonly flush: string;
  readonly rounds: Measured[];
}

/** What a system took while others were measured, and its memory. */
export interface Footprint {
  readonly system: string;
  /** Of one core, in percent: while another system was measured, in the middle and at most; null if none was. */
  readonly idleCpuPercent: number | null;
  readonly idleCpuPercentMost: number | null;
  /** Of each of its processes, at most, in 10^6 bytes. */
  readonly memoryMegabytes: readonly number[];
}

/** What a comparison found. */
export interface Found {
  readonly rows: readonly Row[];
  readonly footprints: readonly Footprint[];
  /** Of all cores, in percent: what processes took that have nothing to do with the comparison. */
  readonly othersCpuPercent: number;
  /** Measurements that began while a system still worked on what came before. */
  readonly unsettled: number;
}

/** Told of each measurement. */
export interface Progress {
  readonly round: number;
  readonly shape: Shape;
  readonly system: string;
  readonly measured: Measured;
  readonly remainingSeconds: number;
}

/** What comes around each measurement. */
export interface Around {
  /** @returns whether nobody works on anything else. */
  readonly before: () => Promise<boolean>;
  readonly onMeasured: (progress: Progress) => void;
}

/** Runs all rounds; ends everybody else before it comes to the rows of TLedger alone. @throws Error what a contender throws. */
export async function runRounds(
  contenders: readonly Contender[],
  shapes: readonly Shape[],
  rounds: number,
  { before, onMeasured }: Around,
): Promise<Found> {
  const rows = new Map<string, Row>();
  const meter = new MachineMeter(contenders);
  const [alone, shared] = [shapes.filter(({ isAlone }) => isAlone), shapes.filter(({ isAlone }) => !isAlone)];
  const together = turnsOf(contenders, shared, rounds);
  const turns = [...together, ...turnsOf(contenders, alone, rounds)];
  const beganAtMs = performance.now();
  let unsettled = 0;
  for (const [at, { round, shape, contender }] of turns.entries()) {
    const { name: system, flush } = contender;
    if (at === together.length) {
      meter.seeMemory();
      await Promise.all(contenders.filter((one) => one !== contender).map((one) => one.stop()));
    }
    if (!(await before())) unsettled++;
    const measured = await meter.during(contender, () => contender.run(ratedBy(shape, [...rows.values()])));
    await contender.empty();
    const key = `${shape.name} ${system}`;
    if (!rows.has(key)) rows.set(key, { shape: shape.name, system, flush, rounds: [] });
    rows.get(key)!.rounds.push(measured);
    const passedMs = performance.now() - beganAtMs;
    const remainingSeconds = Math.round(((passedMs / (at + 1)) * (turns.length - at - 1)) / 1_000);
    onMeasured({ round, shape, system, measured, remainingSeconds });
  }
  const ordered = shapes.flatMap(({ name }) => [...rows.values()].filter(({ shape }) => shape === name));
  meter.seeMemory();
  return { rows: ordered, unsettled, ...meter.figures() };
}

interface Turn {
  readonly round: number;
  readonly shape: Shape;
  readonly contender: Contender;
}

/** Each shape at all who have it, round by round; who came first in a round comes last in the next. */
function turnsOf(contenders: readonly Contender[], shapes: readonly Shape[], rounds: number): Turn[] {
  return Array.from({ length: rounds }, (_, at) => at + 1).flatMap((round) =>
    shapes.flatMap((shape) => {
      const those = contenders.filter((one) => takesPart(one, shape));
      const first = (round - 1) % Math.max(1, those.length);
      return [...those.slice(first), ...those.slice(0, first)].map((contender) => ({ round, shape, contender }));
    }),
  );
}

/** The shape at the rate that it goes by, if it goes by what another one reached so far. */
export function ratedBy(shape: Shape, rows: readonly Row[]): Shape {
  if (shape.halfOf === undefined) return shape;
  const peak = rows.find((row) => row.shape === shape.halfOf && row.system === systems.tledger);
  if (peak === undefined) throw new Error(`${shape.name} goes by ${shape.halfOf}, which was not measured`);
  const rate = median(peak.rounds.map(({ messagesPerSecond }) => messagesPerSecond))!;
  return { ...shape, ratePerSecond: Math.max(1, Math.round(rate / 2)) };
}

/** Sees who uses the processors. */
class MachineMeter {
  readonly #contenders: readonly Contender[];
  readonly #idlePercents = new Map<string, number[]>();
  readonly #memoryMegabytes = new Map<string, readonly number[]>();
  readonly #beganAtMs = performance.now();
  readonly #before: number;

  constructor(contenders: readonly Contender[]) {
    this.#contenders = contenders;
    this.#before = this.#othersCpuMs();
  }

  /** Lets `contender` be measured, and sees what all others do meanwhile. */
  async during<Result>(contender: Contender, run: () => Promise<Result>): Promise<Result> {
    const idle = this.#contenders.filter((one) => one !== contender && one.pids.length > 0);
    const before = idle.map((one) => cpuMsOfAll([one]));
    const beganAtMs = performance.now();
    const result = await run();
    const passedMs = performance.now() - beganAtMs;
    for (const [at, one] of idle.entries()) {
      const percents = this.#idlePercents.get(one.name) ?? [];
      percents.push((100 * (cpuMsOfAll([one]) - before[at]!)) / passedMs);
      this.#idlePercents.set(one.name, percents);
    }
    return result;
  }

  /** To be called before any of them ends. */
  seeMemory(): void {
    for (const { name, pids } of this.#contenders) {
      const megabytes = pids.map((pid) => memoryOf(pid, 'VmHWM'));
      if (megabytes.length > 0) this.#memoryMegabytes.set(name, megabytes);
    }
  }

  figures(): Pick<Found, 'footprints' | 'othersCpuPercent'> {
    const passedMs = performance.now() - this.#beganAtMs;
    const footprints = [...this.#memoryMegabytes].map(([system, memoryMegabytes]) => {
      const percents = this.#idlePercents.get(system);
      return {
        system,
        idleCpuPercent: percents === undefined ? null : tenths(median(percents)!),
        idleCpuPercentMost: percents === undefined ? null : tenths(Math.max(...percents)),
        memoryMegabytes,
      };
    });
    const others = (this.#othersCpuMs() - this.#before) / passedMs / cpus().length;
    return { footprints, othersCpuPercent: tenths(100 * Math.max(0, others)) };
  }

  /** Of all processes but ours: what we started and has ended counts as ours once it has. */
  #othersCpuMs(): number {
    return machineCpuMs() - ownCpuMs() - cpuMsOfAll(this.#contenders);
  }
}

/** Of all processes of all of them. */
export function cpuMsOfAll(contenders: readonly Contender[]): number {
  return contenders.flatMap(({ pids }) => pids).reduce((sum, pid) => sum + cpuMsOf(pid), 0);
}

const tenths = (value: number): number => Number(value.toFixed(1));
