// Appending by stream, as users of the client do it: single messages that the client gathers, or frames of encoded ones.
import type { Producer } from '../client/producer.ts';
import { encodeMessageRecord } from '../format/message.ts';
import { drive, type Request } from './drive.ts';
import { type SendOptions, withClients } from './load.ts';

const WINDOW_BYTES_MAX = 64 * 1024 * 1024;
/** What waits in a client: nothing is refused before so much does. */
const BUFFER_BYTES_MAX = 1024 * 1024 * 1024;

/** Appends; figures are in the meter. @throws TLedgerError what `drive` and the client throw. */
export function benchAppend(options: SendOptions): Promise<void> {
  return withClients(options, async (clients) => {
    const { flush, windowFrames } = options;
    const settings = {
      flush,
      windowFramesMax: windowFrames,
      windowBytesMax: WINDOW_BYTES_MAX,
      bufferBytesMax: BUFFER_BYTES_MAX,
    };
    const producers = clients.map((client) => client.producer(settings));
    await drive({
      ...options,
      request: options.batch === 1 ? singles(producers, options) : frames(producers, options),
    });
  });
}

/** `count` encoded messages of equal body, back to back. */
export function frameOf({ topic, sizeBytes }: SendOptions, queueId: number, count: number): Buffer {
  const body = Buffer.alloc(sizeBytes, 'x');
  const record = encodeMessageRecord({ topic, queueId, body, bornAtMs: Date.now() });
  return Buffer.concat(Array.from({ length: count }, () => record));
}

function singles(producers: readonly Producer[], { topic, sizeBytes }: SendOptions): Request {
  const body = Buffer.alloc(sizeBytes, 'x');
  let next = 0;
  return (answered) => {
    producers[next++ % producers.length]!.append({ topic, body }, (error) => answered(error, 1));
  };
}

function frames(producers: readonly Producer[], options: SendOptions): Request {
  const { topic, queues, batch } = options;
  const bytes = Array.from({ length: queues }, (_, queue) => frameOf(options, queue, batch));
  let next = 0;
  return (answered) => {
    const [producer, queue] = [producers[next % producers.length]!, next % queues];
    next++;
    producer.sendRecords(topic, queue, bytes[queue]!, batch).then(
      () => answered(null, batch),
      (error: unknown) => answered(error, 0),
    );
  };
}
