// Looking at all members: their state, and whether their logs are the same. Members are asked one by one, by whichever
// node was asked; a group without a majority can be looked at, too.
import { TLedgerError } from '../base/errors.ts';
import { physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex, type NodeId } from '../raft/types.ts';
import type { OtherCopy } from '../replica/scrubber.ts';
import type { LogDigest } from '../replica/types.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import type { InspectRequest, InspectResponse } from '../wire/peer_messages.ts';
import { codecs } from '../wire/services.ts';
import { errorOf } from '../wire/status.ts';
import type { LocalStatus, MemberDigest, MemberStatus, NodeAddresses, ScrubBegun } from './gateway.ts';
import { fromNodeStatus } from './node_status.ts';

/** How members are asked. */
export interface InspectionOptions {
  readonly nodeId: NodeId;
  readonly members: () => readonly NodeAddresses[];
  readonly localStatus: () => LocalStatus;
  /** @throws TLedgerError when the record is not committed here, or is gone. */
  readonly localDigest: (index: LogIndex) => LogDigest;
  /** Begins a check of all that is stored here; the number of the pass. */
  readonly scrubLocally: (bytesPerSecond: number | null) => number;
  /** Asks another member. */
  readonly inspect: (nodeId: NodeId, request: InspectRequest, timeoutMs: number) => Promise<InspectResponse>;
}

/** How long another member may take to tell its state. */
const INSPECT_TIMEOUT_MS = 1_000;

/** The members of one group as one node sees them. */
export class Inspection {
  readonly #options: InspectionOptions;

  constructor(options: InspectionOptions) {
    this.#options = options;
  }

  clusterStatus(): Promise<MemberStatus[]> {
    return Promise.all(this.#options.members().map((member) => this.#statusOf(member)));
  }

  /**
   * @param index the highest index committed on all reachable members when null.
   * @throws TLedgerError OFFSET_OUT_OF_RANGE when they have nothing in common yet.
   */
  async verifyLog(index: LogIndex | null): Promise<{ index: LogIndex; digests: MemberDigest[] }> {
    const at = index ?? (await this.#highestCommonIndex());
    const digests = await Promise.all(this.#options.members().map((member) => this.#digestOf(member, at)));
    return { index: at, digests };
  }

  /** Has every member check all that it stores. */
  scrub(bytesPerSecond: number | null): Promise<ScrubBegun[]> {
    const begin = async ({ nodeId }: NodeAddresses): Promise<number | null> => {
      if (nodeId === this.#options.nodeId) return this.#options.scrubLocally(bytesPerSecond);
      const request = { index: '0', scrub: true, scrubBytesPerSecond: String(bytesPerSecond ?? 0) };
      const { status } = await this.#options.inspect(nodeId, request, INSPECT_TIMEOUT_MS);
      return fromNodeStatus(codecs.nodeStatus.decode(status)).scrub?.pass ?? null;
    };
    return Promise.all(
      this.#options.members().map((member) =>
        begin(member).then(
          (pass) => ({ nodeId: member.nodeId, pass, error: pass === null ? 'it cannot check by itself' : '' }),
          (error: unknown) => ({ nodeId: member.nodeId, pass: null, error: errorOf(error).message }),
        ),
      ),
    );
  }

  /** Log and snapshots of the other members that answer. */
  async otherCopies(index: LogIndex): Promise<OtherCopy[]> {
    const others = this.#options.members().filter(({ nodeId }) => nodeId !== this.#options.nodeId);
    const copies = others.map(async (member): Promise<OtherCopy[]> => {
      const answer = await this.#ask(member, index).catch(() => null);
      if (answer === null) return [];
      const { appliedIndex, scrub } = fromNodeStatus(codecs.nodeStatus.decode(answer.status));
      const endPosition = physicalOffset(uint64ToNumber(answer.endPosition, 'end_position'));
      const digest = answer.digestError === '' ? { index, chainCrc: answer.chainCrc, endPosition } : null;
      return [{ nodeId: member.nodeId, appliedIndex, digest, snapshots: scrub?.snapshots ?? [] }];
    });
    return (await Promise.all(copies)).flat();
  }

  async #statusOf(member: NodeAddresses): Promise<MemberStatus> {
    if (member.nodeId === this.#options.nodeId) return { member, status: this.#options.localStatus(), error: null };
    try {
      const { status } = await this.#ask(member, 0);
      return { member, status: fromNodeStatus(codecs.nodeStatus.decode(status)), error: null };
    } catch (error) {
      return { member, status: null, error: errorOf(error).message };
    }
  }

  async #digestOf(member: NodeAddresses, index: LogIndex): Promise<MemberDigest> {
    if (member.nodeId === this.#options.nodeId) {
      try {
        return { member, isReachable: true, digest: this.#options.localDigest(index), error: null };
      } catch (error) {
        return { member, isReachable: true, digest: null, error: errorOf(error).message };
      }
    }
    try {
      const { digestError, chainCrc, endPosition } = await this.#ask(member, index);
      if (digestError !== '') return { member, isReachable: true, digest: null, error: digestError };
      const end = physicalOffset(uint64ToNumber(endPosition, 'end_position'));
      return { member, isReachable: true, digest: { index, chainCrc, endPosition: end }, error: null };
    } catch (error) {
      return { member, isReachable: false, digest: null, error: errorOf(error).message };
    }
  }

  async #highestCommonIndex(): Promise<LogIndex> {
    const statuses = await this.clusterStatus();
    const applied = statuses.flatMap(({ status }) => (status === null ? [] : [status.appliedIndex]));
    const common = Math.min(...applied);
    if (common === 0) throw new TLedgerError('OFFSET_OUT_OF_RANGE', 'a member has nothing committed yet');
    return logIndex(common);
  }

  #ask(member: NodeAddresses, index: number): Promise<InspectResponse> {
    return this.#options.inspect(member.nodeId, { index: String(index) }, INSPECT_TIMEOUT_MS);
  }
}
