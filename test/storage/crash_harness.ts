// Crashing at every step of a simulated disk, and again at every step of what comes after.
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import type { CrashMode, MemoryDisk } from '../../src/storage/memory_disk.ts';

/** What ends a process in these tests. */
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

/**
 * Runs `work` on `disk` until its `step`-th operation, where the process dies. @returns whether it died; then what is
 * left of it can do nothing more, and the caller ends it for the disk, too (`kill`, `crash`).
 */
export async function dieAt(disk: MemoryDisk, step: number, work: () => unknown): Promise<boolean> {
  let left = step;
  disk.onOperation = () => {
    if (--left <= 0) throw crash;
  };
  try {
    await work();
    disk.onOperation = null;
    return false;
  } catch (error) {
    if (error !== crash) throw error;
    return true;
  }
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
}

/** Declares: a crash at every step, with every fate; and with one more crash at every step of the recovery. */
export function describeCrashes<W>(
  name: string,
  { prepare, witness, work, recover, stepsMin, stride }: CrashCase<W>,
): void {
  async function crashAt(step: number): Promise<{ disk: MemoryDisk; known: W } | null> {
    const disk = await prepare();
    const known = witness();
    return (await dieAt(disk, step, () => work(disk, known))) ? { disk, known } : null;
  }

  describe(`crash at every step of ${name}`, () => {
    for (const [fate, end] of fates) {
      it(`${fate}`, async () => {
        for (let step = 1; ; step++) {
          const crashed = await crashAt(step);
          if (crashed === null) {
            expect(step).to.be.greaterThan(stepsMin);
            return;
          }
          end(crashed.disk, step);
          await recover(crashed.disk, crashed.known, `step ${step}`, false);
          // What recovery kept is durable, and another one finds the same.
          crashed.disk.crash({ mode: 'lost' });
          await recover(crashed.disk, crashed.known, `step ${step}, again`, true);
        }
      }).timeout(30_000);
    }

    it('and at every step of the recovery from it', async () => {
      for (let step = 1; ; step += stride) {
        const crashed = await crashAt(step);
        if (crashed === null) return;
        crashed.disk.crash({ mode: 'sectors', random: new SeededRandom(step) });
        for (let inner = 1, died = true; died; inner++) {
          const disk = crashed.disk.clone();
          const hint = `step ${step}, recovery step ${inner}`;
          died = await dieAt(disk, inner, () => recover(disk, crashed.known, hint, false));
          disk.crash({ mode: 'sectors', random: new SeededRandom(inner) });
          await recover(disk, crashed.known, hint, false);
        }
      }
    }).timeout(60_000);
  });
}
