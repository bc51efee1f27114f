// What a run of chaos came to: figures, what makes it void, and how it is printed.
import { median } from '../../src/server/demo/gap_meter.ts';
import type { HistoryCounts } from './histories.ts';
import type { Faults, Verdict } from './judge.ts';

/** How one kind of fault went. */
export interface FaultFigures {
  readonly count: number;
  /** How many of them were noticed. */
  readonly leftTrace: number;
  /** Longest silences, in milliseconds, over the times when it came alone; null when it never did. */
  readonly medianGapMs: number | null;
  readonly longestGapMs: number | null;
}

/** Figures of a run; times in milliseconds unless named otherwise. */
export interface ChaosFigures {
  readonly nodes: number;
  readonly seed: number;
  /** Of all nodes, where they are not the defaults. */
  readonly settings: Readonly<Record<string, string>>;
  readonly seconds: number;
  /** Messages sent. */
  readonly operations: number;
  /** Messages shown to readers on all nodes. */
  readonly observed: number;
  /** Whether the group was to delete old messages, and how many it had deleted in the end. */
  readonly isCut: boolean;
  readonly cut: number;
  readonly probesAnswered: number;
  readonly probesUnanswered: number;
  /** Small histories that were held against the definition of linearizability. */
  readonly histories: HistoryCounts;
  readonly acknowledgedPerSecondBefore: number;
  readonly acknowledgedPerSecondAfter: number;
  readonly faults: number;
  readonly faultsByKind: Readonly<Record<string, FaultFigures>>;
  readonly leaderChanges: number;
  /** Longest silence between two acknowledgements. */
  readonly longestGapMs: number;
  /** Over the longest silence of each step. */
  readonly medianGapMs: number | null;
  /** What senders were told when not served. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** Figures, verdict, and whether the run counts. */
export interface ChaosReport extends ChaosFigures {
  readonly verdict: Verdict;
  /** Why the run proves nothing; empty for a valid one. */
  readonly voids: readonly string[];
  /** Kept when promises were broken. */
  readonly dataDir: string | null;
  /** Valid, and every promise kept. */
  readonly ok: boolean;
}

const ACKNOWLEDGED_PER_SECOND_MIN = 100;
const ACKNOWLEDGED_SHARE_MIN = 0.7;
const UNDECIDED_SHARE_MAX = 0.05;

/** Why a run counts for nothing: too little was served, or a kind of fault never left a trace. */
export function voidReasons(
  figures: Pick<
    ChaosFigures,
    'acknowledgedPerSecondBefore' | 'acknowledgedPerSecondAfter' | 'faultsByKind' | 'histories' | 'isCut' | 'cut'
  >,
  verdict: Pick<Verdict, 'acknowledged' | 'failed' | 'unknown'>,
): string[] {
  const reasons: string[] = [];
  const { acknowledgedPerSecondBefore: before, acknowledgedPerSecondAfter: after } = figures;
  if (before < ACKNOWLEDGED_PER_SECOND_MIN) reasons.push(`only ${before} acknowledgements a second before the faults`);
  if (after < ACKNOWLEDGED_PER_SECOND_MIN) reasons.push(`only ${after} acknowledgements a second after the faults`);
  const { acknowledged, failed, unknown } = verdict;
  const share = acknowledged / Math.max(1, acknowledged + failed + unknown);
  if (share < ACKNOWLEDGED_SHARE_MIN)
    reasons.push(`only ${Math.round(share * 100)} % of all messages were acknowledged`);
  const { judged, undecided } = figures.histories;
  if (judged === 0 || undecided / judged > UNDECIDED_SHARE_MAX) {
    reasons.push(`${undecided} of ${judged} histories have no verdict`);
  }
  if (figures.isCut && figures.cut === 0) reasons.push('nothing was deleted');
  const kinds = Object.entries(figures.faultsByKind);
  if (kinds.length === 0) reasons.push('no fault was made');
  for (const [kind, { leftTrace }] of kinds) if (leftTrace === 0) reasons.push(`${kind} left no trace`);
  return reasons;
}

/** Counts faults and the silences around them. */
export class FaultStatistics {
  readonly #counts = new Map<string, { count: number; leftTrace: number }>();
  readonly #gaps = new Map<string, number[]>();
  readonly #allGaps: number[] = [];

