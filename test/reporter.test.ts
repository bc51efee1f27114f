// What passed only at its second try is told; what failed twice fails, as does what may not be tried again.
import { expect } from 'chai';
import Mocha from 'mocha';
import Reporter from './reporter.ts';

/** Runs tests, each of which fails its first `failures` tries. @returns how many failed at last, and what was printed. */
async function run(tests: readonly { name: string; failures: number; retries?: number }[]) {
  const mocha = new Mocha({ reporter: Reporter, retries: 1, color: false });
  for (const { name, failures, retries } of tests) {
    let tries = 0;
    const test = new Mocha.Test(name, () => expect(tries++, `try ${tries}`).to.be.at.least(failures));
    mocha.suite.addTest(test);
    if (retries !== undefined) test.retries(retries);
  }
  const write = process.stdout.write;
  const log = console.log;
  let text = '';
  const catcher = (chunk: string | Uint8Array) => {
    text += chunk;
    return true;
  };
  process.stdout.write = catcher;
  console.log = () => {};
  try {
    const failed = await new Promise<number>((resolve) => mocha.run(resolve));
    return { failed, text };
  } finally {
    process.stdout.write = write;
    console.log = log;
  }
}

describe('the reporter', () => {
  it('lists by name and first error what passed only at its second try', async () => {
    const { failed, text } = await run([
      { name: 'steady', failures: 0 },
      { name: 'shaky', failures: 1 },
      { name: 'broken', failures: 2 },
      { name: 'strict', failures: 1, retries: 0 },
    ]);
    expect(failed).to.equal(2);
    expect(text.slice(text.indexOf('1 passed'))).to.equal(
      '1 passed only at the second try, and should not have needed it:\n\n  1) shaky\n     try 1: expected +0 to be at least 1\n\n',
    );
  });

  it('says nothing when there is nothing to say', async () => {
    const { failed, text } = await run([{ name: 'steady', failures: 0 }]);
    expect([failed, text.includes('second try')]).to.deep.equal([0, false]);
  });
});
