// All calls that travel to the leader, by kind.
import type { ForwardKind } from '../wire/peer_messages.ts';
import {
  addLiteCall,
  bindLiteCall,
  claimLiteCall,
  deleteGroupCall,
  moveCall,
  popCall,
  putGroupCall,
  recallCall,
  resolveCall,
  storeCall,
  takeChecksCall,
  verdictsCall,
} from './consuming_calls.ts';
import { addQueuesCall, basicCalls, type LeaderCall } from './leader_calls.ts';

// biome-ignore lint/suspicious/noExplicitAny: calls of any kind; each is typed where it is made.
const calls: readonly LeaderCall<any, any>[] = [
  ...basicCalls,
  storeCall,
  popCall,
  verdictsCall,
  moveCall,
  putGroupCall,
  deleteGroupCall,
  addLiteCall,
  bindLiteCall,
  claimLiteCall,
  addQueuesCall,
  recallCall,
  resolveCall,
  takeChecksCall,
];

/** The call of a kind that arrived; undefined for one that this node does not know. */
// biome-ignore lint/suspicious/noExplicitAny: as above.
export function leaderCallOf(kind: ForwardKind): LeaderCall<any, any> | undefined {
  return calls.find((call) => call.kind === kind);
}
