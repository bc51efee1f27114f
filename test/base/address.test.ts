import { expect } from 'chai';
import { joinAddress, parseAddress, parseDestination, splitAddress } from '../../src/base/address.ts';
import { formatQuantity, parseQuantity } from '../../src/config/quantity.ts';

describe('addresses and quantities', () => {
  const addresses = [
    ['127.0.0.1:8081', '127.0.0.1', 8081],
    ['n0:0', 'n0', 0],
    ['[::1]:65535', '::1', 65_535],
    ['my-host.example:1', 'my-host.example', 1],
  ] as const;
  for (const [text, host, port] of addresses) {
    it(`splits ${text} and joins it again`, () => {
      expect(splitAddress(parseAddress(text))).to.deep.equal({ host, port });
      expect(joinAddress(host, port)).to.equal(text);
    });
  }

  for (const text of [
    '',
    'h',
    'h:',
    ':1',
    'h:x',
    'h:123456',
    '::1:5',
    '[::1]',
    'a b:1',
    'h:1\n',
    'http://h:1',
    '../h:1',
  ]) {
    it(`refuses ${JSON.stringify(text)} as an address`, () => {
      expect(() => parseAddress(text)).to.throw(/is not host:port|exceeds/);
    });
  }

  for (const text of ['0.0.0.0:1', '0:1', '[::]:1', '[::0]:1', '[0:0:0:0:0:0:0:0]:1', '[::ffff:0.0.0.0]:1', 'h:0']) {
    it(`takes ${text} as an address to listen on, not to go to`, () => {
      expect(parseAddress(text)).to.equal(text);
      expect(() => parseDestination(text)).to.throw(/is something to listen on/);
    });
  }
  for (const text of ['10.0.0.0:1', '[::1]:1', '[fe80::]:1', '0.pool.example:1', '127.0.0.1:1']) {
    it(`takes ${text} as an address to go to`, () => expect(parseDestination(text)).to.equal(text));
  }

  it('shows quantities in the largest unit that loses nothing, and reads them back', () => {
    for (const value of [1, 1023, 1024, 1536, 64 * 1024 ** 2, 3 * 1024 ** 3, 1024 ** 4]) {
      expect(parseQuantity(formatQuantity(value, 'bytes'), 'bytes')).to.equal(value);
    }
    for (const value of [1, 999, 1000, 1500, 60_000, 90_000, 3_600_000]) {
      expect(parseQuantity(formatQuantity(value, 'ms'), 'ms')).to.equal(value);
    }
    expect(formatQuantity(1536, 'bytes')).to.equal('1536 B');
    expect(formatQuantity(90_000, 'ms')).to.equal('90 s');
  });
});
