// The process of bare_server.ts: `bare_server_main.ts ADDRESS PATH`. Nothing but grpc-js, and what TLedger's servers do to it:
// wide windows, and unary calls without the stream around them.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { leanUnary, type UnaryHandler } from '../../../src/wire/lean_unary.ts';
import { bindWithWideWindows } from '../../../src/wire/server_windows.ts';

const [address, path] = process.argv.slice(2) as [string, string];
const asItIs = (bytes: Buffer): Buffer => bytes;
const nothing = Buffer.alloc(0);
const append = {
  ...{ path, requestStream: false, responseStream: false },
  ...{ requestSerialize: asItIs, requestDeserialize: asItIs, responseSerialize: asItIs, responseDeserialize: asItIs },
} as const;
const answerAtOnce: UnaryHandler = (_call, answer) => answer(null, nothing);
const server = new Server({ interceptors: [leanUnary(new Map([[path, answerAtOnce]]))] });
server.addService({ append }, { append: () => {} });
await bindWithWideWindows(server, address, ServerCredentials.createInsecure(), console.warn);
