// The report of a campaign, for people.
import { replayCommand, type Totals } from './campaign.ts';
import { allMarks } from './marks.ts';
import type { Profile } from './plan.ts';

const HOUR_MS = 3_600_000;
const MESSAGE_CHARS_MAX = 1_000;
const LINE_CHARS = 120;
const HEAD_CHARS = 12;

/** Seeds, simulated hours, faults by kind, operations, checks, situations never reached, and seeds that failed. */
export function linesOf(totals: Totals, seconds: number, profile: Profile | null): string[] {
  const { seeds, simulatedMs, events, cpuMs, tallies, failures } = totals;
  const hours = simulatedMs / HOUR_MS;
  const perHour = (count: number): string => ((count * 3_600) / seconds).toFixed(0);
  const never = allMarks.filter((mark) => (tallies.marks[mark] ?? 0) === 0);
  const lines = [
    `${seeds} seeds, ${hours.toFixed(2)} simulated hours, ${events} events in ${seconds.toFixed(0)} s`,
    `${perHour(seeds)} seeds and ${perHour(hours)} simulated hours an hour, ` +
      `${(simulatedMs / cpuMs).toFixed(0)} times real time per core`,
    ...paragraph('profiles', wordsOf(tallies.profiles)),
    ...paragraph('faults', wordsOf(tallies.faults)),
    ...paragraph('operations', wordsOf(tallies.operations)),
    ...paragraph('checked', wordsOf(tallies.checks)),
    ...paragraph('situations', [`${allMarks.length - never.length} of ${allMarks.length} reached`]),
    ...(never.length === 0 ? [] : paragraph('never', never)),
    `${failures.length} seeds broke a promise`,
  ];
  for (const { seed, message } of failures) {
    lines.push('', `seed ${seed}: ${message.slice(0, MESSAGE_CHARS_MAX)}`, `  ${replayCommand(seed, profile)}`);
  }
  return lines;
}

function wordsOf(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name} ${Math.round(count)}`);
}

function paragraph(head: string, words: readonly string[]): string[] {
  const lines = [head.padEnd(HEAD_CHARS)];
  words.forEach((word, at) => {
    const text = at < words.length - 1 ? `${word}, ` : word;
    const last = lines.length - 1;
    if (lines[last]!.length + text.length <= LINE_CHARS) lines[last] += text;
    else lines.push(' '.repeat(HEAD_CHARS) + text);
  });
  return lines.map((line) => line.trimEnd());
}
