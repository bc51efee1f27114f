// The numbered messages of the demonstration: each says who sent it and as which, and every byte of it can be checked.
//
//   0 producer 4 | 4 number 4 | 8 filling: one byte value, made from both, up to the end

const PRODUCER_AT = 0;
const NUMBER_AT = 4;
const FILLING_AT = 8;
/** Smallest body that can be numbered. */
export const BODY_BYTES_MIN = FILLING_AT;

/** Who sent a message, and as which of its own. */
export interface MessageNumber {
  readonly producer: number;
  /** 0, 1, 2 … */
  readonly number: number;
}

/** The body of one message. */
export function makeBody({ producer, number }: MessageNumber, sizeBytes: number): Buffer {
  const body = Buffer.allocUnsafe(sizeBytes);
  body.writeUInt32BE(producer, PRODUCER_AT);
  body.writeUInt32BE(number, NUMBER_AT);
  body.fill(fillingOf(producer, number), FILLING_AT);
  return body;
}

/** Which message this is; undefined when it is not, byte for byte, one that `makeBody` makes. */
export function readBody(body: Buffer, sizeBytes: number): MessageNumber | undefined {
  if (body.length !== sizeBytes || sizeBytes < BODY_BYTES_MIN) return undefined;
  const producer = body.readUInt32BE(PRODUCER_AT);
  const number = body.readUInt32BE(NUMBER_AT);
  const filling = fillingOf(producer, number);
  for (let at = FILLING_AT; at < sizeBytes; at++) if (body[at] !== filling) return undefined;
  return { producer, number };
}

function fillingOf(producer: number, number: number): number {
  return (producer * 131 + number * 31) & 0xff;
}
