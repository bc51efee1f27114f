import { expect } from 'chai';
import { GATHERED_BYTES_MAX, GatheredUnits, type UnitHolder } from '../../src/storage/gathered_units.ts';

/** Holds a buffer of a size that is told. */
class Holder implements UnitHolder {
  holdsUnits = true;
  bytes = 0;

  write(): void {
    this.holdsUnits = false;
  }

  release(): number {
    this.write();
    const { bytes } = this;
    this.bytes = 0;
    return bytes;
  }
}

describe('gathered units', () => {
  const quarter = GATHERED_BYTES_MAX / 4;

  function grow(gathered: GatheredUnits, holder: Holder, byBytes: number): void {
    holder.bytes += byBytes;
    holder.holdsUnits = true;
    gathered.grew(holder, byBytes);
  }

  it('take so much room and no more: who has not grown for longest writes and lets go', () => {
    const gathered = new GatheredUnits();
    const [a, b, c, d] = [new Holder(), new Holder(), new Holder(), new Holder()];
    for (const holder of [a, b, c]) grow(gathered, holder, quarter);
    grow(gathered, a, quarter);
    expect([a, b, c].map((holder) => holder.bytes / quarter)).to.deep.equal([2, 1, 1]);
    grow(gathered, d, 1);
    expect([a, b, c, d].map((holder) => holder.bytes)).to.deep.equal([2 * quarter, 0, quarter, 1]);
    expect(gathered.bytes).to.equal(3 * quarter + 1);
    grow(gathered, b, 2 * quarter);
    // c and a had not grown for longest; without a there is room.
    expect([a, b, c, d].map((holder) => holder.bytes)).to.deep.equal([0, 2 * quarter, 0, 1]);
  });

  it('keep asking who could not write', () => {
    const gathered = new GatheredUnits();
    const [a, b] = [new Holder(), new Holder()];
    grow(gathered, a, 3 * quarter);
    a.release = () => {
      throw new Error('no');
    };
    expect(() => grow(gathered, b, 2 * quarter)).to.throw('no');
    expect(gathered.unwritten).to.deep.equal([a, b]);
    expect(gathered.bytes).to.equal(5 * quarter);
  });

  it('name those that have something to write', () => {
    const gathered = new GatheredUnits();
    const [a, b] = [new Holder(), new Holder()];
    for (const holder of [a, b]) grow(gathered, holder, 10);
    a.write();
    expect(gathered.unwritten).to.deep.equal([b]);
    grow(gathered, a, 1);
    expect(gathered.unwritten).to.deep.equal([b, a]);
  });
});
