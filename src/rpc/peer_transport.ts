// Carries consensus between members: append frames over each link's stream, their answers back over the stream on which
// they came, votes and TimeoutNow as unary calls.
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { assert, unreachable } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { NodeId, RaftMessage, Term, TimeoutNow, VoteRequest, VoteResponse } from '../raft/types.ts';
import type { PeerEvents, PeerTransport, RecordBytes } from '../replica/types.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import { encodeAppendFrame, encodeResponseFrame } from '../wire/peer_frames.ts';
import type { MemberInfo } from './gateway.ts';
import type { PeerIdentity } from './peer_identity.ts';
import { PeerLink } from './peer_link.ts';

/** Who the members are and how to reach them. */
export interface GrpcPeerTransportOptions {
  readonly identity: PeerIdentity;
  /** All members, this node included. */
  readonly members: readonly MemberInfo[];
  /** How long a vote or TimeoutNow may take; later answers would be stale. */
  readonly callTimeoutMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onWarning: (message: string) => void;
}

/** The transport of one replica over gRPC. */
export class GrpcPeerTransport implements PeerTransport {
  readonly #options: GrpcPeerTransportOptions;
  readonly #links = new Map<NodeId, PeerLink>();
  /** Streams that peers opened to this node: the way back for append responses. */
  readonly #inbound = new Map<NodeId, ServerDuplexStream<Buffer, Buffer>>();
  #events: PeerEvents | null = null;
  /** The answer to the vote request in hand; consensus gives it within the same turn or not at all. */
  #voteInHand: { response: VoteResponse | null } | null = null;

  constructor(options: GrpcPeerTransportOptions) {
    this.#options = options;
    for (const member of options.members) {
      if (member.nodeId !== options.identity.nodeId) this.#links.set(member.nodeId, this.#newLink(member));
    }
  }

  /** Begins to connect; from now on `events` hears of peers and messages. */
  start(events: PeerEvents): void {
    this.#events = events;
    for (const link of this.#links.values()) link.start();
  }

  link(peer: NodeId): PeerLink | undefined {
    return this.#links.get(peer);
  }

  send(message: RaftMessage, records: RecordBytes | null): void {
    switch (message.type) {
      case 'append':
        assert(records !== null, 'an append message comes with its records');
        this.#links.get(message.to)?.sendFrame(encodeAppendFrame(message, records));
        return;
      case 'append-response':
        this.#inbound.get(message.to)?.write(encodeResponseFrame(message));
        return;
      case 'vote-request':
        void this.#requestVote(message);
        return;
      case 'vote-response':
        if (this.#voteInHand !== null) this.#voteInHand.response = message;
        return;
      case 'timeout-now':
        void this.#timeoutNow(message);
        return;
      default:
        unreachable(message);
    }
  }

  /** A peer opened its replication stream: answers to it go back this way. */
  attach(peer: NodeId, stream: ServerDuplexStream<Buffer, Buffer>): void {
    this.#inbound.get(peer)?.end();
    this.#inbound.set(peer, stream);
  }

  detach(peer: NodeId, stream: ServerDuplexStream<Buffer, Buffer>): void {
    if (this.#inbound.get(peer) === stream) this.#inbound.delete(peer);
  }

  /** Hands a message from a peer to consensus. */
  receive(message: RaftMessage, records: RecordBytes | null): void {
    this.#events?.onMessage(message, records);
  }

  /** Asks consensus for this node's vote; null when it has no opinion (a living leader is known). */
  receiveVoteRequest(message: VoteRequest): VoteResponse | null {
    const inHand: { response: VoteResponse | null } = { response: null };
    this.#voteInHand = inHand;
    this.#events?.onMessage(message, null);
    this.#voteInHand = null;
    return inHand.response;
  }

  close(): void {
    this.#events = null;
    for (const link of this.#links.values()) link.close();
    for (const stream of this.#inbound.values()) stream.end();
  }

  #newLink(member: MemberInfo): PeerLink {
    const { identity, clock, random, onWarning } = this.#options;
    return new PeerLink({
      identity,
      peer: member.nodeId,
      address: member.peerAddress,
      clock,
      random,
      onWarning,
      onUp: () => this.#events?.onUp(member.nodeId),
      onDown: () => this.#events?.onDown(member.nodeId),
      onResponse: (response) => this.#events?.onMessage(response, null),
    });
  }

  async #requestVote(message: VoteRequest): Promise<void> {
    const { term, preVote, lastIndex, lastTerm, transfer } = message;
    try {
      const link = this.#links.get(message.to);
      const request = {
        term: String(term),
        preVote,
        lastIndex: String(lastIndex),
        lastTerm: String(lastTerm),
        transfer,
      };
      const response = await link?.vote(request, this.#options.callTimeoutMs);
      if (response === undefined) return;
      this.#events?.onMessage(
        {
          type: 'vote-response',
          from: message.to,
          to: message.from,
          term: uint64ToNumber(response.term, 'term') as Term,
          preVote: response.preVote,
          granted: response.granted,
        },
        null,
      );
    } catch {
      // No answer: the same as a lost message. The candidate's own timeout takes care of it.
    }
  }

  async #timeoutNow(message: TimeoutNow): Promise<void> {
    try {
      await this.#links.get(message.to)?.timeoutNow({ term: String(message.term) }, this.#options.callTimeoutMs);
    } catch {
      // The same as a lost message: consensus aborts the transfer by itself.
    }
  }
}
