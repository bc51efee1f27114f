// All deliberate breaks.
import { consumingMutants } from './consuming.ts';
import { memberMutants } from './members.ts';
import type { Mutant } from './mutant.ts';
import { raftMutants } from './raft.ts';
import { replicaMutants } from './replica.ts';
import { snapshotMutants } from './snapshots.ts';
import { storageMutants } from './storage.ts';

/** In the order of the house: consensus, storage, replica and broker; then what goes through all of it. */
export const mutants: readonly Mutant[] = [
  ...raftMutants,
  ...storageMutants,
  ...replicaMutants,
  ...memberMutants,
  ...snapshotMutants,
  ...consumingMutants,
];
