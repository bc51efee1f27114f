import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { HEAP_GROWING_PERCENT } from '../../src/server/heap.ts';

describe('the heap of a node', () => {
  it('grows by a flag that this V8 has', () => {
    // Set at run time, a flag that V8 does not know is told on stderr and otherwise ignored; here it ends the process.
    const { status, stderr } = spawnSync(process.execPath, [
      `--heap-growing-percent=${HEAP_GROWING_PERCENT}`,
      '-e',
      '',
    ]);
    expect({ status, stderr: String(stderr) }).to.deep.equal({ status: 0, stderr: '' });
  });
});
