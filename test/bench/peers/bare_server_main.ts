// The process of bare_server.ts: `bare_server_main.ts ADDRESS PATH`. Nothing but grpc-js as it comes, with the wide
// windows that TLedger's servers have, too.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { bindWithWideWindows } from '../../../src/wire/server_windows.ts';

const [address, path] = process.argv.slice(2) as [string, string];
const asItIs = (bytes: Buffer): Buffer => bytes;
const nothing = Buffer.alloc(0);
const append = {
  ...{ path, requestStream: false, responseStream: false },
  ...{ requestSerialize: asItIs, requestDeserialize: asItIs, responseSerialize: asItIs, responseDeserialize: asItIs },
} as const;
const server = new Server();
server.addService(
  { append },
  { append: (_call: unknown, answer: (error: null, bytes: Buffer) => void) => answer(null, nothing) },
);
await bindWithWideWindows(server, address, ServerCredentials.createInsecure(), console.warn);
