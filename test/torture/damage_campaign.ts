// Damage to stopped replicas, one thing at a time: bits flipped at random places or at every place, files cut at every
// byte, files lost.
import { type Random, SeededRandom } from '../../src/base/random.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { isRead, judgeDamage, type Outcome, type Sound, soundReplica } from './damage_judge.ts';

/** What was found, by kind of file and outcome. */
export interface DamageReport {
  readonly tried: number;
  readonly found: ReadonlyMap<string, ReadonlyMap<Outcome, number>>;
  /** What was served wrongly, or failed in another way than by a clear refusal. */
  readonly misses: readonly string[];
  /** Flips that nothing noticed in bytes other than zero. */
  readonly unnoticed: readonly string[];
  readonly seconds: number;
}

const REPLICAS = 5;
const MISSES_MAX = 20;

/** Damages replicas of random histories. */
export class DamageCampaign {
  readonly #sound: readonly Sound[];
  readonly #random: Random;
  readonly #found = new Map<string, Map<Outcome, number>>();
  readonly #misses: string[] = [];
  readonly #unnoticed: string[] = [];
  readonly #begunMs = performance.now();
  #tried = 0;

  private constructor(sound: readonly Sound[], random: Random) {
    this.#sound = sound;
    this.#random = random;
  }

  static async of(seed: number, replicas = REPLICAS): Promise<DamageCampaign> {
    const sound: Sound[] = [];
    for (let at = 0; at < replicas; at++) sound.push(await soundReplica(seed + at));
    return new DamageCampaign(sound, new SeededRandom(seed));
  }

  /** Flips one bit at each of `count` random places: any byte of any file, as likely as any other. */
  async flipAnywhere(count: number): Promise<void> {
    for (let at = 0; at < count; at++) {
      const sound = this.#sound[at % this.#sound.length]!;
      const files = sound.disk.files().map((path) => ({ path, size: sound.disk.bytes(path).length }));
      // Each kind of file as often as the others: segments are most of the bytes.
      const kinds = [...new Set(files.map(({ path }) => kindOf(path)))];
      const kind = kinds[this.#random.between(0, kinds.length - 1)]!;
      const ofKind = files.filter(({ path, size }) => kindOf(path) === kind && size > 0);
      const { path, size } = ofKind[this.#random.between(0, ofKind.length - 1)]!;
      await this.#flip(sound, path, this.#random.between(0, size - 1), this.#random.between(0, 7));
    }
  }

  /** Flips every bit of every byte other than zero, and cuts every file at every byte; one in `stride` of both. */
  async everything(stride: number): Promise<void> {
    for (const sound of this.#sound) {
      for (const path of sound.disk.files()) {
        await this.#damage(sound, path, 'lost', (disk) => disk.lose(path));
        const bytes = sound.disk.bytes(path);
        const first = this.#random.between(0, stride - 1);
        for (let at = first; at < bytes.length * 8; at += stride) {
          if (bytes[at >> 3] !== 0) await this.#flip(sound, path, at >> 3, at & 7);
        }
        for (let at = first; at < bytes.length; at += stride) await this.#cutAt(sound, path, at);
      }
    }
  }

  report(): DamageReport {
    return {
      tried: this.#tried,
      found: this.#found,
      misses: this.#misses,
      unnoticed: this.#unnoticed,
      seconds: (performance.now() - this.#begunMs) / 1_000,
    };
  }

  async #flip(sound: Sound, path: string, position: number, bit: number): Promise<void> {
    const outcome = await this.#damage(sound, path, `byte ${position}, bit ${bit}`, (disk) =>
      disk.flip(path, position, bit),
    );
    if (outcome === 'means nothing' && isRead(sound, path, position) && this.#unnoticed.length < MISSES_MAX) {
      this.#unnoticed.push(`${path}, byte ${position}, bit ${bit}`);
    }
  }

  async #cutAt(sound: Sound, path: string, sizeBytes: number): Promise<void> {
    await this.#damage(sound, path, `cut at ${sizeBytes}`, (disk) => {
      disk.open(path).truncate(sizeBytes);
      disk.crash({ mode: 'kept' });
    });
  }

  async #damage(
    sound: Sound,
    path: string,
    what: string,
    harm: (disk: MemoryDisk) => void,
  ): Promise<Outcome | undefined> {
    this.#tried++;
    const disk = sound.disk.clone();
    harm(disk);
    try {
      const outcome = await judgeDamage(sound, disk, path);
      const kind = kindOf(path);
      const counts = this.#found.get(kind) ?? new Map<Outcome, number>();
      this.#found.set(kind, counts.set(outcome, (counts.get(outcome) ?? 0) + 1));
      return outcome;
    } catch (error) {
      if (this.#misses.length < MISSES_MAX) this.#misses.push(`${path}, ${what}: ${(error as Error).message}`);
      return undefined;
    }
  }
}

function kindOf(path: string): string {
  return path.split('/')[2]!;
}

/** The report as lines. */
export function linesOf({ tried, found, misses, unnoticed, seconds }: DamageReport): string[] {
  const rows = [...found].map(([kind, counts]) => {
    return `  ${kind}: ${[...counts].map(([outcome, count]) => `${outcome} ${count}`).join(', ')}`;
  });
  return [
    `${tried} damages in ${seconds.toFixed(0)} s, by file`,
    ...rows,
    ...unnoticed.map((one) => `  unnoticed: ${one}`),
    ...misses.map((one) => `  MISSED: ${one}`),
    misses.length === 0 ? 'nothing damaged was served' : `${misses.length} missed`,
  ];
}
