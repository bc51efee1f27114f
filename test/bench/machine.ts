// The machine that figures belong to, and whether it had anything else to do when they were taken.
import { cpus, loadavg } from 'node:os';

/** Cores, processor, Node's version, and how busy the machine is (processes that run or want to, over a minute). */
export function machineNow() {
  const [load = 0] = loadavg();
  const cores = cpus().length;
  if (load > cores / 2) {
    console.error(
      `the machine is busy (load ${load.toFixed(1)} on ${cores} cores): figures mean little, ratios as well`,
    );
  }
  return { cores, cpu: cpus()[0]?.model ?? '', node: process.version, loadBefore: Number(load.toFixed(2)) };
}
