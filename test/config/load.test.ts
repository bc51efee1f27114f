import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { configTableMarkdown, explainConfig } from '../../src/config/explain.ts';
import { type ConfigSources, loadConfig } from '../../src/config/load.ts';
import { envNameOf, factsOf, flagOf, settingKeys } from '../../src/config/schema.ts';
import { messageLimits } from '../../src/format/limits.ts';
import { RECORD_HEADER_BYTES } from '../../src/format/record.ts';

describe('configuration', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tledger-config-'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function file(content: string): string {
    const path = join(directory, 'node.yaml');
    writeFileSync(path, content);
    return path;
  }

  /** The message of the refusal, which must be INVALID_CONFIG. */
  function refusal(sources: ConfigSources): string {
    try {
      loadConfig(sources);
    } catch (error) {
      expect(error).to.be.instanceOf(TLedgerError).with.property('code', 'INVALID_CONFIG');
      return (error as TLedgerError).message;
    }
    throw new Error('expected a refusal');
  }

  it('has the documented defaults, and is a group of one node', () => {
    const { config } = loadConfig({});
    expect(config).to.include({
      cluster: 'tledger',
      group: 'g0',
      nodeId: 'n0',
      clientListen: '127.0.0.1:8081',
      peerListen: '127.0.0.1:40911',
      dataDir: './data',
      heartbeatIntervalMs: 100,
      electionTimeoutMsMin: 500,
      electionTimeoutMsMax: 1000,
      flush: 'sync',
      segmentSizeBytes: 1024 ** 3,
    });
    expect(config.members).to.deep.equal([
      { nodeId: 'n0', peerAddress: '127.0.0.1:40911', clientAddress: '127.0.0.1:8081' },
    ]);
  });

  it('lets each source win over the one before: defaults < file < environment < flags', () => {
    const yaml = file('heartbeatIntervalMs: 40\nlogLevel: warn\nlogFormat: json\n');
    const env = { TLEDGER_LOG_LEVEL: 'error', TLEDGER_LOG_FORMAT: 'text' };
    const { config, origins } = loadConfig({ file: yaml, env, flags: { logFormat: 'json' } });
    expect(config).to.include({ heartbeatIntervalMs: 40, logLevel: 'error', logFormat: 'json', flush: 'sync' });
    expect(origins).to.include({
      heartbeatIntervalMs: 'file',
      logLevel: 'environment',
      logFormat: 'flag',
      flush: 'default',
    });
  });

  it('finds the file by TLEDGER_CONFIG, too', () => {
    expect(loadConfig({ env: { TLEDGER_CONFIG: file('group: g7\n') } }).config.group).to.equal('g7');
  });

  it('joins peers and client addresses into members, from a list or a map', () => {
    const flags = { nodeId: 'n1', peers: 'n0=h0:1, n1=[::1]:2', clientAddresses: 'n1=c1:4,n0=c0:3' };
    const members = [
      { nodeId: 'n0', peerAddress: 'h0:1', clientAddress: 'c0:3' },
      { nodeId: 'n1', peerAddress: '[::1]:2', clientAddress: 'c1:4' },
    ];
    expect(loadConfig({ flags }).config.members).to.deep.equal(members);
    const yaml = file('nodeId: n1\npeers: {n0: "h0:1", n1: "[::1]:2"}\nclientAddresses: {n0: "c0:3", n1: "c1:4"}\n');
    expect(loadConfig({ file: yaml }).config.members).to.deep.equal(members);
  });

  const quantities = [
    ['64MiB', 64 * 1024 ** 2],
    ['1 GiB', 1024 ** 3],
    ['8388608', 8388608],
  ] as const;
  for (const [text, bytes] of quantities) {
    it(`reads the size ${text}`, () => {
      expect(loadConfig({ env: { TLEDGER_SEGMENT_SIZE_BYTES: text } }).config.segmentSizeBytes).to.equal(bytes);
    });
  }
  it('reads durations with a unit', () => {
    const flags = { electionTimeoutMsMax: '1.5s', shutdownTimeoutMs: '2m' };
    expect(loadConfig({ flags }).config).to.include({ electionTimeoutMsMax: 1500, shutdownTimeoutMs: 120_000 });
  });

  it('lets a node join without telling it who the members are', () => {
    const { config } = loadConfig({ flags: { join: true, nodeId: 'n3' } });
    expect(config.join).to.equal(true);
    expect(config.members).to.deep.equal([]);
    expect(loadConfig({ env: { TLEDGER_JOIN: 'false' } }).config.members).to.have.length(1);
    expect(loadConfig({ file: file('join: true\n') }).config.join).to.equal(true);
  });

  it('reads names from a list in either form', () => {
    expect(loadConfig({ flags: { preferredLeaders: 'n1, n0' } }).config.preferredLeaders).to.deep.equal(['n1', 'n0']);
    expect(loadConfig({ file: file('preferredLeaders: [n2]\n') }).config.preferredLeaders).to.deep.equal(['n2']);
    expect(loadConfig({}).config.preferredLeaders).to.deep.equal([]);
  });

  const wrong: readonly [string, ConfigSources & { yaml?: string }, RegExp][] = [
    [
      'a number below its bound',
      { env: { TLEDGER_HEARTBEAT_INTERVAL_MS: '3' } },
      /^Configuration: environment TLEDGER_HEARTBEAT_INTERVAL_MS: must be at least 10 ms \(got "3"\)$/,
    ],
    [
      'a number above its bound',
      { flags: { segmentSizeBytes: '17GiB' } },
      /flag --segment-size-bytes: must be at most 16 GiB/,
    ],
    ['half a byte', { flags: { segmentSizeBytes: '10000000.5' } }, /flag --segment-size-bytes: must be a whole number/],
    [
      'a number that is none',
      { env: { TLEDGER_CHECKPOINT_INTERVAL_MS: 'often' } },
      /TLEDGER_CHECKPOINT_INTERVAL_MS: must be a number of ms/,
    ],
    [
      'a duration where a size belongs',
      { flags: { appendBytesMax: '5s' } },
      /flag --append-bytes-max: must be a number of bytes/,
    ],
    [
      'a choice that is none',
      { yaml: 'flush: maybe' },
      /file .*node\.yaml, key flush: must be one of sync, async \(got "maybe"\)/,
    ],
    [
      'an unknown key',
      { yaml: 'hartbeatIntervalMs: 100' },
      /unknown key "hartbeatIntervalMs"; did you mean heartbeatIntervalMs\?/,
    ],
    [
      'an unknown variable',
      { env: { TLEDGER_DATADIR: 'x' } },
      /unknown variable TLEDGER_DATADIR; did you mean TLEDGER_DATA_DIR\?/,
    ],
    ['a file that is missing', { file: '/nonexistent/x.yaml' }, /file \/nonexistent\/x\.yaml: ENOENT/],
    ['a file that is no YAML', { yaml: 'a: [1' }, /file .*node\.yaml: /],
    ['a file that is no map', { yaml: '- 1' }, /must be a map of keys to values/],
    [
      'an address without port',
      { flags: { clientListen: 'localhost' } },
      /flag --client-listen: "localhost" is not host:port/,
    ],
    [
      'an IPv6 address without brackets',
      { flags: { peerListen: '::1:99' } },
      /--peer-listen: "::1:99" is not host:port/,
    ],
    ['a port beyond 65535', { flags: { peerListen: 'h:65536' } }, /port 65536/],
    [
      'a node name with a path in it',
      { env: { TLEDGER_NODE_ID: '../n0' } },
      /TLEDGER_NODE_ID: must consist of letters/,
    ],
    ['a peer named twice', { flags: { peers: 'n0=a:1,n0=b:2' } }, /flag --peers: names n0 twice/],
    ['a peer without address', { flags: { peers: 'n0' } }, /--peers: "n0" is not node=host:port/],
    [
      'a node that is no member',
      { flags: { nodeId: 'n9', peers: 'n0=a:1', clientAddresses: 'n0=c:1' } },
      /nodeId n9 is not among peers \(n0\)/,
    ],
    [
      'a member without client address',
      { flags: { peers: 'n0=a:1,n1=a:2', clientAddresses: 'n0=c:1' } },
      /clientAddresses lacks n1/,
    ],
    [
      'a client address of nobody',
      { flags: { peers: 'n0=a:1', clientAddresses: 'n0=c:1,n5=c:2' } },
      /clientAddresses names n5/,
    ],
    [
      'client addresses without peers',
      { flags: { clientAddresses: 'n5=c:2' } },
      /clientAddresses names n5, but peers is empty/,
    ],
    ['a join that is neither', { flags: { join: 'maybe' } }, /flag --join: must be true or false \(got "maybe"\)/],
    [
      'members told to a node that joins',
      { flags: { join: true, peers: 'n0=a:1', clientAddresses: 'n0=c:1' } },
      /peers and clientAddresses must be empty with join/,
    ],
    [
      'a leader that is no name',
      { flags: { preferredLeaders: 'n0,a b' } },
      /--preferred-leaders: "a b" is not a legal/,
    ],
    ['a leader preferred twice', { flags: { preferredLeaders: 'n0,n0' } }, /--preferred-leaders: names n0 twice/],
    ['a way to read that is none', { flags: { reads: 'hope' } }, /--reads: must be one of quorum, lease/],
    [
      'idle heartbeats faster than the others',
      { flags: { idleHeartbeatIntervalMs: 50 } },
      /idleHeartbeatIntervalMs \(50\) must not be below heartbeatIntervalMs \(100\)/,
    ],
    [
      'idle heartbeats that come too late',
      { flags: { idleHeartbeatIntervalMs: 500 } },
      /idleHeartbeatIntervalMs \(500\) .* and below electionTimeoutMsMin \(500\)/,
    ],
    [
      'less to keep than one segment',
      { flags: { retentionBytes: '512MiB' } },
      /retentionBytes \(536870912\) must hold one segment of segmentSizeBytes \(1073741824\), or be 0/,
    ],
    [
      'limits of the disk that do not ascend',
      { flags: { diskCleanPercent: '95' } },
      /diskCleanPercent \(95\) and diskRefusePercent \(90\) must ascend where they are not 0/,
    ],
    [
      'heartbeats too slow for the election timeout',
      { flags: { heartbeatIntervalMs: 200 } },
      /electionTimeoutMsMin \(500\) must be at least 3 times heartbeatIntervalMs \(200\)/,
    ],
    [
      'crossed election timeouts',
      { flags: { electionTimeoutMsMax: 400 } },
      /electionTimeoutMsMax \(400\) must not be below electionTimeoutMsMin \(500\)/,
    ],
    [
      'a batch that may never wait',
      { flags: { pendingBytesMax: '512KiB' } },
      /pendingBytesMax \(524288\) must hold one batch/,
    ],
    [
      'a replication message beyond its window',
      { flags: { inflightBytesMax: '512KiB' } },
      /inflightBytesMax \(524288\) must hold one message/,
    ],
  ];
  for (const [what, { yaml, ...sources }, expected] of wrong) {
    it(`refuses ${what}`, () => {
      expect(refusal(yaml === undefined ? sources : { ...sources, file: file(yaml) })).to.match(expected);
    });
  }

  it('lets no segment be too small for the largest batch a client may send', () => {
    const limit = messageLimits.batchBytesMax + 2 * RECORD_HEADER_BYTES;
    expect(refusal({ flags: { segmentSizeBytes: limit } })).to.match(/--segment-size-bytes: must be at least/);
  });

  it('reports everything wrong at once', () => {
    const message = refusal({ env: { TLEDGER_FLUSH: 'no' }, flags: { logLevel: 'loud', peerListen: 'x' } });
    expect(message).to.match(/^Configuration: 3 problems:\n/);
    expect(message.split('\n')).to.have.length(4);
  });

  it('ignores what Kubernetes sets for a service of our name, and the variables of the command line', () => {
    const env = {
      TLEDGER_SERVICE_HOST: '10.0.0.1',
      TLEDGER_PORT: 'tcp://10.0.0.1:8081',
      TLEDGER_PORT_8081_TCP_ADDR: '10.0.0.1',
      TLEDGER_ENDPOINTS: 'a:1',
    };
    expect(() => loadConfig({ env })).to.not.throw();
  });

  it('explains every key: value, source, default, bounds, environment and flag', () => {
    const rows = explainConfig(loadConfig({ flags: { nodeId: 'n0', dataDir: '/var/x' } }));
    expect(rows.map((row) => row.key)).to.deep.equal([...settingKeys]);
    expect(rows.find((row) => row.key === 'dataDir')).to.deep.equal({
      key: 'dataDir',
      value: '/var/x',
      source: 'flag',
      default: './data',
      values: 'path',
      meaning: factsOf('dataDir').meaning,
      env: 'TLEDGER_DATA_DIR',
      flag: '--data-dir',
    });
    expect(rows.find((row) => row.key === 'segmentSizeBytes')).to.include({
      default: '1 GiB',
      values: '8 MiB to 16 GiB',
    });
  });

  it('gives every key a sentence, an own variable and an own flag', () => {
    for (const key of settingKeys) expect(factsOf(key).meaning, key).to.match(/^[A-Z].*\.$/);
    expect(new Set(settingKeys.map(envNameOf)).size).to.equal(settingKeys.length);
    expect(new Set(settingKeys.map(flagOf)).size).to.equal(settingKeys.length);
    expect(configTableMarkdown().split('\n')).to.have.length(settingKeys.length + 2);
  });
});
