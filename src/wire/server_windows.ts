// The receive windows of a grpc-js server. grpc-js has an option for clients only, so this reaches for two private
// fields of its Server, checks that they look as expected, and says so when they do not.
import type { ServerHttp2Session } from 'node:http2';
import type { Server, ServerCredentials } from '@grpc/grpc-js';
import { FLOW_CONTROL_WINDOW_BYTES } from './limits.ts';

interface Http2ServerLike {
  on(event: 'session', listener: (session: ServerHttp2Session) => void): unknown;
}

interface ServerInternals {
  commonServerOptions?: { settings?: { initialWindowSize?: number } };
  http2Servers?: Map<Http2ServerLike, unknown>;
}

/**
 * Binds `server` to `address` with wide windows.
 * @param warn told, once for each thing found missing, when this grpc-js keeps its fields elsewhere; the server then
 * works with the default windows, slower.
 * @returns the port that was bound (for an address with port 0).
 * @throws Error as `Server.bindAsync` does.
 */
export async function bindWithWideWindows(
  server: Server,
  address: string,
  credentials: ServerCredentials,
  warn: (message: string) => void,
  windowBytes = FLOW_CONTROL_WINDOW_BYTES,
): Promise<number> {
  widenStreams(server, windowBytes, warn);
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error !== null) return reject(error);
      widenConnections(server, windowBytes, warn);
      resolve(port);
    });
  });
}

/** The window of each stream: a setting that the server announces, taken from its options at bind. */
function widenStreams(server: Server, windowBytes: number, warn: (message: string) => void): void {
  const options = (server as unknown as ServerInternals).commonServerOptions;
  if (typeof options !== 'object' || options === null) {
    warn('grpc-js keeps its HTTP/2 options elsewhere: stream windows stay at their default');
    return;
  }
  options.settings = { ...options.settings, initialWindowSize: windowBytes };
}

/** The window of each connection: set on the session, as HTTP/2 has no setting for it. */
function widenConnections(server: Server, windowBytes: number, warn: (message: string) => void): void {
  const servers = (server as unknown as ServerInternals).http2Servers;
  if (!(servers instanceof Map) || servers.size === 0) {
    warn('grpc-js keeps its HTTP/2 servers elsewhere: connection windows stay at their default');
    return;
  }
  for (const http2Server of servers.keys()) {
    http2Server.on('session', (session) => session.setLocalWindowSize(windowBytes));
  }
}
