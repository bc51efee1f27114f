// One way between two processes that can be cut in either direction, slowed down and reset. Like a network, and unlike a
// closed socket, a cut says nothing: bytes and closings wait until it ends, and new connections hang.
//
//   dialler --- inner socket --- [ forward gate -> ] --- outer socket --- target
//                                [ <- backward gate ]
import { connect, createServer, type Server, type Socket } from 'node:net';

const HOST = '127.0.0.1';
/** Bytes held in one direction of one connection; beyond it the sender is made to wait. */
const HELD_BYTES_MAX = 1024 * 1024;

/** `forward`: from the one who dials to the target. */
export type Direction = 'forward' | 'backward';

/** What the faults did, so that it can be told whether they did anything. */
export interface ProxyTrace {
  /** Pieces and new connections that met a cut. */
  held: number;
  /** Pieces that were delayed. */
  delayed: number;
  /** Connections that were reset. */
  resets: number;
}

interface Piece {
  readonly bytes: Buffer | 'end' | 'reset';
  readonly dueMs: number;
}

/** One direction of one connection. */
class Flow {
  readonly #proxy: TcpProxy;
  readonly #direction: Direction;
  readonly #from: Socket;
  readonly #to: Socket;
  #pieces: Piece[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(proxy: TcpProxy, direction: Direction, from: Socket, to: Socket) {
    this.#proxy = proxy;
    this.#direction = direction;
    this.#from = from;
    this.#to = to;
    from.on('data', (bytes: Buffer) => this.#push(bytes));
    from.on('end', () => this.#push('end'));
    from.on('error', () => this.#push('reset'));
    from.on('close', () => this.#push('end'));
    to.on('drain', () => this.flush());
  }

  /** Passes on what is due, unless the way is cut. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#pieces.length > 0) {
      if (this.#proxy.isCut(this.#direction)) return;
      const { bytes, dueMs } = this.#pieces[0]!;
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.flush(), Math.ceil(waitMs));
        return;
      }
      this.#pieces.shift();
      if (bytes === 'end') this.#to.end();
      else if (bytes === 'reset') this.#to.resetAndDestroy();
      else {
        this.#heldBytes -= bytes.length;
        if (!this.#to.write(bytes)) break;
      }
    }
    if (this.#heldBytes < HELD_BYTES_MAX && this.#to.writableNeedDrain !== true) this.#from.resume();
  }

  #push(bytes: Piece['bytes']): void {
    const { trace, delayMs } = this.#proxy;
    if (this.#proxy.isCut(this.#direction)) trace.held++;
    if (delayMs > 0) trace.delayed++;
    const earliestMs = this.#pieces.at(-1)?.dueMs ?? 0;
    this.#pieces.push({ bytes, dueMs: Math.max(earliestMs, delayMs > 0 ? performance.now() + delayMs : 0) });
    if (typeof bytes !== 'string') this.#heldBytes += bytes.length;
    if (this.#heldBytes >= HELD_BYTES_MAX || this.#to.writableNeedDrain) this.#from.pause();
    else this.flush();
  }
}

/** A way to one port. */
export class TcpProxy {
  readonly trace: ProxyTrace = { held: 0, delayed: 0, resets: 0 };
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  readonly #flows = new Set<Flow>();
  /** Connections that were begun while the way was cut. */
  #hanging: Socket[] = [];
  readonly #cuts = { forward: 0, backward: 0 };
  #delayMs = 0;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    server.on('connection', (inner) => this.#take(inner));
  }

  /** A way from a new port to `targetPort`, where nobody need listen yet. */
  static async open(targetPort: number): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, HOST, resolve);
    });
    return new TcpProxy(server, targetPort);
  }

  /** host:port to dial. */
  get address(): string {
    return `${HOST}:${(this.#server.address() as { port: number }).port}`;
  }

  /** How long each piece takes, in each direction. */
  get delayMs(): number {
    return this.#delayMs;
  }

  set delayMs(delayMs: number) {
    this.#delayMs = delayMs;
  }

  isCut(direction: Direction): boolean {
    return this.#cuts[direction] > 0;
  }

  /** Cuts one direction until the returned function is called; cuts add up. */
  cut(direction: Direction): () => void {
    this.#cuts[direction]++;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#cuts[direction]--;
      this.#resume();
    };
  }

  /** Resets all connections, cut or not: both ends learn of it. */
  reset(): void {
    for (const socket of this.#sockets) {
      this.trace.resets++;
      socket.resetAndDestroy();
    }
    this.#hanging = [];
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #resume(): void {
    for (const flow of this.#flows) flow.flush();
    if (this.isCut('forward') || this.isCut('backward')) return;
    const hanging = this.#hanging;
    this.#hanging = [];
    for (const inner of hanging) if (!inner.destroyed) this.#dial(inner);
  }

  #take(inner: Socket): void {
    this.#own(inner);
    // A handshake needs both directions.
    if (!this.isCut('forward') && !this.isCut('backward')) return this.#dial(inner);
    this.trace.held++;
    inner.pause();
    this.#hanging.push(inner);
  }

  #dial(inner: Socket): void {
    const outer = connect({ host: HOST, port: this.#targetPort, allowHalfOpen: true, noDelay: true });
    this.#own(outer);
    inner.setNoDelay(true);
    inner.pause();
    outer.once('error', () => inner.resetAndDestroy());
    outer.once('connect', () => {
      this.#join('forward', inner, outer);
      this.#join('backward', outer, inner);
      inner.resume();
    });
  }

  #join(direction: Direction, from: Socket, to: Socket): void {
    const flow = new Flow(this, direction, from, to);
    this.#flows.add(flow);
    to.once('close', () => this.#flows.delete(flow));
  }

  #own(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
