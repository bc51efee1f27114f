// Whom a client may ask: the endpoints it was given, and the members that the group names beside them. An address is
// only a claim until the node behind it has said that it is that member, of this group.
import type { Member } from '../wire/ledger_messages.ts';
import { Endpoint, firstReady, type MemberList, type NodeIdentity } from './endpoint.ts';
import { askIdentity, isSameGroup } from './identity.ts';
import { isEndpoint } from './options.ts';

/** Endpoints that are known only because a node named them; the oldest is given up beyond this. */
const LEARNED_ENDPOINTS_MAX = 16;
/** How long an address that did not lead to the member it was named for is not tried again: at first, and at most. */
const LEARN_AGAIN_MS_MIN = 5_000;
const LEARN_AGAIN_MS_MAX = 60_000;
/** How long a claim may take to be proved. */
const LEARN_TIMEOUT_MS = 5_000;

/** A member and where clients reach it. */
export type MemberClaim = Pick<Member, 'nodeId' | 'clientAddress'>;

interface Doubt {
  readonly untilMs: number;
  readonly waitMs: number;
}

/** The endpoints of one group. */
export class Roster {
  readonly #given: readonly string[];
  readonly #closing: AbortSignal;
  readonly #isOwn: boolean;
  readonly #endpoints = new Map<string, Endpoint>();
  /** Claims that are being looked at, or were not true, and until when (Date.now). */
  readonly #doubts = new Map<string, Doubt>();
  /** Who the group is: claims are held against it. Undefined until somebody answered. */
  #group: NodeIdentity | undefined;
  #list: { readonly index: bigint; readonly ids: ReadonlySet<string> } | undefined;

  /**
   * @param closing aborted when no connection may be opened any more.
   * @param isOwn whether connections are shared with no other client of this process.
   */
  constructor(given: readonly string[], closing: AbortSignal, isOwn = false) {
    this.#given = given;
    this.#closing = closing;
    this.#isOwn = isOwn;
    for (const address of given) this.#endpoints.set(address, new Endpoint(address, isOwn));
  }

  get endpoints(): Endpoint[] {
    return [...this.#endpoints.values()];
  }

  /** Who answered first; all others must belong to the same group. */
  get group(): NodeIdentity | undefined {
    return this.#group;
  }

  at(address: string): Endpoint | undefined {
    return this.#endpoints.get(address);
  }

  /** Takes the first answer for what the group is. */
  noteGroup(identity: NodeIdentity): void {
    this.#group ??= identity;
  }

  /** Whether the node there is known not to belong to the group any more. */
  isOutside(endpoint: Endpoint): boolean {
    if (this.#list === undefined || endpoint.identity === undefined) return false;
    return !this.#list.ids.has(endpoint.identity.nodeId);
  }

  /**
   * Takes over who the members are, unless something newer is known: connects to voters that are new, and lets go of
   * learned addresses under which no member is reached any more.
   */
  noteMembers({ index, members }: MemberList): void {
    if (this.#closing.aborted || members.length === 0) return;
    if (this.#list !== undefined && BigInt(index) <= this.#list.index) return;
    this.#list = { index: BigInt(index), ids: new Set(members.map(({ nodeId }) => nodeId)) };
    const addresses = new Set(members.map(({ clientAddress }) => clientAddress));
    for (const [address, endpoint] of this.#endpoints) {
      if (!this.#given.includes(address) && !addresses.has(address)) this.#forget(endpoint);
    }
    for (const member of members) if (member.role === 'voter') this.learn(member);
  }

  /** Takes a member's address in if that member is there; others forward to it otherwise. */
  learn(claim: MemberClaim): void {
    if (isEndpoint(claim.clientAddress) && !this.#endpoints.has(claim.clientAddress)) void this.#prove(claim);
  }

  close(): void {
    for (const endpoint of this.#endpoints.values()) endpoint.close();
  }

  async #prove({ nodeId, clientAddress }: MemberClaim): Promise<void> {
    const claim = `${nodeId} ${clientAddress}`;
    const doubt = this.#doubts.get(claim);
    if ((doubt?.untilMs ?? 0) > Date.now()) return;
    if (this.#doubts.size >= LEARNED_ENDPOINTS_MAX) this.#doubts.clear();
    const waitMs = Math.min(LEARN_AGAIN_MS_MAX, doubt === undefined ? LEARN_AGAIN_MS_MIN : 2 * doubt.waitMs);
    this.#doubts.set(claim, { untilMs: Date.now() + waitMs, waitMs });
    const untilMs = Date.now() + LEARN_TIMEOUT_MS;
    const candidate = new Endpoint(clientAddress, this.#isOwn);
    try {
      const isReady = (await firstReady([candidate], untilMs, [this.#closing])) !== undefined;
      const found = isReady ? await askIdentity(candidate, untilMs, [this.#closing]) : undefined;
      if (found === undefined || this.#group === undefined || this.#closing.aborted) return;
      const { identity } = found;
      if (!isSameGroup(identity, this.#group) || identity.nodeId !== nodeId) return;
      if (this.#endpoints.has(clientAddress) || this.#list?.ids.has(nodeId) === false) return;
      candidate.identity = identity;
      this.#doubts.delete(claim);
      this.#forgetOldest();
      this.#endpoints.set(clientAddress, candidate);
      if (found.members !== null) this.noteMembers(found.members);
    } catch {
      // Nobody there who says that it is that member.
    } finally {
      if (candidate.identity === undefined) candidate.close();
    }
  }

  #forgetOldest(): void {
    const learned = this.endpoints.filter(({ address }) => !this.#given.includes(address));
    if (learned[0] !== undefined && learned.length >= LEARNED_ENDPOINTS_MAX) this.#forget(learned[0]);
  }

  #forget(endpoint: Endpoint): void {
    this.#endpoints.delete(endpoint.address);
    endpoint.close();
  }
}
