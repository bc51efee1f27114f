// A message that is still in pieces, for streams of grpc-js. It puts a header before each message and copies it behind
// that: so the pieces are copied once, straight there, and not joined before. It asks a message for its length, by one
// name in a client and by another one in a server, and to copy itself, and nothing else, as long as it does not compress.

/** See the head of the file. */
export class Gathered {
  readonly length: number;
  readonly byteLength: number;
  readonly #pieces: readonly Buffer[];

  constructor(pieces: readonly Buffer[]) {
    this.#pieces = pieces;
    this.length = sizeOf(pieces);
    this.byteLength = this.length;
  }

  /** What the types of grpc-js want of whoever serialises. */
  get asBuffer(): Buffer {
    return this as unknown as Buffer;
  }

  /** Copies all pieces into `target`. @returns how many bytes. */
  copy(target: Uint8Array, targetStart = 0): number {
    let at = targetStart;
    for (const piece of this.#pieces) at += piece.copy(target, at);
    return at - targetStart;
  }
}

/** Bytes of all pieces. */
export function sizeOf(pieces: readonly Buffer[]): number {
  let sizeBytes = 0;
  for (const piece of pieces) sizeBytes += piece.length;
  return sizeBytes;
}
