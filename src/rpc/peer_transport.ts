// Carries consensus between members: append and snapshot frames over each link's stream, their answers back over the
// stream on which they came, votes and TimeoutNow as unary calls. Links come and go with the members.
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { assert, unreachable } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Membership, NodeId, RaftMessage, Term, TimeoutNow, VoteRequest, VoteResponse } from '../raft/types.ts';
import type { PeerEvents, PeerTransport, RecordBytes } from '../replica/types.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import { encodeAppendFrame, encodeResponseFrame, encodeSnapshotFrame } from '../wire/peer_frames.ts';
import { errorOf } from '../wire/status.ts';
import type { PeerIdentity } from './peer_identity.ts';
import { PeerLink } from './peer_link.ts';

/** What a transport stands on. */
export interface GrpcPeerTransportOptions {
  readonly identity: PeerIdentity;
  /** How long a vote or TimeoutNow may take; later answers would be stale. */
  readonly callTimeoutMs: number;
  /** How long the way to a member that left stays open: it is still told that it is out. */
  readonly lingerMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onWarning: (message: string) => void;
  /** A member that knows a living leader says that this node is no member. */
  readonly onOutcast: (message: string) => void;
}

/** The transport of one replica over gRPC. */
export class GrpcPeerTransport implements PeerTransport {
  readonly #options: GrpcPeerTransportOptions;
  readonly #links = new Map<NodeId, PeerLink>();
  /** Links to former members, until they are closed. */
  readonly #lingering = new Map<NodeId, Timer>();
  /** Streams that peers opened to this node: the way back for append responses. */
  readonly #inbound = new Map<NodeId, ServerDuplexStream<Buffer, Buffer>>();
  #events: PeerEvents | null = null;
  /** The answer to the vote request in hand; consensus gives it within the same turn or not at all. */
  #voteInHand: { response: VoteResponse | null } | null = null;

  constructor(options: GrpcPeerTransportOptions) {
    this.#options = options;
  }

  /** Opens ways to all members but this node, by their present addresses; those to others close after a while. */
  setMembers({ addresses }: Pick<Membership, 'addresses'>): void {
    const { nodeId, memory } = this.#options.identity;
    for (const peer of this.#links.keys()) if (addresses[peer] === undefined) this.#closeLater(peer);
    for (const [peer, { peer: address }] of Object.entries(addresses)) {
      if (peer === nodeId) continue;
      this.#stay(peer);
      const present = this.#links.get(peer);
      if (present?.address === address) {
        // It may have said so before it was a member, or its name was forgotten in between.
        if (present.isUpToPromised) memory.notePromised(peer);
        continue;
      }
      this.#close(peer);
      const link = this.#newLink(peer, address);
      this.#links.set(peer, link);
      if (this.#events !== null) link.start();
    }
  }

  /** This node has made its first promise: those who were told that it is blank hear of it. */
  announce(): void {
    for (const link of this.#links.values()) link.announce();
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
      case 'snapshot':
        assert(records !== null, 'a snapshot message comes with a piece of the snapshot');
        this.#links.get(message.to)?.sendFrame(encodeSnapshotFrame(message, records));
        return;
      case 'append-response':
      case 'snapshot-response':
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
    for (const timer of this.#lingering.values()) timer.cancel();
    for (const link of this.#links.values()) link.close();
    for (const stream of this.#inbound.values()) stream.end();
  }

  #newLink(peer: NodeId, address: string): PeerLink {
    const { identity, clock, random, onWarning } = this.#options;
    // A link that was replaced meanwhile has nothing to say any more.
    const isCurrent = (): boolean => this.#links.get(peer) === link;
    const link: PeerLink = new PeerLink({
      identity,
      peer,
      address,
      clock,
      random,
      onWarning,
      onUp: () => isCurrent() && this.#events?.onUp(peer),
      onDown: () => isCurrent() && this.#events?.onDown(peer),
      onResponse: (response) => isCurrent() && this.#events?.onMessage(response, null),
    });
    return link;
  }

  #closeLater(peer: NodeId): void {
    if (this.#lingering.has(peer)) return;
    this.#lingering.set(
      peer,
      this.#options.clock.after(this.#options.lingerMs, () => this.#close(peer)),
    );
  }

  #stay(peer: NodeId): void {
    this.#lingering.get(peer)?.cancel();
    this.#lingering.delete(peer);
  }

  /** Consensus hears of the end of a link that was up before it hears of a new one. */
  #close(peer: NodeId): void {
    this.#stay(peer);
    const link = this.#links.get(peer);
    if (link === undefined) return;
    const wasUp = link.isUp;
    this.#links.delete(peer);
    link.close();
    // Never at once: members may be set in the middle of a turn of consensus.
    if (wasUp) this.#options.clock.defer(() => this.#events?.onDown(peer));
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
    } catch (error) {
      // No answer: the same as a lost message. The candidate's own timeout takes care of it.
      const { code, message: text } = errorOf(error);
      if (code === 'NOT_A_MEMBER') this.#options.onOutcast(`${message.to} says: ${text}`);
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
