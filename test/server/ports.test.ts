import { createServer } from 'node:net';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { assertPortsFree, freePorts, isPortFree, pidListeningOn } from '../../src/server/ports.ts';

describe('ports', () => {
  it('finds free ports that differ', async () => {
    const ports = await freePorts(6);
    expect(new Set(ports).size).to.equal(6);
    for (const port of ports) expect(await isPortFree('127.0.0.1', port), String(port)).to.equal(true);
  });

  it('never hands out a port twice, and each from a block whose first port this process holds', async () => {
    const ports = (await Promise.all([freePorts(60), freePorts(60)])).flat();
    expect(new Set(ports).size).to.equal(120);
    const guards = new Set(ports.map((port) => port - (port % 50)));
    for (const guard of guards) {
      expect(ports).to.not.include(guard);
      expect(await isPortFree('127.0.0.1', guard), String(guard)).to.equal(false);
    }
  });

  it('names the port that is taken, and who has it', async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
    });
    try {
      expect(await isPortFree('127.0.0.1', port)).to.equal(false);
      const [free] = await freePorts(1);
      const refused = await assertPortsFree('127.0.0.1', [free!, port]).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(refused).to.be.instanceOf(TLedgerError).with.property('code', 'PORT_IN_USE');
      const owner = process.platform === 'linux' ? `process ${process.pid}` : 'another process';
      expect((refused as Error).message).to.equal(`port ${port} on 127.0.0.1 is taken by ${owner}`);
      expect(pidListeningOn(free!)).to.equal(undefined);
    } finally {
      server.close();
    }
  });
});
