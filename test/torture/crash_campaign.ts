// Random histories, a crash at each step of each, in all ways that a power loss may end it, and crashes of the recovery.
import { createHash } from 'node:crypto';
import { SeededRandom } from '../../src/base/random.ts';
import { checkRecovery, Rebuilt } from './crash_check.ts';
import { playHistory } from './crash_history.ts';
import {
  type CrashPoint,
  type Known,
  type MemoryDisk,
  type MemoryStateMedium,
  openReplica,
  recordCrashPoints,
} from './crash_replica.ts';
import { type VariantLimits, variantsOf } from './crash_variants.ts';

/** How much is tried. */
export interface CampaignOptions extends VariantLimits {
  readonly histories: number;
  readonly seed: number;
  /** Every so many moments; 1: all of them. */
  readonly pointStride: number;
  /** Recoveries that are crashed themselves: one in so many. */
  readonly recoveryStride: number;
}

/** What was tried, and what went wrong. */
export interface CampaignReport {
  readonly histories: number;
  readonly crashPoints: number;
  /** Crashes during recovery. */
  readonly recoveryPoints: number;
  readonly recoveries: number;
  /** Crashes that left what an earlier one of the same history had left, and owed no more: not recovered again. */
  readonly alike: number;
  readonly rebuilt: number;
  /** Crash points by kind of file, recoveries by kind of fate, operations by kind. */
  readonly byFile: ReadonlyMap<string, number>;
  readonly byFate: ReadonlyMap<string, number>;
  readonly done: ReadonlyMap<string, number>;
  readonly seconds: number;
  /** With the seed of the history, the step and the fate. */
  readonly failures: readonly string[];
}

const FAILURES_MAX = 10;

/** Plays and tortures the histories of the seeds `seed`, `seed + 1` … */
export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const campaign = new Campaign(options);
  for (let at = 0; at < options.histories; at++) await campaign.torture(options.seed + at);
  return campaign.report();
}

class Campaign {
  readonly #options: CampaignOptions;
  readonly #begunMs = performance.now();
  readonly #byFile = new Map<string, number>();
  readonly #byFate = new Map<string, number>();
  readonly #done = new Map<string, number>();
  readonly #failures: string[] = [];
  #crashPoints = 0;
  #recoveryPoints = 0;
  #recoveries = 0;
  #alike = 0;
  #rebuilt = 0;

  constructor(options: CampaignOptions) {
    this.#options = options;
  }

  async torture(seed: number): Promise<void> {
    const { pointStride, recoveryStride } = this.#options;
    const { points, done } = await playHistory(seed);
    for (const [name, count] of done) add(this.#done, name, count);
    const random = new SeededRandom(seed);
    const rebuilt = new Rebuilt();
    const tried = new Set<string>();
    const first = random.between(0, pointStride - 1);
    for (let at = first; at < points.length && this.#failures.length < FAILURES_MAX; at += pointStride) {
      const point = points[at]!;
      this.#crashPoints++;
      add(this.#byFile, kindOf(point.path));
      const owed = JSON.stringify(point.known);
      for (const { name, end } of variantsOf(point.disk, random, this.#options)) {
        const hint = `seed ${seed}, step ${at} (${point.kind} ${point.path}), ${name}`;
        const [disk, medium] = endOf(point, end, random.between(0, point.medium.unsynced.length));
        add(this.#byFate, name);
        const print = fingerprint(disk, medium, owed);
        if (tried.has(print)) {
          this.#alike++;
          continue;
        }
        tried.add(print);
        const isCrashedAgain = random.between(1, recoveryStride) === 1;
        const copies = isCrashedAgain ? ([disk.clone(), medium.clone()] as const) : null;
        await this.#recover(disk, medium, point.known, rebuilt, hint);
        if (copies !== null) await this.#crashRecovery(...copies, point.known, { rebuilt, hint, random });
      }
    }
    this.#rebuilt += rebuilt.made;
  }

  async #crashRecovery(
    disk: MemoryDisk,
    medium: MemoryStateMedium,
    known: Known,
    { rebuilt, hint, random }: { readonly rebuilt: Rebuilt; readonly hint: string; readonly random: SeededRandom },
  ): Promise<void> {
    const inner = recordCrashPoints(disk, medium, known);
    try {
      await openReplica(disk, medium);
    } catch {
      return; // Its failure is told already.
    }
    for (const [at, point] of inner.entries()) {
      this.#recoveryPoints++;
      const fates = [...variantsOf(point.disk, random, { tornMax: 3, subsetsMax: 1 })];
      const { name, end } = fates[random.between(0, fates.length - 1)]!;
      const again = endOf(point, end, 0);
      await this.#recover(...again, known, rebuilt, `${hint}, and at step ${at} of the recovery, ${name}`);
    }
  }

  async #recover(
    disk: MemoryDisk,
    medium: MemoryStateMedium,
    known: Known,
    rebuilt: Rebuilt,
    hint: string,
  ): Promise<void> {
    this.#recoveries++;
    try {
      await checkRecovery(disk, medium, known, rebuilt);
    } catch (error) {
      if (this.#failures.length < FAILURES_MAX) this.#failures.push(`${hint}: ${(error as Error).message}`);
    }
  }

  report(): CampaignReport {
    return {
      histories: this.#options.histories,
      crashPoints: this.#crashPoints,
      recoveryPoints: this.#recoveryPoints,
      recoveries: this.#recoveries,
      alike: this.#alike,
      rebuilt: this.#rebuilt,
      byFile: this.#byFile,
      byFate: this.#byFate,
      done: this.#done,
      seconds: (performance.now() - this.#begunMs) / 1_000,
      failures: this.#failures,
    };
  }
}

function endOf(point: CrashPoint, end: (disk: MemoryDisk) => void, batches: number): [MemoryDisk, MemoryStateMedium] {
  const [disk, medium] = [point.disk.clone(), point.medium.clone()];
  end(disk);
  medium.crash(batches);
  return [disk, medium];
}

/** What a crash left, and what is owed by it. */
function fingerprint(disk: MemoryDisk, medium: MemoryStateMedium, owed: string): string {
  const hash = createHash('sha1');
  for (const path of disk.files()) hash.update(`${path}\n`).update(disk.bytes(path));
  return hash
    .update(JSON.stringify([...medium.durable]))
    .update(owed)
    .digest('base64');
}

/** `commitlog`, `hardstate` …, the kind of file that a path is of. */
function kindOf(path: string): string {
  return path.split('/')[2]?.replace(/\.new$/, '') ?? 'none';
}

function add(counts: Map<string, number>, name: string, count = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + count);
}
