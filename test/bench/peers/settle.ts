// Quiet between two measurements: what one system still does with its data (throwing it away, say), and what waits in page
// cache to be written, would be paid for by the one that is measured next.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { pause } from '../../chaos/pause.ts';

/** Of one core, what all systems together take while nobody asks them for anything: a third of this was measured. */
const IDLE_PERCENT_MAX = 15;

export interface SettleOptions {
  /** Processor time that all systems together have used. */
  readonly cpuMs: () => number;
  /** How long they are looked at before they count as quiet. */
  readonly lookMs?: number;
  /** How long they may take. */
  readonly timeoutMs?: number;
  /** Has the disk write what is in page cache. */
  readonly writeBack?: () => Promise<unknown>;
}

/** Waits for quiet. @returns whether there was any in time. */
export async function settle(options: SettleOptions): Promise<boolean> {
  const { cpuMs, lookMs = 400, timeoutMs = 10_000, writeBack = () => promisify(execFile)('sync') } = options;
  const untilMs = performance.now() + timeoutMs;
  let isQuiet = false;
  while (!isQuiet && performance.now() < untilMs) {
    const [before, beganAtMs] = [cpuMs(), performance.now()];
    await pause(lookMs);
    isQuiet = (100 * (cpuMs() - before)) / (performance.now() - beganAtMs) <= IDLE_PERCENT_MAX;
  }
  await writeBack();
  return isQuiet;
}
