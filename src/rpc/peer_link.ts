// One node's way to one other member: a channel, the replication stream kept open on it, and the few unary calls.
// The stream reopens by itself; whoever sends learns of a loss by `onDown` before anything newer goes out.
import { Client, type ClientDuplexStream, credentials, type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { AppendResponse, NodeId, SnapshotResponse } from '../raft/types.ts';
import { clientChannelOptions } from '../wire/channel_options.ts';
import type { ListClientsRequest, ListClientsResponse } from '../wire/client_messages.ts';
import type { Gathered } from '../wire/gathered.ts';
import { decodeResponseFrame } from '../wire/peer_frames.ts';
import type {
  FetchRecordsRequest,
  FetchRecordsResponse,
  FetchSnapshotRequest,
  FetchSnapshotResponse,
  ForwardRequest,
  ForwardResponse,
  InspectRequest,
  InspectResponse,
  TimeoutNowRequest,
  TimeoutNowResponse,
  VoteRequest,
  VoteResponse,
} from '../wire/peer_messages.ts';
import { peerService } from '../wire/services.ts';
import { answeredCode } from '../wire/status.ts';
import { heedAnswer, introduce, type PeerIdentity } from './peer_identity.ts';

/** Whom to link with, and whom to tell. */
export interface PeerLinkOptions {
  readonly identity: PeerIdentity;
  readonly peer: NodeId;
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly onUp: () => void;
  readonly onDown: () => void;
  readonly onResponse: (response: AppendResponse | SnapshotResponse) => void;
  /** The peer answered something it should not, or refuses us. */
  readonly onWarning: (message: string) => void;
}

/** Reopening a lost stream waits this long at first, doubling up to the maximum, with jitter. */
const REOPEN_DELAY_MS_MIN = 20;
const REOPEN_DELAY_MS_MAX = 500;
/** How long telling the peer of the first promise may take, before it is told again. */
const ANNOUNCE_TIMEOUT_MS = 2_000;

/** The way to one member. */
export class PeerLink {
  readonly #options: PeerLinkOptions;
  readonly #client: Client;
  #stream: ClientDuplexStream<Buffer, Buffer> | null = null;
  #isUp = false;
  /** What the peer was told last: that this node is blank. */
  #saidBlank = false;
  /** What the peer said when it took the stream. */
  #hasPeerPromised = false;
  #isClosed = false;
  #reopenDelayMs = REOPEN_DELAY_MS_MIN;
  #reopenTimer: Timer | null = null;
  #lastWarning = '';

  constructor(options: PeerLinkOptions) {
    this.#options = options;
    this.#client = new Client(options.address, credentials.createInsecure(), clientChannelOptions);
  }

  /** Opens the replication stream and keeps it open. */
  start(): void {
    if (this.#isClosed) return;
    const { path, requestSerialize, responseDeserialize } = peerService.replicate;
    const metadata = this.#metadata({ waitForReady: true });
    const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    this.#stream = stream;
    this.#saidBlank = this.#options.identity.memory.isBlank;
    stream.on('metadata', (answer) => this.#onOpen(stream, answer));
    stream.on('data', (frame: Buffer) => this.#onFrame(frame));
    stream.on('error', (error: ServiceError) => this.#onLost(stream, error));
    stream.on('end', () => this.#onLost(stream, null));
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** The stream is open to a process of the peer that has promised something. */
  get isUpToPromised(): boolean {
    return this.#isUp && this.#hasPeerPromised;
  }

  /** Makes sure that the peer knows that this node is not blank any more, if the stream was opened while it was. */
  announce(): void {
    if (!this.#isUp || !this.#saidBlank || this.#options.identity.memory.isBlank) return;
    this.#saidBlank = false;
    // Any call will do: it comes with an introduction.
    this.inspect({ index: '0' }, ANNOUNCE_TIMEOUT_MS).catch(() => {
      this.#saidBlank = true;
      this.#options.clock.after(REOPEN_DELAY_MS_MAX, () => this.announce());
    });
  }

  /** host:port under which the peer is reached. */
  get address(): string {
    return this.#options.address;
  }

  /** Sends a frame if the stream is open; otherwise it is lost, as `onDown` has said. */
  sendFrame(frame: Gathered): void {
    if (this.#isUp) this.#stream?.write(frame.asBuffer);
  }

  vote(request: VoteRequest, timeoutMs: number): Promise<VoteResponse> {
    return this.#call(peerService.vote, request, timeoutMs);
  }

  timeoutNow(request: TimeoutNowRequest, timeoutMs: number): Promise<TimeoutNowResponse> {
    return this.#call(peerService.timeoutNow, request, timeoutMs);
  }

  inspect(request: InspectRequest, timeoutMs: number): Promise<InspectResponse> {
    return this.#call(peerService.inspect, request, timeoutMs);
  }

  listClients(request: ListClientsRequest, timeoutMs: number): Promise<ListClientsResponse> {
    return this.#call(peerService.listClients, request, timeoutMs);
  }

  fetchRecords(request: FetchRecordsRequest, timeoutMs: number): Promise<FetchRecordsResponse> {
    return this.#call(peerService.fetchRecords, request, timeoutMs);
  }

  fetchSnapshot(request: FetchSnapshotRequest, timeoutMs: number): Promise<FetchSnapshotResponse> {
    return this.#call(peerService.fetchSnapshot, request, timeoutMs);
  }

  /** A stream of forwarded calls; the caller owns it. */
  openForward(): ClientDuplexStream<ForwardRequest, ForwardResponse> {
    const { path, requestSerialize, responseDeserialize } = peerService.forward;
    return this.#client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      this.#metadata({ waitForReady: false }),
    );
  }

  close(): void {
    this.#isClosed = true;
    this.#reopenTimer?.cancel();
    this.#stream?.cancel();
    this.#client.close();
  }

  #call<Request, Response>(
    method: {
      readonly path: string;
      readonly requestSerialize: (value: Request) => Buffer;
      readonly responseDeserialize: (bytes: Buffer) => Response;
    },
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method;
    const metadata = this.#metadata({ waitForReady: false });
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + timeoutMs;
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        { deadline },
        (error, response) => {
          if (error !== null) this.#heedRefusal(error);
          if (error !== null || response === undefined) reject(error);
          else resolve(response);
        },
      );
    });
  }

  #metadata(options: { readonly waitForReady: boolean }): Metadata {
    return introduce(this.#options.identity, this.#options.peer, options);
  }

  #onOpen(stream: ClientDuplexStream<Buffer, Buffer>, answer: Metadata): void {
    if (this.#stream !== stream) return;
    const { identity, peer, onUp } = this.#options;
    try {
      // A stream that waited for the peer was introduced by what was known then.
      const said = heedAnswer(identity, peer, answer);
      if (said === 'lost') return stream.cancel();
      this.#hasPeerPromised = said === 'promised';
    } catch (error) {
      this.#warn(`cannot remember that ${peer} is a member with data: ${messageOf(error)}`);
      return stream.cancel();
    }
    this.#isUp = true;
    this.#reopenDelayMs = REOPEN_DELAY_MS_MIN;
    this.#lastWarning = '';
    onUp();
    this.announce();
  }

  /** Only who is blank still is meant: the introduction may be older than the first promise. */
  #heedRefusal(error: ServiceError): void {
    const { memory } = this.#options.identity;
    if (answeredCode(error) === 'DATA_LOST' && memory.isBlank) memory.onDataLost(error.details);
  }

  #onFrame(frame: Buffer): void {
    const { identity, peer, onResponse } = this.#options;
    try {
      onResponse(decodeResponseFrame(frame, { from: peer, to: identity.nodeId }));
    } catch (error) {
      this.#warn(`${peer} answered with bytes that are no frame: ${String(error)}`);
    }
  }

  #onLost(stream: ClientDuplexStream<Buffer, Buffer>, error: ServiceError | null): void {
    if (this.#stream !== stream) return;
    this.#stream = null;
    if (this.#isUp) {
      this.#isUp = false;
      this.#options.onDown();
    }
    if (this.#isClosed) return;
    if (error !== null) this.#heedRefusal(error);
    if (error !== null && (error.code === status.PERMISSION_DENIED || error.code === status.FAILED_PRECONDITION)) {
      this.#warn(`${this.#options.peer} refuses this node: ${error.details}`);
    }
    const delayMs = this.#options.random.between(Math.floor(this.#reopenDelayMs / 2), this.#reopenDelayMs);
    this.#reopenDelayMs = Math.min(this.#reopenDelayMs * 2, REOPEN_DELAY_MS_MAX);
    this.#reopenTimer = this.#options.clock.after(delayMs, () => this.start());
  }

  #warn(message: string): void {
    if (message === this.#lastWarning) return;
    this.#lastWarning = message;
    this.#options.onWarning(message);
  }
}
