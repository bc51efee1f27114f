// A consumer of old data in a process of its own, as fast as it can, from the first message on, over and over:
//
//   growth_reader.ts advised <endpoint,…> <topic>     reads as any consumer does, and goes where it is sent
//   growth_reader.ts stay <endpoint> <topic>          stays at one node whatever it says
//
// Says on stdout, a line a second, how many bytes it has read so far and where, until it is killed.
import { Client, credentials } from '@grpc/grpc-js';
import { TLedgerClient } from '../../src/client/index.ts';
import { clientChannelOptions } from '../../src/wire/channel_options.ts';
import { ledgerService } from '../../src/wire/services.ts';

const [mode, endpoints, topic] = process.argv.slice(2) as [string, string, string];
let bytes = 0;
setInterval(() => console.log(String(bytes)), 1_000);

async function stay(): Promise<void> {
  const client = new Client(endpoints, credentials.createInsecure(), clientChannelOptions);
  const { path, requestSerialize, responseDeserialize } = ledgerService.consume;
  const request = { topic, positions: [], start: 'EARLIEST' as const, maxBytes: 0, packed: true };
  for await (const response of client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request)) {
    bytes += (response as { records: Buffer }).records.length;
  }
}

async function advised(): Promise<void> {
  const client = new TLedgerClient({ endpoints: endpoints.split(',') });
  for (;;) {
    for await (const { messages } of client.consumeBatches({ topic, untilEnd: true })) {
      for (const { body } of messages) bytes += body.length;
    }
  }
}

await (mode === 'stay' ? stay() : advised());
