// What happened in a run, and in many: counted by name under the headings of the report.

/** The headings. */
export const headings = ['faults', 'operations', 'checks', 'marks', 'profiles'] as const;
/** One of them. */
export type Heading = (typeof headings)[number];

/** Counts by heading and name. */
export type Tallies = { readonly [Name in Heading]: Record<string, number> };

/** All at nothing. */
export function newTallies(): Tallies {
  return { faults: {}, operations: {}, checks: {}, marks: {}, profiles: {} };
}

/** Adds to one count. */
export function tally(counts: Record<string, number>, name: string, by = 1): void {
  counts[name] = (counts[name] ?? 0) + by;
}

/** Adds all counts of one to those of another. */
export function addTallies(to: Tallies, from: Tallies): void {
  for (const heading of headings) {
    for (const [name, count] of Object.entries(from[heading])) tally(to[heading], name, count);
  }
}
