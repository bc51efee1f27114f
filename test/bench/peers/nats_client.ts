// As much of NATS's client protocol (docs.nats.io/reference/reference-protocols/nats-protocol) as publishing to JetStream
// takes: one socket, one inbox, acknowledgements told apart by the last part of their subject. Thin, so that the client
// does not limit the server: what is published in one turn of the event loop is one write.
import { connect, type Socket } from 'node:net';

const CRLF = Buffer.from('\r\n');

/** Takes a stream of bytes apart: lines, and messages with their payload. */
export class NatsParser {
  readonly #onLine: (line: string) => void;
  readonly #onMessage: (subject: string, payload: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);

  constructor(onLine: (line: string) => void, onMessage: (subject: string, payload: Buffer) => void) {
    this.#onLine = onLine;
    this.#onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      const end = bytes.indexOf(CRLF, at);
      if (end < 0) break;
      const line = bytes.toString('latin1', at, end);
      if (!line.startsWith('MSG ')) {
        this.#onLine(line);
        at = end + CRLF.length;
        continue;
      }
      const size = Number(line.slice(line.lastIndexOf(' ') + 1));
      const payloadAt = end + CRLF.length;
      if (bytes.length < payloadAt + size + CRLF.length) break;
      this.#onMessage(line.slice(4, line.indexOf(' ', 4)), bytes.subarray(payloadAt, payloadAt + size));
      at = payloadAt + size + CRLF.length;
    }
    this.#rest = bytes.subarray(at);
  }
}

type Reply = (payload: Buffer) => void;

/** A connection to one node. */
export class NatsClient {
  /** Of the node. */
  readonly port: number;
  readonly #socket: Socket;
  readonly #inbox = `_INBOX.${process.pid}${Math.random().toString(36).slice(2)}`;
  /** By the last part of the inbox's subject; slots are used again. */
  readonly #replies: (Reply | undefined)[] = [];
  readonly #free: number[] = [];
  #out: Buffer[] = [];

  private constructor(socket: Socket, port: number) {
    this.#socket = socket;
    this.port = port;
  }

  /** @throws Error when nobody is there, or the node refuses. */
  static async open(port: number): Promise<NatsClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    const client = new NatsClient(socket, port);
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.once('close', () => reject(new Error('closed by the node')));
      const parser = new NatsParser(
        (line) => {
          if (line.startsWith('INFO ')) client.#hello();
          else if (line === 'PING') client.#write(Buffer.from('PONG\r\n'));
          else if (line === 'PONG') resolve();
          else if (line.startsWith('-ERR')) reject(new Error(line));
        },
        (subject, payload) => client.#take(Number(subject.slice(client.#inbox.length + 1)), payload),
      );
      socket.on('data', (chunk: Buffer) => parser.push(chunk));
    });
    return client;
  }

  /** Publishes `payload` and tells its answer once. */
  publish(subject: string, payload: Buffer, reply: Reply): void {
    const slot = this.#free.pop() ?? this.#replies.length;
    this.#replies[slot] = reply;
    this.#write(Buffer.from(`PUB ${subject} ${this.#inbox}.${slot} ${payload.length}\r\n`), payload, CRLF);
  }

  /** A request with an answer in JSON. @throws Error when the answer is one, or does not come. */
  ask<T>(subject: string, request: unknown, timeoutMs = 5_000): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${subject}: no answer`)), timeoutMs);
      this.publish(subject, Buffer.from(JSON.stringify(request)), (payload) => {
        clearTimeout(timer);
        if (payload.length === 0) return reject(new Error(`${subject}: nobody answers`));
        const answer = JSON.parse(payload.toString()) as T & { readonly error?: { readonly description: string } };
        if (answer.error !== undefined) reject(new Error(`${subject}: ${answer.error.description}`));
        else resolve(answer);
      });
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #hello(): void {
    const options = { verbose: false, pedantic: false, headers: false, lang: 'none', version: '0', protocol: 1 };
    this.#write(Buffer.from(`CONNECT ${JSON.stringify(options)}\r\nSUB ${this.#inbox}.* 1\r\nPING\r\n`));
  }

  #take(slot: number, payload: Buffer): void {
    const reply = this.#replies[slot];
    this.#replies[slot] = undefined;
    if (reply === undefined) return;
    this.#free.push(slot);
    reply(payload);
  }

  #write(...pieces: Buffer[]): void {
    if (this.#out.length === 0) setImmediate(() => this.#flush());
    this.#out.push(...pieces);
  }

  #flush(): void {
    const pieces = this.#out;
    this.#out = [];
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(pieces));
  }
}
