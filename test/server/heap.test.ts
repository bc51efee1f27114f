import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { HEAP_FLAGS, LARGEST_FREED_BYTES } from '../../src/server/heap.ts';

describe('the heap of a node', () => {
  it('is tuned by flags that this V8 has', () => {
    // Set at run time, a flag that V8 does not know is told on stderr and otherwise ignored; here it ends the process.
    const { status, stderr } = spawnSync(process.execPath, [...HEAP_FLAGS, '-e', '']);
    expect({ status, stderr: String(stderr) }).to.deep.equal({ status: 0, stderr: '' });
  });
});

describe('the memory of buffers', () => {
  /** Pages that the system had to hand out for buffers as large as a batch, one after the other, none of them kept. */
  function pagesFor(begin: string): number {
    const fill = 'for (let at = 0; at < 16_000; at++) Buffer.allocUnsafe(256 * 1024).fill(1);';
    const tell = 'console.log(process.resourceUsage().minorPageFault - before);';
    const script = `${begin}; const before = process.resourceUsage().minorPageFault; ${fill} ${tell}`;
    return Number(spawnSync(process.execPath, ['-e', script]).stdout.toString());
  }

  it('is used again once a large block was freed, where the C library is glibc', function () {
    const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
    if (header.glibcVersionRuntime === undefined) return this.skip();
    const pages = pagesFor(`Buffer.allocUnsafeSlow(${LARGEST_FREED_BYTES})`);
    expect(pages).to.be.within(1, pagesFor('') / 2);
  });
});
