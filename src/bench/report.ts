// A result for people: some lines of text, or a plot over time.
import type { BenchReport } from './load.ts';
import type { Latencies } from './meter.ts';
import { plotOf } from './plot.ts';

/** Lines for a terminal. */
export function reportText(report: BenchReport): string {
  const { kind, setting, seconds, messagesPerSecond, megabytesPerSecond, latencyMs, deliveryMs, gapsMs } = report;
  const failed = Object.entries(report.failed).map(([code, count]) => `${count} ${code}`);
  const rate = `${messagesPerSecond.toLocaleString('en')} messages/s   ${megabytesPerSecond.toFixed(1)} MB/s`;
  const lines = [
    `${kind}: ${Object.entries(setting)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
    `  ${rate}   in ${seconds.toFixed(1)} s   failed: ${failed.length === 0 ? 'none' : failed.join(', ')}`,
    ...(latencyMs.count > 0 ? [`  acknowledged  ${latencyText(latencyMs)}`] : []),
    ...(deliveryMs === undefined ? [] : [`  delivered     ${latencyText(deliveryMs)}`]),
    ...(gapsMs === undefined
      ? []
      : [`  without service  ${gapsMs.join(', ')} ms   longest ${Math.max(...gapsMs, 0)} ms`]),
  ];
  return lines.join('\n');
}

/** Throughput and latency second by second, as an SVG document. */
export function reportPlot({ kind, setting, perSecond }: BenchReport): string {
  const over = (pick: (second: (typeof perSecond)[number]) => number) =>
    perSecond.map((second) => [second.atSeconds, pick(second)] as const);
  const latencies = [
    { name: 'p50', colour: '#0a7', points: over(({ p50Ms }) => p50Ms) },
    { name: 'p99', colour: '#c60', points: over(({ p99Ms }) => p99Ms) },
  ];
  const throughput = { name: 'messages', colour: '#06c', points: over(({ messagesPerSecond }) => messagesPerSecond) };
  const hasLatencies = perSecond.some(({ p50Ms }) => p50Ms > 0);
  return plotOf({
    title: `${kind}: ${Object.entries(setting)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
    xName: 'seconds',
    bands: [],
    panels: [
      { title: 'messages a second', lines: [throughput] },
      ...(hasLatencies ? [{ title: 'latency in ms', lines: latencies }] : []),
    ],
  });
}

function latencyText({ p50, p90, p99, p999, max, count }: Latencies): string {
  const said = Object.entries({ p50, p90, p99, 'p99.9': p999, max }).map(([name, ms]) => `${name} ${ms.toFixed(2)} ms`);
  return `${said.join('   ')}   (${count.toLocaleString('en')})`;
}
