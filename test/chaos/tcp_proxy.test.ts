// The network of the chaos runs must itself do what it says: cut silently, in one direction, in order, and heal.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { expect } from 'chai';
import { freePorts } from '../../src/server/ports.ts';
import { pause, until } from './pause.ts';
import { TcpProxy, Way } from './tcp_proxy.ts';

/** Long enough for bytes on this machine to arrive, if they do. */
const ARRIVED_MS = 60;

/** One end of a connection and all that it has received. */
class End {
  readonly socket: Socket;
  text = '';
  isEnded = false;
  isReset = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.text += bytes.toString();
    });
    socket.on('end', () => {
      this.isEnded = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.isReset = error.code === 'ECONNRESET';
    });
  }

  async expectText(text: string): Promise<void> {
    await until(() => this.text.length >= text.length, 20_000);
    expect(this.text).to.equal(text);
  }
}

describe('a TCP proxy of the chaos network', () => {
  let server: Server;
  let proxy: TcpProxy;
  let way: Way;
  let accepted: End[];
  let dialled: End[];

  beforeEach(async () => {
    accepted = [];
    dialled = [];
    server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(new End(socket)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    way = new Way();
    proxy = await TcpProxy.open((server.address() as { port: number }).port, () => way);
  });

  afterEach(async () => {
    for (const { socket } of [...accepted, ...dialled]) socket.destroy();
    way.close();
    await proxy.close();
    await new Promise((resolve) => server.close(resolve));
  });

  function dial(): End {
    const end = new End(connect({ port: Number(proxy.address.split(':')[1]), host: '127.0.0.1', allowHalfOpen: true }));
    dialled.push(end);
    return end;
  }

  async function connected(): Promise<readonly [End, End]> {
    const inner = dial();
    await until(() => accepted.length === 1, 20_000);
    return [inner, accepted[0]!];
  }

  it('carries bytes and closings both ways', async () => {
    const [inner, outer] = await connected();
    inner.socket.end('there');
    await outer.expectText('there');
    await until(() => outer.isEnded, 20_000);
    outer.socket.end('and back');
    await inner.expectText('and back');
    await until(() => inner.isEnded, 20_000);
    expect([inner.isEnded, outer.isEnded]).to.deep.equal([true, true]);
    expect(way.trace).to.deep.equal({ held: 0, delayed: 0, resets: 0 });
  });

  for (const direction of ['forward', 'backward'] as const) {
    it(`holds what goes ${direction} while cut, lets the other way pass, and delivers in order when healed`, async () => {
      const [inner, outer] = await connected();
      const [from, to] = direction === 'forward' ? [inner, outer] : [outer, inner];
      const heal = way.cut(direction);
      from.socket.write('one ');
      await pause(ARRIVED_MS);
      from.socket.end('two');
      to.socket.write('answer');
      await from.expectText('answer');
      await pause(ARRIVED_MS);
      expect([to.text, to.isEnded]).to.deep.equal(['', false]);
      expect(way.trace.held).to.be.greaterThan(0);
      heal();
      await to.expectText('one two');
      await until(() => to.isEnded, 20_000);
      expect(to.isEnded).to.equal(true);
    });
  }

  it('stays cut until the last of several cuts is healed', async () => {
    const [inner, outer] = await connected();
    const heals = [way.cut('forward'), way.cut('forward')];
    inner.socket.write('late');
    heals[0]!();
    heals[0]!();
    await pause(ARRIVED_MS);
    expect(outer.text).to.equal('');
    heals[1]!();
    await outer.expectText('late');
  });

  it('lets new connections hang while cut in either direction', async () => {
    const heal = way.cut('backward');
    const inner = dial();
    inner.socket.write('hello');
    await pause(ARRIVED_MS);
    expect(accepted).to.have.length(0);
    expect([inner.isEnded, inner.isReset]).to.deep.equal([false, false]);
    heal();
    await until(() => accepted.length === 1, 20_000);
    await accepted[0]!.expectText('hello');
  });

  it('delays without reordering', async () => {
    const [inner, outer] = await connected();
    way.delayMs = 100;
    const begunMs = performance.now();
    inner.socket.write('slow, ');
    await pause(20);
    way.delayMs = 0;
    inner.socket.write('quick');
    await outer.expectText('slow, quick');
    expect(performance.now() - begunMs).to.be.at.least(99);
    expect(way.trace.delayed).to.equal(1);
  });

  it('resets both ends', async () => {
    const [inner, outer] = await connected();
    way.reset();
    await until(() => inner.isReset && outer.isReset, 20_000);
    expect([inner.isReset, outer.isReset]).to.deep.equal([true, true]);
    expect(way.trace.resets).to.equal(2);
  });

  it('resets whoever dials while nobody listens', async () => {
    await new Promise((resolve) => server.close(resolve));
    const inner = dial();
    await until(() => inner.isReset, 20_000);
    expect(inner.isReset).to.equal(true);
    server = createServer();
    await new Promise<void>((resolve) => server.listen(0, resolve));
  });

  it('takes each connection for the way of its dialler, and resets those that have none', async () => {
    const ways = new Map<number, Way>();
    const target = (server.address() as { port: number }).port;
    const shared = await TcpProxy.open(target, (port) => ways.get(port));
    const dialFrom = async (localPort: number): Promise<End> => {
      const port = Number(shared.address.split(':')[1]);
      const end = new End(connect({ port, host: '127.0.0.1', localPort, allowHalfOpen: true }));
      dialled.push(end);
      return end;
    };
    const [first, second, third] = await freePorts(3);
    ways.set(first!, new Way()).set(second!, new Way());
    const heal = ways.get(first!)!.cut('forward');
    const [held, open, stranger] = await Promise.all([first!, second!, third!].map(dialFrom));
    await until(() => accepted.length === 1 && stranger!.isReset, 20_000);
    open!.socket.write('here');
    await accepted[0]!.expectText('here');
    expect(stranger!.isReset).to.equal(true);
    expect([held!.isReset, accepted.length]).to.deep.equal([false, 1]);
    heal();
    await until(() => accepted.length === 2, 20_000);
    expect(accepted).to.have.length(2);
    for (const one of ways.values()) one.close();
    await shared.close();
  });

  it('makes a sender wait when much is held', async () => {
    const [inner, outer] = await connected();
    const heal = way.cut('forward');
    const bytes = Buffer.alloc(16 * 1024 * 1024, 'x');
    let isSent = false;
    inner.socket.write(bytes, () => {
      isSent = true;
    });
    await pause(2 * ARRIVED_MS);
    expect(isSent).to.equal(false);
    heal();
    await until(() => outer.text.length === bytes.length, 20_000);
    expect(outer.text.length).to.equal(bytes.length);
  });
});
