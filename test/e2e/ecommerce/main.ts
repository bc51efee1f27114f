// `npm run example:ecommerce -- [--endpoints host:port] [--orders 20] [--purchases 5000]`: one day of the shop on a group of
// its own, or on one that runs.
import { parseArgs } from 'node:util';
import { TLedgerClient } from '../../../src/client/index.ts';
import { LocalCluster } from '../../../src/server/local_cluster.ts';
import { furnish, shopDay } from './day.ts';

const { values } = parseArgs({
  options: {
    endpoints: { type: 'string' },
    orders: { type: 'string', default: '20' },
    purchases: { type: 'string', default: '5000' },
  },
});
const cluster = values.endpoints === undefined ? await LocalCluster.start() : null;
await cluster?.waitForLeader();
const endpoints = values.endpoints ?? cluster!.endpoints[0]!;
const client = new TLedgerClient({ endpoints: cluster?.endpoints ?? [endpoints] });
await furnish(client.admin);
const { closed } = await shopDay({
  endpoints,
  orders: Number(values.orders),
  purchases: Number(values.purchases),
  unpaidMs: 5_000,
  onLine: (line) => console.log(line),
});
await closed;
await client.close();
await cluster?.stop();
process.exit(0);