  made(kind: string, leftTrace: boolean): void {
    const counts = this.#counts.get(kind) ?? { count: 0, leftTrace: 0 };
    this.#counts.set(kind, counts);
    counts.count++;
    if (leftTrace) counts.leftTrace++;
  }

  /** The longest silence of a step; it is charged to a kind only when that came alone. */
  gap(kinds: readonly string[], gapMs: number): void {
    this.#allGaps.push(gapMs);
    if (kinds.length !== 1) return;
    const gaps = this.#gaps.get(kinds[0]!) ?? [];
    this.#gaps.set(kinds[0]!, gaps);
    gaps.push(gapMs);
  }

  summary(): Pick<ChaosFigures, 'faults' | 'faultsByKind' | 'medianGapMs'> {
    const kinds = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const figures = kinds.map(([kind, counts]): [string, FaultFigures] => {
      const gaps = this.#gaps.get(kind) ?? [];
      const longestGapMs = gaps.length === 0 ? null : Math.max(...gaps);
      return [kind, { ...counts, medianGapMs: median(gaps), longestGapMs }];
    });
    return {
      faults: kinds.reduce((sum, [, { count }]) => sum + count, 0),
      faultsByKind: Object.fromEntries(figures),
      medianGapMs: median(this.#allGaps),
    };
  }
}

/** The report for people. */
export function textOf(report: ChaosReport): string {
  const { verdict } = report;
  const kinds = Object.entries(report.faultsByKind).map(([kind, one]) => {
    const gaps = one.medianGapMs === null ? '' : `gap median ${one.medianGapMs} ms, longest ${one.longestGapMs} ms`;
    return `  ${kind.padEnd(23)} ${String(one.count).padStart(4)}  ${gaps}`;
  });
  const broken = (Object.entries(verdict.faults) as [keyof Faults, number][]).map(
    ([kind, count]) => `${kind} ${count}`,
  );
  const settings = Object.entries(report.settings).map(([key, value]) => `${key}=${value}`);
  const again = ['--nodes', report.nodes, '--seed', report.seed, ...settings.flatMap((one) => ['--set', one])];
  return [
    `${report.nodes} nodes, ${report.seconds} s, seed ${report.seed}${settings.map((one) => `, ${one}`).join('')}`,
    `${report.operations} messages sent: ${verdict.acknowledged} acknowledged, ${verdict.failed} failed, ${verdict.unknown} unknown`,
    `${verdict.read} in the log (${verdict.repeats} allowed repeats, ${report.cut} deleted again), shown ${report.observed} times; probes: ${report.probesAnswered} answered, ${report.probesUnanswered} not`,
    `${report.histories.judged} histories of ${report.histories.operations} calls held against the definition of linearizability, ${report.histories.undecided} without a verdict`,
    `served ${report.acknowledgedPerSecondBefore}/s before and ${report.acknowledgedPerSecondAfter}/s after the faults`,
    `${report.leaderChanges} leader changes, ${report.faults} faults; silence: median ${report.medianGapMs} ms, longest ${report.longestGapMs} ms`,
    ...kinds,
    `senders were told: ${JSON.stringify(report.refusals)}`,
    `promises broken: ${broken.join(', ')}`,
    ...verdict.examples.map((example) => `  ${example}`),
    ...report.voids.map((reason) => `VOID: ${reason}`),
    ...(report.dataDir === null ? [] : [`data kept in ${report.dataDir}`]),
    report.ok ? 'OK' : `FAILED; again with: npm run test:chaos -- ${again.join(' ')}`,
  ].join('\n');
}
