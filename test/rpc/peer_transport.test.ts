// The traffic between members over real sockets: ways that open and close with the members, frames both ways, a node that
// is taken in, and one that is told that it is out.
import { Client, credentials } from '@grpc/grpc-js';
import { expect } from 'chai';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { logIndex, type Membership, type NodeId, type RaftMessage, term } from '../../src/raft/types.ts';
import type { Replica } from '../../src/replica/replica.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import { ForwardService } from '../../src/rpc/forward_service.ts';
import { introduce, type PeerIdentity } from '../../src/rpc/peer_identity.ts';
import { peerHandlers } from '../../src/rpc/peer_service.ts';
import { GrpcPeerTransport } from '../../src/rpc/peer_transport.ts';
import { type RunningServer, startPeerServer } from '../../src/rpc/server.ts';
import { freePorts } from '../../src/server/ports.ts';
import { FRAME_HEADER_BYTES } from '../../src/wire/peer_frames.ts';
import { peerService } from '../../src/wire/services.ts';
import { FakeGateway } from './fake_gateway.ts';
import { failureOf, until } from './harness.ts';

const GROUP_ID = '0123456789abcdef';
const LINGER_MS = 600;

/** A node as its peers see it: the real transport and port, and a note of what consensus would hear. */
class TestNode {
  readonly id: NodeId;
  readonly heard: { message: RaftMessage; bytes: string }[] = [];
  readonly ups: string[] = [];
  readonly outcasts: string[] = [];
  readonly warnings: string[] = [];
  readonly identity: PeerIdentity;
  readonly transport: GrpcPeerTransport;
  readonly gateway = new FakeGateway();
  groupId: string | null;
  isBlank = true;
  promised: string[] = [];
  readonly lost: string[] = [];
  /** What it answers to requests for its vote; null is no answer. */
  grants: boolean | null = true;
  server: RunningServer | undefined;
  /** Its own from its first start on; no outgoing connection gets the port while it is down. */
  address = '';

  constructor(id: NodeId, groupId: string | null = GROUP_ID) {
    this.id = id;
    this.groupId = groupId;
    const self = this;
    const belonging = {
      get groupId() {
        return self.groupId;
      },
      adopt: (adopted: string) => {
        this.groupId = adopted;
      },
    };
    const memory = {
      get isBlank() {
        return self.isBlank;
      },
      hasPromised: (peer: string) => this.promised.includes(peer),
      notePromised: (peer: string) => {
        if (!this.promised.includes(peer)) this.promised.push(peer);
      },
      onDataLost: (says: string) => void this.lost.push(says),
    };
    this.identity = { cluster: 'c', group: 'g0', nodeId: id, settings: 's=1', belonging, memory };
    this.transport = new GrpcPeerTransport({
      identity: this.identity,
      callTimeoutMs: 5_000,
      lingerMs: LINGER_MS,
      clock: systemClock,
      random: new SeededRandom(1),
      onWarning: (message) => this.warnings.push(message),
      onOutcast: (message) => this.outcasts.push(message),
    });
  }

  async start(): Promise<this> {
    const { identity, transport, gateway } = this;
    const replica = {} as Replica;
    const report = (where: string, error: unknown): void => void this.warnings.push(`${where}: ${error}`);
    const forward = new ForwardService(replica, systemClock, report);
    const handlers = peerHandlers({ identity, replica, gateway, transport, forward, report });
    const logger = { warn: () => {}, error: () => {} };
    if (this.address === '') this.address = `127.0.0.1:${(await freePorts(1))[0]}`;
    this.server = await startPeerServer(handlers, { address: this.address, logger });
    transport.start({
      onMessage: (message, bytes) => this.#onMessage(message, bytes),
      onUp: (peer) => this.ups.push(`+${peer}`),
      onDown: (peer) => this.ups.push(`-${peer}`),
    });
    return this;
  }

  #onMessage(message: RaftMessage, bytes: RecordBytes | null): void {
    const text = bytes === null ? '' : bytes.buffer.toString('utf8', bytes.start, bytes.end);
    this.heard.push({ message, bytes: text });
    if (message.type !== 'vote-request' || this.grants === null) return;
    const { from, to, preVote } = message;
    const answer = { type: 'vote-response', from: to, to: from, term: term(9), preVote, granted: this.grants } as const;
    this.transport.send(answer, null);
  }

  /** What it heard of one kind, by whom and with what. */
  got(type: RaftMessage['type']): string[] {
    return this.heard.filter(({ message }) => message.type === type).map(({ message, bytes }) => message.from + bytes);
  }

  async stop(): Promise<void> {
    this.transport.close();
    await this.server?.stop(100);
  }
}

