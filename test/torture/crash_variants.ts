// What a power loss may make of one moment: the process killed; unflushed writes all lost or all kept; each of them torn at
// lengths of all sizes; subsets of their sectors lost, kept or garbled, of 512 bytes and of 4 KiB.
import type { Random } from '../../src/base/random.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';

/** One fate of a disk. */
export interface Variant {
  readonly name: 'killed' | 'lost' | 'kept' | 'torn' | 'sectors 512' | 'sectors 4096';
  readonly end: (disk: MemoryDisk) => void;
}

/** How many are tried of each kind at one moment. */
export interface VariantLimits {
  /** Lengths of torn writes; 0: every length of every write. */
  readonly tornMax: number;
  /** Subsets of sectors, for each size. All of them when there are no more. */
  readonly subsetsMax: number;
}

const SECTOR_SIZES = [512, 4096] as const;
/** What lies in two slots survives one that is garbage; all else relies on sectors that are old or new. */
const SLOTS = /\/(hardstate|checkpoint|base)$/;
const GARBAGE_CHANCE = 0.2;
const ALL = Number.POSITIVE_INFINITY;

/** The fates of what is unflushed on `disk`, chosen by `random` where there are too many. */
export function* variantsOf(disk: MemoryDisk, random: Random, limits: VariantLimits): Generator<Variant> {
  yield { name: 'killed', end: (one) => one.kill() };
  const { names, writes } = disk.unflushed();
  if (disk.isDurable()) return;
  yield { name: 'lost', end: (one) => one.crash({ mode: 'lost' }) };
  yield { name: 'kept', end: (one) => one.crash({ mode: 'kept' }) };
  yield* tornVariants(writes, names, random, limits.tornMax);
  if (writes.length === 0) return;
  for (const sectorBytes of SECTOR_SIZES) {
    for (let count = 0; count < limits.subsetsMax; count++) {
      const seed = random.between(0, 2 ** 31);
      yield { name: `sectors ${sectorBytes}`, end: (one) => loseSectors(one, sectorBytes, seed, names) };
    }
  }
}

type Writes = ReturnType<MemoryDisk['unflushed']>['writes'];

/** One write ends in its middle; those before it are whole, those behind it never happened. */
function* tornVariants(writes: Writes, names: number, random: Random, max: number): Generator<Variant> {
  const total = writes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const stride = max === 0 ? 1 : Math.max(1, total / max);
  for (let cut = max === 0 ? 1 : random.next() * stride; cut < total; cut += stride) {
    const length = Math.floor(cut);
    yield { name: 'torn', end: (one) => tearAt(one, writes, length, names) };
  }
}

function tearAt(disk: MemoryDisk, writes: Writes, length: number, namesKept: number): void {
  const kept = new Map<string, number[]>();
  let left = length;
  for (const { path, sizeBytes } of writes) {
    const lengths = kept.get(path) ?? [];
    kept.set(path, lengths);
    lengths.push(Math.max(0, Math.min(left, sizeBytes)));
    left -= sizeBytes;
  }
  disk.crash({
    mode: 'chosen',
    sectorBytes: ALL,
    sizesKept: ALL,
    namesKept,
    fateOf: (path, { write }) => kept.get(path)![write]!,
  });
}

function loseSectors(disk: MemoryDisk, sectorBytes: number, seed: number, names: number): void {
  let state = seed | 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const keepChance = [0.1, 0.5, 0.5, 0.9][Math.floor(next() * 4)]!;
  const hasGarbage = next() < 0.5;
  disk.crash({
    mode: 'chosen',
    sectorBytes,
    sizesKept: Math.floor(next() * 3),
    namesKept: Math.floor(next() * (names + 1)),
    fateOf: (path, { sizeBytes, overwrites }) => {
      const mayBeGarbage = hasGarbage && (!overwrites || SLOTS.test(path));
      if (mayBeGarbage && next() < GARBAGE_CHANCE)
        return Buffer.from(Array.from({ length: sizeBytes }, () => Math.floor(next() * 256)));
      return next() < keepChance ? sizeBytes : 0;
    },
  });
}
