// Quiet between two measurements.
import { expect } from 'chai';
import { settle } from './settle.ts';

describe('bench: quiet between measurements', () => {
  /** So many looks find systems that take all of a core, those after them find nobody. */
  const busyFor = (looks: number) => {
    let asked = 0;
    const found = { looks: 0, cpuMs: 0, written: 0 };
    const cpuMs = (): number => {
      if (asked++ % 2 === 1 && ++found.looks <= looks) found.cpuMs += 1_000;
      return found.cpuMs;
    };
    const writeBack = async (): Promise<void> => {
      found.written++;
    };
    return { found, options: { cpuMs, lookMs: 5, writeBack } };
  };

  it('waits for whoever still works, and then for the disk', async () => {
    const { found, options } = busyFor(3);
    expect(await settle(options)).to.equal(true);
    expect(found).to.deep.include({ looks: 4, written: 1 });
  });

  it('goes on when somebody never stops, and says so', async () => {
    const { found, options } = busyFor(Number.POSITIVE_INFINITY);
    expect(await settle({ ...options, timeoutMs: 40 })).to.equal(false);
    expect(found.looks).to.be.greaterThan(1);
    expect(found.written).to.equal(1);
  });
});