const membersOf = (...nodes: readonly { id: string; address: string }[]): Pick<Membership, 'addresses'> => ({
  addresses: Object.fromEntries(nodes.map(({ id, address }) => [id, { peer: address, client: 'c:1' }])),
});

function appendTo(to: TestNode, from: TestNode, body: string): void {
  const buffer = Buffer.from(`..${body}.`);
  const ends = { from: from.id, to: to.id, term: term(3) };
  const rest = { prevIndex: logIndex(4), prevTerm: term(2), lastIndex: logIndex(5), runs: [], memberships: [] };
  const message = { type: 'append', ...ends, ...rest, commit: logIndex(4), round: 1 } as const;
  from.transport.send(message, { buffer, start: 2, end: buffer.length - 1, prevChain: 7 });
}

function askVote(to: TestNode, from: TestNode): void {
  const rest = { preVote: true, lastIndex: logIndex(1), lastTerm: term(1), transfer: false };
  from.transport.send({ type: 'vote-request', from: from.id, to: to.id, term: term(9), ...rest }, null);
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('peer transport', () => {
  let nodes: TestNode[];
  beforeEach(() => {
    nodes = [];
  });
  afterEach(() => Promise.all(nodes.map((node) => node.stop())));

  async function start(id: NodeId, groupId: string | null = GROUP_ID): Promise<TestNode> {
    const node = new TestNode(id, groupId);
    nodes.push(node);
    return node.start();
  }

  async function pair(): Promise<[TestNode, TestNode]> {
    const [n0, n1] = [await start('n0'), await start('n1')];
    for (const node of nodes) node.transport.setMembers(membersOf(n0, n1));
    await until(() => n0.ups.length === 1 && n1.ups.length === 1, 'both are linked');
    return [n0, n1];
  }

  it('carries appends and pieces of snapshots one way, their answers the other', async () => {
    const [n0, n1] = await pair();
    appendTo(n1, n0, 'records');
    const ends = { from: 'n0', to: 'n1', term: term(3) };
    const point = { index: logIndex(40), indexTerm: term(2), offset: 1_000 };
    const piece = { buffer: Buffer.from('<piece>'), start: 1, end: 6, prevChain: 0 };
    n0.transport.send({ type: 'snapshot', ...ends, ...point, round: 2, commit: logIndex(50) }, piece);
    await until(() => n1.heard.length === 2, 'both arrived');
    expect(n1.got('append')).to.deep.equal(['n0records']);
    expect(n1.got('snapshot')).to.deep.equal(['n0piece']);
    expect(n1.heard[1]!.message).to.deep.include({ ...point, round: 2, commit: 50 });
    const back = { from: 'n1', to: 'n0', term: term(3) };
    n1.transport.send({ type: 'append-response', ...back, match: logIndex(5), round: 1, reject: null }, null);
    n1.transport.send({ type: 'snapshot-response', ...back, index: logIndex(40), offset: 1_005, round: 2 }, null);
    await until(() => n0.heard.length === 2, 'both were answered');
    expect(n0.heard[1]!.message).to.deep.include({ type: 'snapshot-response', from: 'n1', offset: 1_005 });
  });

  it('opens a way to a member that comes, and closes that to one that left, after a while', async () => {
    const [n0, n1] = await pair();
    const n2 = await start('n2');
    appendTo(n2, n0, 'to a stranger');
    n0.transport.setMembers(membersOf(n0, n1, n2));
    await until(() => n0.ups.length === 2, 'n2 is linked');
    appendTo(n2, n0, 'first');
    n0.transport.setMembers(membersOf(n0, n2));
    appendTo(n1, n0, 'that you are out');
    await until(() => n1.heard.length === 1 && n2.heard.length === 1, 'both arrived');
    expect(n1.got('append')).to.deep.equal(['n0that you are out']);
    expect(n2.got('append'), 'nothing was kept for it').to.deep.equal(['n0first']);
    expect(n0.transport.link('n1'), 'open for a while').not.to.equal(undefined);
    await until(() => n0.ups.includes('-n1'), 'n1 is let go');
    expect(n0.transport.link('n1')).to.equal(undefined);
    expect(n0.ups).to.deep.equal(['+n1', '+n2', '-n1']);
  });

  it('keeps the way to one that comes back in time', async () => {
    const [n0, n1] = await pair();
    n0.transport.setMembers(membersOf(n0));
    n0.transport.setMembers(membersOf(n0, n1));
    await wait(2 * LINGER_MS);
    expect(n0.ups).to.deep.equal(['+n1']);
    appendTo(n1, n0, 'still here');
    await until(() => n1.heard.length === 1, 'it arrived');
  });

  it('goes to the new address of a member that moved', async () => {
    const [n0, n1] = await pair();
    const moved = await start('n1');
    n0.transport.setMembers(membersOf(n0, moved));
    expect(n0.ups, 'never in the middle of a turn').to.deep.equal(['+n1']);
    await until(() => n0.ups.length === 3, 'it is linked anew');
    expect(n0.ups).to.deep.equal(['+n1', '-n1', '+n1']);
    appendTo(moved, n0, 'there');
    await until(() => moved.heard.length === 1, 'it arrived');
    expect(n1.heard).to.deep.equal([]);
  });

  it('takes in a node that joins: it gets the group of the first that calls', async () => {
    const n0 = await start('n0');
    const n3 = await start('n3', null);
    n0.transport.setMembers(membersOf(n0, n3));
    await until(() => n0.ups.length === 1, 'n3 is linked');
    expect(n3.groupId).to.equal(GROUP_ID);
    const foreign = await start('n9', 'fedcba9876543210');
    foreign.transport.setMembers(membersOf(foreign, n3));
    await until(() => foreign.warnings.length > 0, 'another group is refused');
    expect(foreign.warnings[0]).to.match(/n3 refuses this node: node "n9" is of another group named "g0"/);
    expect(foreign.ups).to.deep.equal([]);
  });

  it('tells a candidate that is no member so, if it is known who leads', async () => {
    const [n0, n1] = await pair();
    n1.grants = false;
    askVote(n1, n0);
    await until(() => n0.got('vote-response').length === 1, 'a member is refused');
    n1.grants = null;
    askVote(n1, n0);
    await wait(50);
    expect(n0.outcasts, 'a member is not').to.deep.equal([]);
    const { members } = n1.gateway.members;
    n1.gateway.members = { ...n1.gateway.members, index: logIndex(17), isCommitted: false, members: members.slice(1) };
    askVote(n1, n0);
    await wait(50);
    expect(n0.outcasts, 'what may be taken back is not told').to.deep.equal([]);
    n1.gateway.members = { ...n1.gateway.members, isCommitted: true };
    askVote(n1, n0);
    await until(() => n0.outcasts.length === 1, 'it is told');
    expect(n0.outcasts[0]).to.equal('n1 says: node "n0" is no member of the group, as of record 17');
    n1.grants = false;
    askVote(n1, n0);
    await until(() => n0.outcasts.length === 2, 'it is told when it is refused, too');
    n1.gateway.setLeader(null);
    askVote(n1, n0);
    await until(() => n0.got('vote-response').length === 2, 'without a leader a refusal is only that');
    n1.grants = true;
    askVote(n1, n0);
    await until(() => n0.got('vote-response').length === 3, 'a vote that is needed is given to anybody');
    expect(n0.outcasts).to.have.length(2);
  });

  it('tells those who were told that it is blank of its first promise', async () => {
    const [n0, n1] = await pair();
    expect([n0.promised, n1.promised]).to.deep.equal([[], []]);
    n0.transport.announce();
    await wait(50);
    expect(n1.promised, 'nothing to tell').to.deep.equal([]);
    n0.isBlank = false;
    n0.transport.announce();
    await until(() => n1.promised.length === 1, 'n1 knows');
    const n2 = await start('n2');
    n0.transport.setMembers(membersOf(n0, n1, n2));
    await until(() => n2.promised.length === 1, 'a link that is opened later says so by itself');
    expect([n1.promised, n2.promised, n0.promised]).to.deep.equal([['n0'], ['n0'], []]);
  });

  it('tells a peer of it that takes a stream only later, which was introduced before', async () => {
    const n0 = await start('n0');
    const n1 = new TestNode('n1');
    nodes.push(n1);
    const placeholder = await start('n9');
    await placeholder.stop();
    n1.address = placeholder.address;
    n0.transport.setMembers(membersOf(n0, n1));
    await wait(50);
    n0.isBlank = false;
    n0.transport.announce();
    await n1.start();
    await until(() => n1.promised.length === 1, 'n1 knows');
  });

  it('announces it until it is heard', async () => {
    const [n0, n1] = await pair();
    const { memory } = n1.identity;
    const note = memory.notePromised;
    let attempts = 0;
    memory.notePromised = (peer) => {
      if (++attempts === 1) throw new Error('disk full');
      note(peer);
    };
    n0.isBlank = false;
    n0.transport.announce();
    await until(() => n1.promised.length === 1, 'n1 knows');
    expect(attempts).to.equal(2);
  });

  it('learns from the answer, and again when a member is named anew whose name was forgotten', async () => {
    const n0 = await start('n0');
    const n1 = await start('n1');
    n1.isBlank = false;
    n0.transport.setMembers(membersOf(n0, n1));
    await until(() => n0.ups.length === 1, 'n1 is linked');
    expect(n0.promised).to.deep.equal(['n1']);
    n0.promised = [];
    n0.transport.setMembers(membersOf(n0, n1));
    expect(n0.promised).to.deep.equal(['n1']);
  });

  it('tells a member that lost its data so, whichever of the two calls, and exchanges nothing with it', async () => {
    const n0 = await start('n0');
    const n1 = await start('n1');
    n0.isBlank = false;
    n0.promised = ['n1'];
    n0.transport.setMembers(membersOf(n0, n1));
    await until(() => n1.lost.length > 0, 'called, it is told');
    expect(n1.lost[0]).to.match(/^n1 has lost its data/);
    n0.transport.setMembers(membersOf(n0));
    await until(() => n0.transport.link('n1') === undefined, 'n0 calls no more');
    await wait(50);
    const told = n1.lost.length;
    n1.transport.setMembers(membersOf(n0, n1));
    await until(() => n1.lost.length > told, 'calling, it is told');
    askVote(n0, n1);
    await wait(100);
    expect([n0.ups, n1.ups, n0.heard, n1.heard]).to.deep.equal([[], [], [], []]);
  });

  it('sends nothing on a stream that was introduced before it was known what the peer has lost', async () => {
    const n0 = await start('n0');
    const n1 = new TestNode('n1');
    nodes.push(n1);
    const placeholder = await start('n9');
    await placeholder.stop();
    n1.address = placeholder.address;
    n0.isBlank = false;
    n0.transport.setMembers(membersOf(n0, n1));
    await wait(50);
    n0.promised = ['n1'];
    await n1.start();
    await until(() => n1.lost.length > 0, 'n1 is told');
    expect(n0.ups).to.deep.equal([]);
  });

  it('does not take an old refusal for news once it has promised something', async () => {
    const n0 = await start('n0');
    const n1 = await start('n1');
    n1.promised = ['n0'];
    n0.transport.setMembers(membersOf(n0, n1));
    n0.isBlank = false;
    await until(() => n0.ups.length === 1, 'n0 is let in');
    expect(n0.lost).to.deep.equal([]);
  });

  it('ends a stream with bytes that are no frame, and takes the next one', async () => {
    const [n0, n1] = await pair();
    const client = new Client(n0.address, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = peerService.replicate;
    const metadata = introduce(n1.identity, 'n0', { waitForReady: true });
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(FRAME_HEADER_BYTES), Buffer.from('x'.repeat(500))]) {
      const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
      const code = new Promise<string>((resolve) => stream.on('error', (error) => resolve(failureOf(error).code)));
      stream.resume();
      stream.write(bytes);
      expect(await code).to.equal('INVALID_ARGUMENT');
    }
    client.close();
    expect(n0.heard).to.deep.equal([]);
    // Until the honest one, whose place was taken, is back: what it sends before it notices goes nowhere.
    for (; n0.heard.length === 0; await wait(50)) appendTo(n0, n1, 'an honest one');
  });
});
