// Appending by single gRPC calls, as clients do that know nothing of streams: no repetition, no gathering, each connection
// to one of the endpoints in turn.
import { Client, credentials } from '@grpc/grpc-js';
import { clientChannelOptions } from '../wire/channel_options.ts';
import { ledgerService } from '../wire/services.ts';
import { errorOf } from '../wire/status.ts';
import { frameOf } from './append.ts';
import { drive } from './drive.ts';
import type { SendOptions } from './load.ts';

/** Makes calls; figures are in the meter. @throws TLedgerError what `drive` throws. */
export async function benchUnary(options: SendOptions): Promise<void> {
  const { endpoints, connections, topic, queues, batch, flush } = options;
  const { path, requestSerialize, responseDeserialize } = ledgerService.append;
  const channel = { ...clientChannelOptions, 'grpc.use_local_subchannel_pool': 1 };
  const clients = Array.from({ length: connections }, (_, at) => {
    return new Client(endpoints[at % endpoints.length]!, credentials.createInsecure(), channel);
  });
  const requests = Array.from({ length: queues }, (_, queue) => {
    return { topic, queue, producerId: '', sequence: 0, flush, records: frameOf(options, queue, batch) };
  });
  let next = 0;
  try {
    await drive({
      ...options,
      request: (answered) => {
        const client = clients[next % clients.length]!;
        const request = requests[next % requests.length]!;
        next++;
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error) =>
          answered(error === null ? null : errorOf(error), error === null ? batch : 0),
        );
      },
    });
  } finally {
    for (const client of clients) client.close();
  }
}
