// Crashing at every step of a simulated disk, and again at every step of what comes after.
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import type { CrashMode, MemoryDisk } from '../../src/storage/memory_disk.ts';

/** What ends a process in tests that stop at a step. */
export const crash = new Error('crash');

/** What becomes of unflushed writes. */
export type Fate = readonly [name: string, end: (disk: MemoryDisk, step: number) => void];

/** Killed, all lost, all kept, and sectors lost at random. */
export const fates: readonly Fate[] = [
  ['the process is killed', (disk) => disk.kill()],
  ...(['lost', 'kept'] as const satisfies readonly CrashMode[]).map(
    (mode): Fate => [`unflushed writes are ${mode}`, (disk) => disk.crash({ mode })],
  ),
  ...[1, 2, 3].map(
    (seed): Fate => [
      `sectors of unflushed writes are lost, seed ${seed}`,
      (disk, step) => disk.crash({ mode: 'sectors', random: new SeededRandom(step * 1000 + seed) }),
    ],
  ),
];

/** What a crash finds: the disk as it is before one of its steps, and what the outside knows then. */
export interface CrashPoint<W> {
  /** The number of the step, from 1 on. */
  readonly step: number;
  /** Cloned before it is used. */
  readonly disk: MemoryDisk;
  readonly known: W;
}

/**
 * Does `work` once, and keeps what a crash at each of its steps would find. Steps that only read find what the next one
 * finds, and are counted only.
 * @param known what the outside knows: plain fields, which are copied with the lists among them.
 */
export async function crashPointsOf<W>(
  disk: MemoryDisk,
  known: W,
  work: () => unknown,
): Promise<{ readonly points: CrashPoint<W>[]; readonly steps: number }> {
  const points: CrashPoint<W>[] = [];
  let steps = 0;
  disk.onOperation = ({ kind }) => {
    steps++;
    if (kind !== 'read') points.push({ step: steps, disk: disk.clone(), known: copyOf(known) });
  };
  await work();
  disk.onOperation = null;
  points.push({ step: steps + 1, disk: disk.clone(), known: copyOf(known) });
  return { points, steps: steps + 1 };
}

/** Its fields, and the lists among them; what they hold is replaced when it changes. */
function copyOf<W>(known: W): W {
  if (known === null || typeof known !== 'object') return known;
  if (Array.isArray(known)) return [...known] as W;
  const fields = Object.entries(known).map(([key, value]) => [key, Array.isArray(value) ? [...value] : value]);
  return Object.assign(Object.create(Object.getPrototypeOf(known)), Object.fromEntries(fields));
}

/** A piece of work and what must hold whenever it was interrupted. `W` is what the outside knows of it. */
export interface CrashCase<W> {
  /** The disk before the work; made anew, or cloned, for every crash. */
  prepare(): MemoryDisk | Promise<MemoryDisk>;
  witness(): W;
  work(disk: MemoryDisk, witness: W): unknown;
  /** Opens what is left, and checks it; `isThorough` also whether one can go on with it. */
  recover(disk: MemoryDisk, witness: W, hint: string, isThorough: boolean): unknown;
  /** Operations that the work takes at least, so that a test that stopped to do something is noticed. */
  readonly stepsMin: number;
  /** Crashes during recovery are tried after every so many steps of the work. */
  readonly stride: number;
  /** Crashes during the recovery of a killed process are not tried, whose page cache recovery then relies on. */
  readonly powerLossOnly?: boolean;
}

/** Declares: a crash at every step, with every fate; and with one more crash at every step of the recovery. */
export function describeCrashes<W>(
  name: string,
  { prepare, witness, work, recover, stepsMin, stride, powerLossOnly = false }: CrashCase<W>,
): void {
  describe(`crash at every step of ${name}`, () => {
    let points: CrashPoint<W>[] = [];

    before(async () => {
      const disk = await prepare();
      const known = witness();
      const all = await crashPointsOf(disk, known, () => work(disk, known));
      expect(all.steps).to.be.greaterThan(stepsMin);
      points = all.points;
    });

    for (const [fate, end] of fates) {
      it(`${fate}`, async () => {
        for (const { step, disk: found, known } of points) {
          const disk = found.clone();
          end(disk, step);
          await recover(disk, known, `step ${step}`, false);
          // What recovery kept is durable, and another one finds the same.
          disk.crash({ mode: 'lost' });
          await recover(disk, known, `step ${step}, again`, true);
        }
      });
    }

    it('and at every step of the recovery from it', async () => {
      const chosen = points.filter((_, at) => at % stride === 0);
      for (const [at, { step, disk: found, known }] of chosen.entries()) {
        const crashed = found.clone();
        // What a killed process left in the page cache is at risk for as long as the recovery does not flush it.
        if (at % 2 === 0 && !powerLossOnly) crashed.kill();
        else crashed.crash({ mode: 'sectors', random: new SeededRandom(step) });
        const inner = await crashPointsOf(crashed, null, () => recover(crashed, known, `step ${step}`, false));
        for (const { step: innerStep, disk } of inner.points) {
          disk.crash({ mode: 'sectors', random: new SeededRandom(innerStep) });
          await recover(disk, known, `step ${step}, recovery step ${innerStep}`, false);
        }
      }
    });
  });
}
