// All deliberate breaks.
import type { Mutant } from './mutant.ts';
import { raftMutants } from './raft.ts';
import { replicaMutants } from './replica.ts';
import { storageMutants } from './storage.ts';

/** In the order of the house: consensus, storage, replica and broker. */
export const mutants: readonly Mutant[] = [...raftMutants, ...storageMutants, ...replicaMutants];
