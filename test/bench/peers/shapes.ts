// The ways in which systems are loaded: the rows of a comparison.
import type { Shape } from './contender.ts';

/**
 * As long as Node takes to compile what is hot, so that a client which was just started does not limit its system: at 10,000
 * messages a second to a warm group its median latency falls from 5.4 ms to 2.5 in eight seconds, and stays.
 */
const WARM_UP_MS = 10_000;
const KIB = 1_024;
const END_TO_END_RATE = 10_000;
const FRAMES_IN_FLIGHT = 16;

/** What is measured, for how long. */
export interface ShapeOptions {
  readonly seconds: number;
  /** Of a body, where the row does not say another one. */
  readonly sizeBytes: number;
  /** Names of rows; all of them by default. */
  readonly only?: readonly string[];
}

/**
 * The rows that are wanted, in their order; a row that goes by half of what another one reached brings that one along.
 * @throws Error naming a row that there is not.
 */
export function shapesOf({ seconds, sizeBytes, only }: ShapeOptions): Shape[] {
  const all = allShapes({ sizeBytes, warmUpMs: WARM_UP_MS, durationMs: seconds * 1_000 });
  const names = all.map(({ name }) => name);
  const stranger = only?.find((name) => !names.includes(name));
  if (stranger !== undefined) throw new Error(`--only ${stranger}: there are ${names.join(', ')}`);
  const wanted = all.filter(({ name }) => only?.includes(name) ?? true);
  return all.filter((shape) => wanted.includes(shape) || wanted.some(({ halfOf }) => halfOf === shape.name));
}

function allShapes(common: Pick<Shape, 'sizeBytes' | 'warmUpMs' | 'durationMs'>): Shape[] {
  const single = { ...common, batch: 1 };
  const frames = { ...common, kind: 'frames', inFlight: FRAMES_IN_FLIGHT } as const;
  const alone = { isAlone: true } as const;
  return [
    ...[1, 128, 1_024].map((inFlight) => ({
      ...({ name: `singles-${inFlight}`, kind: 'singles', inFlight } as const),
      ...single,
    })),
    { ...frames, name: 'frames-64', batch: 64 },
    { ...frames, name: 'frames-256', batch: 256 },
    { ...frames, name: 'frames-100b', batch: 1_024, sizeBytes: 100 },
    { ...frames, name: 'frames-16k', batch: 16, sizeBytes: 16 * KIB },
    { ...single, name: 'unary-1', kind: 'unary', inFlight: 1 },
    { ...single, name: 'unary-128', kind: 'unary', inFlight: 128 },
    { ...single, name: 'unary-spread', kind: 'spread', inFlight: 128 },
    { ...single, ...alone, name: 'peak-singles', kind: 'singles', inFlight: 1_024 },
    { ...frames, ...alone, name: 'peak-frames', batch: 256 },
    { ...single, ...alone, name: 'open-singles', kind: 'singles', inFlight: 0, halfOf: 'peak-singles' },
    { ...frames, ...alone, name: 'open-frames', inFlight: 0, batch: 256, halfOf: 'peak-frames' },
    { ...single, ...alone, name: 'consume', kind: 'consume', inFlight: 0, batch: 256 },
    { ...single, ...alone, name: 'end-to-end', kind: 'end-to-end', inFlight: 0, ratePerSecond: END_TO_END_RATE },
  ];
}
