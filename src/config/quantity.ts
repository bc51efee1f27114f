// Sizes and durations as people write them: `64MiB`, `1.5s`, or the plain number in the key's own unit.

const sizeUnits = new Map([
  ['', 1],
  ['b', 1],
  ['kib', 1024],
  ['mib', 1024 ** 2],
  ['gib', 1024 ** 3],
  ['tib', 1024 ** 4],
]);

const durationUnits = new Map([
  ['', 1],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** What a number of the configuration counts; decides which suffixes it may carry. */
export type QuantityUnit = 'bytes' | 'ms' | 'count';

/** `value` as a number where it is text with a known suffix; anything else is returned as it came, for the schema. */
export function parseQuantity(value: unknown, unit: QuantityUnit): unknown {
  if (typeof value !== 'string') return value;
  const parts = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$/.exec(value);
  if (parts === null) return value;
  const factor = unitsOf(unit).get(parts[2]!.toLowerCase());
  return factor === undefined ? value : Number(parts[1]) * factor;
}

/** A quantity in the largest unit that loses nothing: 1073741824 bytes is `1 GiB`. */
export function formatQuantity(value: number, unit: QuantityUnit): string {
  if (unit === 'count') return String(value);
  const names = unit === 'bytes' ? ['TiB', 'GiB', 'MiB', 'KiB'] : ['h', 'm', 's'];
  for (const name of names) {
    const factor = unitsOf(unit).get(name.toLowerCase())!;
    if (value >= factor && value % factor === 0) return `${value / factor} ${name}`;
  }
  return `${value} ${unit === 'bytes' ? 'B' : 'ms'}`;
}

function unitsOf(unit: QuantityUnit): ReadonlyMap<string, number> {
  if (unit === 'bytes') return sizeUnits;
  return unit === 'ms' ? durationUnits : new Map([['', 1]]);
}
