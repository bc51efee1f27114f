// What Linux tells of processes, read.
import { expect } from 'chai';
import { busyMsIn, cpuMsIn, cpuMsOf, fieldIn, memoryBytesOf, memoryOf, wakeUpsOf } from './processes.ts';

describe('bench: processes', () => {
  const stat = '42 (a) b (c) S 1 42 42 0 -1 4194304 1 0 0 0 150 50 7 3 20 0 1 0 99';

  it('finds processor time behind a command with brackets, without and with that of children', () => {
    expect(cpuMsIn(stat)).to.equal(2_000);
    expect(cpuMsIn(stat, true)).to.equal(2_100);
  });

  it('counts what a machine does, but not that it waits, and guests once', () => {
    expect(busyMsIn('cpu  10 1 5 1000 500 2 3 4 9 8\ncpu0 1 1 1 1 1 1 1 1 1 1\n')).to.equal(250);
  });

  it('tells memory now from the most there was', () => {
    const status = 'Name:\tnode\nVmHWM:\t  300000 kB\nVmRSS:\t  200000 kB\n';
    expect([fieldIn(status, 'VmRSS'), fieldIn(status, 'VmHWM')]).to.deep.equal([200_000, 300_000]);
    expect(fieldIn('Name:\tkthread\n', 'VmRSS')).to.equal(0);
  });

  it('reads its own', () => {
    expect(cpuMsOf(process.pid)).to.be.greaterThan(0);
    expect(memoryOf(process.pid, 'VmHWM')).to.be.at.least(memoryOf(process.pid, 'VmRSS'));
    expect(memoryOf(process.pid, 'VmHWM')).to.equal(Math.round(memoryBytesOf(process.pid, 'VmHWM') / 1e6));
    expect(wakeUpsOf(process.pid)).to.be.greaterThan(0);
  });
});
