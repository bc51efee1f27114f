import { runSeed } from './world.ts';

const r = await runSeed({
  seed: Number(process.argv[2]),
  profile: (process.argv[3] as never) || null,
  isVerbose: true,
});
console.log(r.lines.join('\n'));
console.log(r.failure);
