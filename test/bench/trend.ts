// Whether a figure stays where it is: a line through its samples, by least squares.

/** A sample: when, and what. */
export type Point = readonly [x: number, y: number];

/** What `points` rise by for each unit of x; 0 when there are fewer than two places. */
export function slopeOf(points: readonly Point[]): number {
  const [middleX, middleY] = [meanOf(points.map(([x]) => x)), meanOf(points.map(([, y]) => y))];
  const across = points.reduce((sum, [x]) => sum + (x - middleX) ** 2, 0);
  const both = points.reduce((sum, [x, y]) => sum + (x - middleX) * (y - middleY), 0);
  return across === 0 ? 0 : both / across;
}

/** How much the line through `points` rises from the first x to the last, in percent of its middle; 0 of nothing. */
export function riseOf(points: readonly Point[]): number {
  const level = meanOf(points.map(([, y]) => y));
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || level === 0) return 0;
  return (100 * slopeOf(points) * (last[0] - first[0])) / level;
}

function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
