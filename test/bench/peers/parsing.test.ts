// What other systems say, read from any pieces in which it may come.
import { expect } from 'chai';
import { grpcFrame, latenciesIn, parseH2load, sharesOf } from './h2load.ts';
import { NatsParser } from './nats_client.ts';

describe('bench: peers', () => {
  it('takes the NATS protocol apart, however its bytes are cut', () => {
    const bytes = Buffer.from(
      'INFO {"port":1}\r\nPING\r\nMSG _INBOX.a.7 1 12\r\n{"seq":\r\n99}\r\nMSG _INBOX.a.8 1 back 0\r\n\r\nPONG\r\n',
    );
    for (let size = 1; size <= bytes.length; size++) {
      const seen: string[] = [];
      const parser = new NatsParser(
        (line) => seen.push(line),
        (subject, payload) => seen.push(`${subject}=${payload}`),
      );
      for (let at = 0; at < bytes.length; at += size) parser.push(bytes.subarray(at, at + size));
      const expected = ['INFO {"port":1}', 'PING', '_INBOX.a.7={"seq":\r\n99}', '_INBOX.a.8=', 'PONG'];
      expect(seen, `pieces of ${size}`).to.deep.equal(expected);
    }
  });

  it('reads what h2load prints, and refuses calls that failed', () => {
    const said = (failed: number) => `
finished in 2.00s, 13100.50 req/s, 1.20MB/s
requests: 26201 total, 26329 started, 26201 done, ${26_201 - failed} succeeded, ${failed} failed, 0 errored, 0 timeout
status codes: ${26_201 - failed} 2xx, 0 3xx, 0 4xx, 0 5xx`;
    expect(parseH2load(said(0))).to.deep.equal({ messagesPerSecond: 13_101, succeeded: 26_201 });
    expect(() => parseH2load(said(3))).to.throw(/calls failed: 26198 succeeded, 3 failed/);
    expect(() => parseH2load('Could not connect')).to.throw(/not of h2load/);
  });

  it('reads latencies from the log of h2load', () => {
    expect(latenciesIn('1700000000000000\t200\t1500\n1700000000000100\t200\t250\n')).to.deep.equal([1.5, 0.25]);
    expect(latenciesIn('')).to.deep.equal([]);
  });

  it('shares calls out among nodes', () => {
    expect(sharesOf(128, 3)).to.deep.equal([43, 43, 42]);
    expect(sharesOf(128, 1)).to.deep.equal([128]);
  });

  it('frames a gRPC message', () => {
    expect(grpcFrame(Buffer.from('ab')).toString('hex')).to.equal('00000000026162');
  });
});
