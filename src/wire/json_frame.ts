// What nodes say to each other of consumption: a JSON header, then bytes that nobody encodes again.
//
//   | header size 4 | header (JSON) | blob | blob | …        the header's `sizes` says how long each blob is
import { TLedgerError } from '../base/errors.ts';

const SIZE_BYTES = 4;

/** A header and the bytes it is about. */
export interface JsonFrame<Header> {
  readonly header: Header;
  readonly blobs: readonly Buffer[];
}

/** One buffer of both. */
export function encodeJsonFrame(header: object, blobs: readonly Buffer[] = []): Buffer {
  const text = Buffer.from(JSON.stringify({ ...header, sizes: blobs.map((blob) => blob.length) }));
  const size = Buffer.allocUnsafe(SIZE_BYTES);
  size.writeUInt32BE(text.length);
  return Buffer.concat([size, text, ...blobs]);
}

/** Both from one buffer; blobs are views of it. @throws TLedgerError INVALID_ARGUMENT when it is no such frame. */
export function decodeJsonFrame<Header>(bytes: Buffer): JsonFrame<Header> {
  try {
    const headerEnd = SIZE_BYTES + bytes.readUInt32BE(0);
    const header = JSON.parse(bytes.toString('utf8', SIZE_BYTES, headerEnd)) as Header & {
      readonly sizes: readonly number[];
    };
    let at = headerEnd;
    const blobs = header.sizes.map((size) => {
      const blob = bytes.subarray(at, at + size);
      at += size;
      return blob;
    });
    if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes are left over`);
    return { header, blobs };
  } catch (error) {
    throw new TLedgerError('INVALID_ARGUMENT', 'the frame is not well-formed', error);
  }
}
