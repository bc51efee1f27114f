import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { createLogger, type LoggerOptions } from '../../src/observe/logger.ts';

/** Logs through `write` and gives back what reached the stream. */
function logged(options: Partial<LoggerOptions>, write: (log: ReturnType<typeof createLogger>) => void): string {
  const stream = new PassThrough();
  write(createLogger({ level: 'info', format: 'text', ...options, stream }));
  return String(stream.read() ?? '');
}

const hostile = {
  'a newline': 'x\n2030-01-01T00:00:00.000Z ERROR forged',
  'a carriage return': 'x\rforged',
  'a terminal colour': '\u001b[31mred\u001b[0m',
  'a C1 control sequence': '\u009b2Jcleared',
  'a Unicode line separator': 'x\u2028forged\u2029',
  'a direction mark': '\u202egnp.exe',
  'a quote and a field': '" level=error x="',
};

describe('logger', () => {
  for (const format of ['text', 'json'] as const) {
    for (const [what, value] of Object.entries(hostile)) {
      it(`keeps ${what} in a value, a name or the message inside one ${format} line`, () => {
        const text = logged({ format }, (log) => log.child({ [value]: 1 }).info(value, { topic: value }));
        expect(text.endsWith('\n')).to.equal(true);
        const forbidden = '\n\r\u001b\u009b\u2028\u2029\u202e';
        expect([...text.slice(0, -1)].filter((character) => forbidden.includes(character))).to.deep.equal([]);
        if (format === 'json') expect(JSON.parse(text)).to.include({ message: value, topic: value, [value]: 1 });
      });
    }
  }

  it('writes level, message and fields in their order', () => {
    const text = logged({ fields: { node: 'n0' } }, (log) =>
      log.warn('leader lost', { term: 3, to: 'a b', none: undefined }),
    );
    expect(text).to.match(/^\S+Z WARN {2}leader lost node=n0 term=3 to="a b"\n$/);
  });

  it('is silent below its level, and says so', () => {
    let enabled = true;
    const text = logged({ level: 'warn' }, (log) => {
      enabled = log.isEnabled('info');
      log.info('unseen');
      log.child({ a: 1 }).debug('unseen');
      log.info('unseen', {
        get costly(): string {
          throw new Error('a disabled level looks at nothing');
        },
      });
    });
    expect(text).to.equal('');
    expect(enabled).to.equal(false);
  });

  it('shows an expected error by its code, an unexpected one with its stack, bytes by their count only', () => {
    const text = logged({ format: 'json' }, (log) =>
      log.error('failed', {
        known: new TLedgerError('NO_LEADER', 'none'),
        unknown: new TypeError('oops'),
        body: Buffer.from('secret'),
        big: 10n,
      }),
    );
    const event = JSON.parse(text) as Record<string, string>;
    expect(event.known).to.equal('NO_LEADER: none');
    expect(event.unknown).to.match(/^TypeError: oops\n +at /);
    expect(event.body).to.equal('<6 bytes>');
    expect(event.big).to.equal('10');
  });

  it('survives a value that refers to itself', () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    expect(logged({}, (log) => log.info('round', { circle }))).to.match(/round circle=/);
  });

  it('cuts a value that would fill the disk', () => {
    expect(logged({}, (log) => log.info('long', { value: 'x'.repeat(1e6) })).length).to.be.lessThan(5000);
  });
});
