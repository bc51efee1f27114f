// The hook into grpc-js that widens a server's windows: it must work on the installed version, and say so if a later
// version has moved the fields it needs.
import { connect } from 'node:http2';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { expect } from 'chai';
import { clientPortOptions } from '../../src/wire/channel_options.ts';
import { CLIENT_STREAMS_MAX, FLOW_CONTROL_WINDOW_BYTES } from '../../src/wire/limits.ts';
import { bindWithWideWindows } from '../../src/wire/server_windows.ts';

const insecure = ServerCredentials.createInsecure();

/** What a client is allowed to send before the server says more: per stream, and on the whole connection. */
async function windowsSeenByClient(port: number): Promise<{ stream: number; connection: number }> {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const settings = await new Promise<{ initialWindowSize?: number }>((resolve, reject) => {
      session.once('remoteSettings', resolve);
      session.once('error', reject);
    });
    // A ping answered means that the WINDOW_UPDATE sent before it has arrived.
    await new Promise<void>((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())));
    return { stream: settings.initialWindowSize ?? 0, connection: session.state.remoteWindowSize ?? 0 };
  } finally {
    session.destroy();
  }
}

describe('wire: windows of a server', () => {
  it('widens streams and connections on the installed grpc-js', async () => {
    const server = new Server(clientPortOptions);
    const warnings: string[] = [];
    const port = await bindWithWideWindows(server, '127.0.0.1:0', insecure, (text) => warnings.push(text));
    try {
      const seen = await windowsSeenByClient(port);
      expect(seen.stream).to.equal(FLOW_CONTROL_WINDOW_BYTES);
      expect(seen.connection).to.be.at.least(FLOW_CONTROL_WINDOW_BYTES);
      expect(warnings).to.deep.equal([]);
    } finally {
      server.forceShutdown();
    }
  });

  it('keeps the limit of concurrent streams beside it', async () => {
    const server = new Server(clientPortOptions);
    const port = await bindWithWideWindows(server, '127.0.0.1:0', insecure, () => {});
    const session = connect(`http://127.0.0.1:${port}`);
    try {
      const settings = await new Promise<{ maxConcurrentStreams?: number }>((resolve) => {
        session.once('remoteSettings', resolve);
      });
      expect(settings.maxConcurrentStreams).to.equal(CLIENT_STREAMS_MAX);
    } finally {
      session.destroy();
      server.forceShutdown();
    }
  });

  it('warns and serves on when the fields have moved', async () => {
    const server = new Server();
    Object.defineProperty(server, 'commonServerOptions', { value: undefined, writable: true });
    const warnings: string[] = [];
    const moved = new Proxy(server, {
      get: (target, name) => {
        if (name === 'commonServerOptions' || name === 'http2Servers') return undefined;
        const value = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const port = await bindWithWideWindows(moved, '127.0.0.1:0', insecure, (text) => warnings.push(text));
    expect(port).to.be.greaterThan(0);
    expect(warnings).to.have.length(2);
    server.forceShutdown();
  });

  it('rejects when the port is taken', async () => {
    const first = new Server();
    const port = await bindWithWideWindows(first, '127.0.0.1:0', insecure, () => {});
    const second = new Server();
    try {
      const failure = await bindWithWideWindows(second, `127.0.0.1:${port}`, insecure, () => {}).then(
        () => undefined,
        (error: Error) => error,
      );
      expect(failure?.message).to.match(/EADDRINUSE/);
    } finally {
      first.forceShutdown();
      second.forceShutdown();
    }
  });
});
