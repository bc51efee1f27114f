import { Readable } from 'node:stream';
import { expect } from 'chai';
import { InvalidArgumentError } from 'commander';
import fc from 'fast-check';
import { type ErrorCode, errorTable, TLedgerError } from '../../src/base/errors.ts';
import { describeFailure, exitCodeOf, QuietExit } from '../../src/cli/failure.ts';
import { fieldOf, linesOf } from '../../src/cli/lines.ts';
import { printable } from '../../src/cli/messages.ts';
import { duration, grouped, table } from '../../src/cli/output.ts';
import { delimiter, endpointList, integer, list, propertyOption, startPosition } from '../../src/cli/parsing.ts';
import { chunksOf } from './harness.ts';

describe('cli: values', () => {
  const good: readonly (readonly [string, unknown, unknown])[] = [
    ['integer', integer(0)('0'), 0],
    ['integer at its maximum', integer(1, 9)('9'), 9],
    ['endpoints', endpointList('a:1, b:2,'), ['a:1', 'b:2']],
    ['earliest', startPosition('earliest'), 'earliest'],
    ['an offset', startPosition('17'), 17],
    ['a tab', delimiter('\\t'), Buffer.from('\t')],
    ['a property', propertyOption('a=b=c', { x: 'y' }), { x: 'y', a: 'b=c' }],
    ['a list', list(integer(0))('2', [1]), [1, 2]],
  ];
  for (const [what, value, expected] of good) {
    it(`takes ${what}`, () => expect(value).to.deep.equal(expected));
  }

  const bad: readonly (readonly [string, () => unknown])[] = [
    ['-1 as a queue', () => integer(0)('-1')],
    ['1.5 as a number', () => integer(0)('1.5')],
    ['2^53 as a number', () => integer(0)('9007199254740992')],
    ['10 where 9 is the most', () => integer(1, 9)('10')],
    ['no endpoint', () => endpointList(' , ')],
    ['an endpoint without port', () => endpointList('a:1,b')],
    ['an endpoint with a port over 65535', () => endpointList('127.0.0.1:99999')],
    ['an endpoint that is a URL', () => endpointList('http://a:1')],
    ['a start of -1', () => startPosition('-1')],
    ['a start of "begin"', () => startPosition('begin')],
    ['an empty delimiter', () => delimiter('')],
    ['a newline as delimiter', () => delimiter('\n')],
    ['a property without name', () => propertyOption('=x')],
  ];
  for (const [what, parse] of bad) {
    it(`refuses ${what}`, () => expect(parse).to.throw(InvalidArgumentError));
  }
});

describe('cli: lines', () => {
  async function linesIn(bytes: Buffer, keepNewline: boolean): Promise<Buffer[]> {
    const lines: Buffer[] = [];
    for await (const line of linesOf(Readable.from(chunksOf(bytes)), { keepNewline })) lines.push(line);
    return lines;
  }

  it('gives back any bytes when newlines are kept', async () => {
    const text = fc
      .array(fc.constantFrom(0x0a, 0x0d, 0x61, 0xff, 0x00), { maxLength: 300 })
      .map((all) => Buffer.from(all));
    await fc.assert(
      fc.asyncProperty(text, async (bytes) => {
        const lines = await linesIn(bytes, true);
        expect(Buffer.concat(lines)).to.deep.equal(bytes);
        for (const line of lines.slice(0, -1)) expect(line.indexOf(0x0a)).to.equal(line.length - 1);
      }),
    );
  });

  it('leaves newlines out, and counts a last line without one', async () => {
    const lines = await linesIn(Buffer.from('a\r\n\nb\xff'), false);
    expect(lines).to.deep.equal([Buffer.from('a\r'), Buffer.from(''), Buffer.from('b\xff')]);
    expect(await linesIn(Buffer.from('a\n'), false)).to.deep.equal([Buffer.from('a')]);
  });

  it('refuses a line that no message can hold, without reading all of it', async () => {
    let chunks = 0;
    const endless = Readable.from(
      (function* () {
        for (;;) {
          chunks++;
          yield Buffer.alloc(2 ** 20, 'x');
        }
      })(),
    );
    const failure = await linesOf(endless, { keepNewline: false })
      .next()
      .catch((error: TLedgerError) => error);
    expect(failure).to.have.property('code', 'BODY_TOO_LARGE');
    expect((failure as TLedgerError).message).to.match(/^line 1 /);
    expect(chunks).to.be.below(30);
  });

  it('finds fields by their number', () => {
    const line = Buffer.from('a::bb::\n');
    const separator = Buffer.from('::');
    expect([1, 2, 3, 4].map((number) => fieldOf(line, number, separator)?.toString())).to.deep.equal([
      'a',
      'bb',
      '',
      undefined,
    ]);
  });
});

describe('cli: what is printed', () => {
  it('aligns numbers to the right and draws no lines', () => {
    expect(
      table(
        ['NODE', 'LAST'],
        [
          ['n0', '1,000'],
          ['n1', '7'],
        ],
      ),
    ).to.equal('NODE   LAST\nn0    1,000\nn1        7');
  });

  it('groups digits and shortens durations', () => {
    expect(['1', '999', '1000', '1234567'].map(grouped)).to.deep.equal(['1', '999', '1,000', '1,234,567']);
    expect([5, 61_000, 7_200_000, 172_800_000].map(duration)).to.deep.equal(['5 ms', '1 min', '2 h', '2 d']);
  });

  it('lets no message move the cursor', () => {
    expect(printable('a\u001b[2Jb\r\n')).to.equal('a\\x1b[2Jb\\x0d\\x0a');
  });
});

describe('cli: failures', () => {
  const three: readonly ErrorCode[] = ['UNREACHABLE', 'NO_LEADER', 'NOT_LEADER', 'SHUTTING_DOWN', 'DEADLINE_EXCEEDED'];
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const expected = three.includes(code) ? 3 : 1;
    it(`ends with ${expected} after ${code}`, () => expect(exitCodeOf(new TLedgerError(code))).to.equal(expected));
  }

  it('says what and why, for people and for programs', () => {
    const error = new TLedgerError('TOPIC_NOT_FOUND', 'no topic "x"');
    expect(describeFailure(error, 'text')).to.equal('tledger: no topic "x" (TOPIC_NOT_FOUND)');
    expect(JSON.parse(describeFailure(error, 'json'))).to.deep.equal({
      error: { code: 'TOPIC_NOT_FOUND', message: 'no topic "x"' },
    });
    expect(exitCodeOf(new QuietExit(1))).to.equal(1);
  });
});
