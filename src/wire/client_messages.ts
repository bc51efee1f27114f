// What admin.proto says of connected clients, as TypeScript.
import type { Int64 } from './int64.ts';

/** Asks who is connected; the two `after` fields are those of the last client of the page before. */
export interface ListClientsRequest {
  readonly group: string;
  readonly localOnly: boolean;
  readonly afterClientId: string;
  readonly afterNodeId: string;
}

/** A topic that a client sends to (no filter) or reads. */
export interface ClientTopic {
  readonly name: string;
  /** `TAG` or `SQL`; empty for a producer. */
  readonly filterType: string;
  readonly filter: string;
}

/** A client as the node knows it that it is connected to. */
export interface ConnectedClient {
  readonly clientId: string;
  readonly nodeId: string;
  /** A `ClientType` of RocketMQ's protocol. */
  readonly kind: string;
  readonly group: string;
  readonly topics: readonly ClientTopic[];
  readonly language: string;
  readonly version: string;
  readonly address: string;
  readonly connectedTimestamp: Int64;
  readonly lastSeenTimestamp: Int64;
}

/** A node that was asked; `error` says why it could not be. */
export interface AskedNode {
  readonly nodeId: string;
  readonly error: string;
}

/** Some clients, by id and node. */
export interface ListClientsResponse {
  readonly clients: readonly ConnectedClient[];
  readonly nodes: readonly AskedNode[];
  /** Whether there are no more behind these, on the nodes that answered. */
  readonly complete: boolean;
}
