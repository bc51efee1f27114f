// The group that the cases of several files share, and the cases themselves: those of all files that this process has loaded
// begin when the first file does.

import { Stage } from './clients.ts';
import { SideBySide } from './side_by_side.ts';

/** Set by `npm run test:compat`: leaders die all the time, and nothing may be noticed. */
export const killEveryMs =
  process.env.COMPAT_KILL_EVERY_MS === undefined ? null : Number(process.env.COMPAT_KILL_EVERY_MS);

/** Where cases are registered. */
export const cases = new SideBySide(30);

let users = 0;
let starting: Promise<Stage> | null = null;
let stage: Stage;

/** To be called in a suite: its cases have the group until the last such suite ends. @returns the group, while it is there. */
export function useStage(): () => Stage {
  users++;
  before(async () => {
    const isFirst = starting === null;
    starting ??= Stage.start({ killEveryMs });
    stage = await starting;
    if (isFirst) cases.begin();
  });
  after(async () => {
    if (--users > 0) return;
    const started = await starting;
    starting = null;
    await started?.stop();
  });
  return () => stage;
}
