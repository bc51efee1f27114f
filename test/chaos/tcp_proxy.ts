// A port in front of a process, and the ways that lead over it: each can be cut in either direction, slowed down and reset.
// Like a network, and unlike a closed socket, a cut says nothing: bytes and closings wait until it ends, and new
// connections hang.
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
  readonly #way: Way;
  readonly #direction: Direction;
  readonly #from: Socket;
  readonly #to: Socket;
  #pieces: Piece[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(way: Way, direction: Direction, from: Socket, to: Socket) {
    this.#way = way;
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
      if (this.#way.isCut(this.#direction)) return;
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
    const { trace, delayMs } = this.#way;
    if (this.#way.isCut(this.#direction)) trace.held++;
    if (delayMs > 0) trace.delayed++;
    const earliestMs = this.#pieces.at(-1)?.dueMs ?? 0;
    this.#pieces.push({ bytes, dueMs: Math.max(earliestMs, delayMs > 0 ? performance.now() + delayMs : 0) });
    if (typeof bytes !== 'string') this.#heldBytes += bytes.length;
    if (this.#heldBytes >= HELD_BYTES_MAX || this.#to.writableNeedDrain) this.#from.pause();
    else this.flush();
  }
}

/** All connections from one dialler to one target. */
export class Way {
  readonly trace: ProxyTrace = { held: 0, delayed: 0, resets: 0 };
  /** How long each piece takes, in each direction. */
  delayMs = 0;
  readonly #sockets = new Set<Socket>();
  readonly #flows = new Set<Flow>();
  /** Connections that were begun while the way was cut, and how they go on. */
  #hanging: { readonly inner: Socket; readonly dial: () => void }[] = [];
  readonly #cuts = { forward: 0, backward: 0 };

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

  /** Takes a connection that was begun, to `targetPort` of this machine. */
  take(inner: Socket, targetPort: number): void {
    this.#own(inner);
    inner.pause();
    const dial = (): void => this.#dial(inner, targetPort);
    // A handshake needs both directions.
    if (!this.isCut('forward') && !this.isCut('backward')) return dial();
    this.trace.held++;
    this.#hanging.push({ inner, dial });
  }

  /** Ends all connections. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #resume(): void {
    for (const flow of this.#flows) flow.flush();
    if (this.isCut('forward') || this.isCut('backward')) return;
    const hanging = this.#hanging;
    this.#hanging = [];
    for (const { inner, dial } of hanging) if (!inner.destroyed) dial();
  }

  #dial(inner: Socket, targetPort: number): void {
    const outer = connect({ host: HOST, port: targetPort, allowHalfOpen: true, noDelay: true });
    this.#own(outer);
    inner.setNoDelay(true);
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

/** A port in front of another one. */
export class TcpProxy {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * A new port that leads to `targetPort`, where nobody need listen yet.
   * @param wayOf the way of a dialler at that port of this machine; undefined for one that has no way, and is reset.
   */
  static async open(targetPort: number, wayOf: (diallerPort: number) => Way | undefined): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    server.on('connection', (inner) => {
      inner.on('error', () => {});
      const way = wayOf(inner.remotePort ?? 0);
      if (way === undefined) inner.resetAndDestroy();
      else way.take(inner, targetPort);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, HOST, resolve);
    });
    return new TcpProxy(server);
  }

  /** host:port to dial. */
  get address(): string {
    return `${HOST}:${(this.#server.address() as { port: number }).port}`;
  }

  /** Takes no more connections; resolves when the last has ended (see `Way.close`). */
  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
