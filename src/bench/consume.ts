// Reading what a topic holds as fast as it comes, checked and decoded, from its beginning; again when all is read.
import { TLedgerError } from '../base/errors.ts';
import type { TLedgerClient } from '../client/client.ts';
import { measured } from './drive.ts';
import { type BenchOptions, withClients } from './load.ts';

/**
 * Reads; figures are in the meter. The queues are shared out among the connections.
 * @throws TLedgerError INVALID_ARGUMENT for a topic that holds nothing; what `consumeBatches` throws.
 */
export function benchConsume(options: BenchOptions): Promise<void> {
  return withClients(options, async (clients) => {
    const { ranges } = await clients[0]!.admin.topic(options.topic);
    const held = ranges.reduce((sum, { minOffset, maxOffset }) => sum + Number(maxOffset) - Number(minOffset), 0);
    if (held === 0) {
      throw new TLedgerError('INVALID_ARGUMENT', `the topic "${options.topic}" holds no messages: bench append first`);
    }
    const over = new AbortController();
    const fatal = new AbortController();
    const readers = clients.map((client, at) =>
      readAgainAndAgain(client, at, options, over.signal).catch((error) => fatal.abort(error)),
    );
    try {
      await measured(options, fatal.signal);
    } finally {
      over.abort();
      await Promise.all(readers);
    }
  });
}

async function readAgainAndAgain(
  client: TLedgerClient,
  at: number,
  { topic, queues: count, connections, meter }: BenchOptions,
  signal: AbortSignal,
): Promise<void> {
  const queues = Array.from({ length: count }, (_, queue) => queue).filter((queue) => queue % connections === at);
  while (!signal.aborted) {
    for await (const batch of client.consumeBatches({ topic, queues, untilEnd: true, signal })) {
      let bytes = 0;
      for (const { body } of batch.messages) bytes += body.length;
      meter.came(batch.messages.length, bytes);
    }
  }
}
