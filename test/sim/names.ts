// What nodes are called.
import type { NodeId } from '../../src/raft/types.ts';

/** The id of a node. */
export const nodeId = (number: number): NodeId => `n${number}`;
/** The reverse. */
export const numberOf = (id: NodeId): number => Number(id.slice(1));
