// Figures against goals: percentiles, a table with a verdict a line, and whether all is well.
import Table from 'cli-table3';

/** One figure and what it must not exceed. */
export interface Goal {
  readonly what: string;
  readonly value: number;
  /** Largest value that is good enough; none for a figure that is only shown. */
  readonly most?: number;
  readonly unit: string;
}

/** The smallest value that `share` of all values do not exceed; 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** Whether no goal is missed. */
export function areMet(goals: readonly Goal[]): boolean {
  return goals.every(isMet);
}

function isMet({ value, most }: Goal): boolean {
  return most === undefined || value <= most;
}

/** A line for each figure: what, value, goal, verdict. */
export function tableOf(goals: readonly Goal[]): string {
  const table = new Table({ head: ['', 'measured', 'goal', ''], style: { head: [], border: [] } });
  for (const goal of goals) {
    const { what, value, most, unit } = goal;
    const limit = most === undefined ? '' : `<= ${most} ${unit}`;
    table.push([what, `${value} ${unit}`, limit, most === undefined ? '' : isMet(goal) ? 'met' : 'MISSED']);
  }
  return table.toString();
}
