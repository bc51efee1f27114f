import { runSeed } from '/work/main/test/sim/world.ts';

const [from, count, profile] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4] as never];
let sim = 0,
  ev = 0;
const t = performance.now();
const total: Record<string, number> = {};
for (let seed = from; seed < from + count; seed++) {
  const t0 = performance.now();
  const r = await runSeed({ seed, profile: profile ?? null });
  sim += r.simulatedMs;
  ev += r.events;
  for (const [k, v] of Object.entries(r.counts)) total[k] = (total[k] ?? 0) + v;
  if (r.failure)
    console.log(seed, r.profile, `${(performance.now() - t0).toFixed(0)}ms`, r.failure.message.slice(0, 30000));
}
const s = (performance.now() - t) / 1000;
console.log({ s, simHours: sim / 3.6e6, ev, evPerS: ev / s, speed: sim / 1000 / s });
console.log(total);
