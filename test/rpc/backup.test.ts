// Admin.Backup: who is asked, what is told, when it ends.
import { status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import type { BackupMade, BackupOrder, BackupSteps } from '../../src/rpc/gateway.ts';
import type { BackupProgress, BackupRequest } from '../../src/wire/admin_messages.ts';
import { adminService, failureOf, type Harness, startHarness, until } from './harness.ts';

const steps = (bytesRead: number): BackupSteps => ({
  ...{ lastIndex: 9, bytesTotal: 100, bytesRead, bytesKept: 1, bytesLinked: 2, bytesCopied: 3 },
});
const made: BackupMade = {
  ...steps(100),
  ...{ firstIndex: 4, lastTerm: 2, chainCrc: 0xfedcba98, checksum: '0badcafe', continuedFrom: 7 },
};
const order = (more: Partial<BackupRequest> = {}): BackupRequest => ({
  ...{ nodeId: 'n0', directory: '/b', bytesPerSecond: '5', prune: true, stale: false },
  ...more,
});

describe('Admin.Backup', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  function open(request: BackupRequest) {
    const { path, requestSerialize, responseDeserialize } = adminService.backup;
    return harness.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  }

  async function refusal(request: BackupRequest): Promise<{ status: number; code: string; text: string }> {
    const call = open(request);
    try {
      for await (const _ of call) {
        // Only its end counts.
      }
    } catch (error) {
      return failureOf(error);
    }
    throw new Error('expected a refusal');
  }

  it('asks the leader what is committed, tells how far it is, and at last what was made', async () => {
    const orders: BackupOrder[] = [];
    harness.gateway.backups = {
      run: async (asked, onProgress) => {
        orders.push(asked);
        for (let bytesRead = 0; bytesRead <= 100; bytesRead++) onProgress(steps(bytesRead));
        return made;
      },
    };
    const told: BackupProgress[] = [];
    for await (const progress of open(order())) told.push(progress as BackupProgress);
    expect(orders).to.deep.equal([{ directory: '/b', bytesPerSecond: 5, prune: true }]);
    expect(harness.gateway.barriers).to.equal(1);
    // A few times a second, however small the pieces.
    expect(told.length).to.be.within(2, 3);
    expect(told[0]).to.deep.include({ bytesRead: '0', bytesTotal: '100', done: null });
    expect(told.at(-1)).to.deep.equal({
      ...{ lastIndex: '9', bytesTotal: '100', bytesRead: '100', bytesKept: '1', bytesLinked: '2', bytesCopied: '3' },
      done: {
        ...{ nodeId: 'n0', directory: '/b', firstIndex: '4', lastIndex: '9', lastTerm: '2', chainCrc: 0xfedcba98 },
        ...{ checksum: '0badcafe', continuedFrom: '7' },
      },
    });
  });

  it('is refused by another node, by one outside of the group, and without a leader unless it may be stale', async () => {
    harness.gateway.backups = { run: async () => made };
    expect(await refusal(order({ nodeId: 'n1' }))).to.deep.include({ status: status.NOT_FOUND, code: 'UNKNOWN_NODE' });
    harness.gateway.setLeader(null);
    expect(await refusal(order())).to.deep.include({ code: 'NO_LEADER' });
    const told = [];
    for await (const progress of open(order({ stale: true }))) told.push(progress);
    expect(told).to.have.length(1);
    harness.gateway.isOutside = true;
    expect(await refusal(order())).to.deep.include({ code: 'NODE_REMOVED' });
  });

  it('says what went wrong', async () => {
    const run = () => Promise.reject(new TLedgerError('DATA_CORRUPTED', 'segment 7 is damaged'));
    harness.gateway.backups = { run };
    expect(await refusal(order())).to.deep.equal({
      ...{ status: status.DATA_LOSS, code: 'DATA_CORRUPTED', text: 'segment 7 is damaged' },
    });
  });

  for (const how of ['the caller goes', 'the server stops'] as const) {
    it(`ends when ${how}`, async () => {
      let signal: AbortSignal | undefined;
      harness.gateway.backups = {
        run: (_order, _tell, given) =>
          new Promise((_resolve, reject) => {
            signal = given;
            given.addEventListener('abort', () => reject(new TLedgerError('SHUTTING_DOWN')));
          }),
      };
      const call = open(order());
      call.on('error', () => {});
      call.resume();
      await until(() => signal !== undefined, 'it has begun');
      if (how === 'the caller goes') call.cancel();
      else await harness.stopServer();
      await until(() => signal!.aborted, 'it is ended');
    });
  }
});
