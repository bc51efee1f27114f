// Figures against goals: percentiles, a table with a verdict a line, and whether all is well.
import Table from 'cli-table3';
import { median } from '../../src/server/demo/gap_meter.ts';

/** One figure, and what it must not exceed or fall short of. */
export interface Goal {
  readonly what: string;
  readonly value: number;
  /** Largest value that is good enough; a figure without `most` and `least` is only shown. */
  readonly most?: number;
  /** Smallest value that is good enough. */
  readonly least?: number;
  readonly unit: string;
}

/** The smallest value that `share` of all values do not exceed; 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** The median of `first` as a multiple of that of `second`, to the hundredth; 0 where there is nothing to compare. */
export function ratioOfMedians(first: readonly number[], second: readonly number[]): number {
  const [above, below] = [median(first), median(second)];
  return above === null || below === null || below === 0 ? 0 : Number((above / below).toFixed(2));
}

/** Whether no goal is missed. */
export function areMet(goals: readonly Goal[]): boolean {
  return goals.every(isMet);
}

/** Whether a figure is good enough; one that is only shown is. */
export function isMet({ value, most = Number.POSITIVE_INFINITY, least = Number.NEGATIVE_INFINITY }: Goal): boolean {
  return value <= most && value >= least;
}

/** A line for each figure: what, value, goal, verdict. */
export function tableOf(goals: readonly Goal[]): string {
  const table = new Table({ head: ['', 'measured', 'goal', ''], style: { head: [], border: [] } });
  for (const goal of goals) {
    const limit = limitOf(goal);
    table.push([goal.what, withUnit(goal.value, goal.unit), limit, limit === '' ? '' : isMet(goal) ? 'met' : 'MISSED']);
  }
  return table.toString();
}

function limitOf({ most, least, unit }: Goal): string {
  const upper = most === undefined ? [] : [`<= ${withUnit(most, unit)}`];
  const lower = least === undefined ? [] : [`>= ${withUnit(least, unit)}`];
  return [...lower, ...upper].join(', ');
}

function withUnit(value: number, unit: string): string {
  const text = Math.abs(value) < 10_000 ? String(value) : value.toLocaleString('en');
  return unit === '' ? text : `${text} ${unit}`;
}
