// A plot as an SVG file, drawn by hand: lines over one common x axis, panel below panel.

/** A line of a panel. */
export interface Line {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Lines with one y axis, which begins at 0. */
export interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
  /** A level to be seen, e.g. a limit. */
  readonly level?: { readonly y: number; readonly name: string };
}

/** A stretch of the x axis in which something special went on. */
export interface Band {
  readonly from: number;
  readonly to: number;
  readonly name: string;
}

const WIDTH = 960;
const PANEL_HEIGHT = 240;
const MARGIN = { left: 70, right: 20, top: 36, bottom: 44 };
const TICKS = 5;
/** Names of bands that stand closer would overlap. */
const BAND_NAME_GAP = 90;

/** The SVG document. */
export function plotOf(options: {
  readonly title: string;
  readonly xName: string;
  readonly panels: readonly Panel[];
  readonly bands: readonly Band[];
}): string {
  const { title, xName, panels, bands } = options;
  const points = panels.flatMap(({ lines }) => lines.flatMap((line) => line.points));
  const xMax = niceMax(Math.max(...points.map(([x]) => x), 0));
  const height = panels.length * (PANEL_HEIGHT + MARGIN.top + MARGIN.bottom) + 30;
  const body = panels.map((panel, at) => {
    const top = 30 + at * (PANEL_HEIGHT + MARGIN.top + MARGIN.bottom) + MARGIN.top;
    return panelOf(panel, { top, xMax, xName, bands });
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    text(WIDTH / 2, 22, title, 'middle', 'font-size="16"'),
    ...body,
    '</svg>',
    '',
  ].join('\n');
}

function panelOf(
  { title, lines, level }: Panel,
  { top, xMax, xName, bands }: { top: number; xMax: number; xName: string; bands: readonly Band[] },
): string {
  const width = WIDTH - MARGIN.left - MARGIN.right;
  const yMax = niceMax(Math.max(...lines.flatMap((line) => line.points.map(([, y]) => y)), level?.y ?? 0));
  const xAt = (x: number): number => round(MARGIN.left + (x / xMax) * width);
  const yAt = (y: number): number => round(top + PANEL_HEIGHT * (1 - y / yMax));
  const bottom = top + PANEL_HEIGHT;
  const parts: string[] = [];
  let namedAt = Number.NEGATIVE_INFINITY;
  for (const { from, to, name } of bands) {
    const wide = Math.max(1, round(xAt(to) - xAt(from)));
    parts.push(`<rect x="${xAt(from)}" y="${top}" width="${wide}" height="${PANEL_HEIGHT}" fill="#fde9c8"/>`);
    if (xAt(from) - namedAt < BAND_NAME_GAP) continue;
    namedAt = xAt(from);
    parts.push(text(xAt(from), top + PANEL_HEIGHT - 6, name, 'start', 'fill="#a06000"'));
  }
  for (let tick = 0; tick <= TICKS; tick++) {
    const y = (yMax * tick) / TICKS;
    const x = (xMax * tick) / TICKS;
    parts.push(`<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${yAt(y)}" y2="${yAt(y)}" stroke="#ddd"/>`);
    parts.push(text(MARGIN.left - 8, yAt(y) + 4, short(y), 'end'), text(xAt(x), bottom + 18, short(x), 'middle'));
  }
  parts.push(text(MARGIN.left, top - 10, title, 'start', 'font-weight="bold"'));
  parts.push(text(WIDTH - MARGIN.right, bottom + 34, xName, 'end'));
  lines.forEach(({ name, colour, points }, at) => {
    const path = points.map(([x, y]) => `${xAt(x)},${yAt(y)}`).join(' ');
    parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="1.2" points="${path}"/>`);
    parts.push(text(WIDTH - MARGIN.right - 110 * (lines.length - 1 - at), top - 10, name, 'end', `fill="${colour}"`));
  });
  if (level !== undefined) {
    const y = yAt(level.y);
    parts.push(
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y}" y2="${y}" stroke="#c00" stroke-dasharray="5 4"/>`,
      text(MARGIN.left + 6, y - 4, level.name, 'start', 'fill="#c00"'),
    );
  }
  return parts.join('\n');
}

function text(x: number, y: number, what: string, anchor: 'start' | 'middle' | 'end', more = ''): string {
  const escaped = what.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" ${more}>${escaped}</text>`;
}

/** 1, 2 or 5 times a power of ten, at least `value`; 1 for 0. */
function niceMax(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= value) ?? 10);
}

const round = (value: number): number => Math.round(value * 10) / 10;
const short = (value: number): string => String(Number(value.toPrecision(3)));
