import { expect } from 'chai';
import { encodeMembership } from '../../src/format/membership.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { batch, Harness, membership } from './fixture.ts';

describe('the membership of a broker', () => {
  it('is the last one applied, and none at first', async () => {
    const harness = await Harness.start();
    expect(harness.broker.membership).to.equal(null);
    const first = harness.membership(membership('a'));
    harness.append(batch(['x']));
    expect(harness.broker.membership).to.deep.equal({ index: first, membership: membership('a') });
    harness.membership(membership('a', 'b'));
    const last = harness.membership(membership('a', '__proto__'));
    expect(harness.broker.membership?.index).to.equal(first);
    harness.applyTo();
    expect(harness.broker.membership).to.deep.equal({ index: last, membership: membership('a', '__proto__') });
    expect(harness.broker.appliedIndex).to.equal(last);
  });

  it('is stored by a checkpoint when it has changed, and there at the next start', async () => {
    const harness = await Harness.start();
    const index = harness.membership(membership('a', '__proto__'));
    harness.applyTo();
    await harness.broker.checkpoint();
    const row = harness.medium.durable.get('m');
    expect(row).to.equal(
      `{"v":1,"index":${index},"voters":["__proto__","a"],"outgoing":[],"learners":[],"addresses":{"__proto__":` +
        '{"peer":"__proto__.test:1","client":"__proto__.test:2"},"a":{"peer":"a.test:1","client":"a.test:2"}}}',
    );
    harness.medium.durable.delete('m');
    harness.append(batch(['x']));
    await harness.broker.checkpoint();
    expect(harness.medium.durable.has('m')).to.equal(false);
    harness.medium.durable.set('m', row!);
    await harness.crash(1, 0);
    expect(harness.broker.membership).to.deep.equal({ index, membership: membership('a', '__proto__') });
  });

  it('that was not stored is applied again after a crash', async () => {
    const harness = await Harness.start();
    const index = harness.membership(membership('a'));
    harness.applyTo();
    await harness.crash(1, 0);
    expect(harness.broker.membership).to.equal(null);
    harness.applyTo();
    expect(harness.broker.membership?.index).to.equal(index);
  });

  for (const [what, body] of [
    ['of another version', encodeMembership(membership('a')).toString().replace('"v":1', '"v":2')],
    ['that is none', '{}'],
    ['of no bytes', ''],
  ] as const) {
    it(`${what}, in a committed record, stops the replica`, async () => {
      const harness = await Harness.start();
      harness.log.append(blankRecord(recordMagic.membership, Buffer.from(body)));
      expect(() => harness.applyTo())
        .to.throw('a membership cannot be read')
        .with.property('name', 'InvariantError');
      expect(() => harness.applyTo()).to.throw('a broker that failed is not used any more');
    });
  }
});
