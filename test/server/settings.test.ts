// What peers compare before they listen to each other.
import { expect } from 'chai';
import { settingsOf } from '../../src/server/node.ts';

describe('settings that nodes must have in common', () => {
  const config = { segmentSizeBytes: 1024, electionTimeoutMsMin: 500 };

  it('the election timeout is not among them while reads ask a majority', () => {
    const settings = settingsOf({ ...config, reads: 'quorum' });
    expect(settings).to.equal('segmentSizeBytes=1024;reads=quorum');
    expect(settingsOf({ ...config, reads: 'quorum', electionTimeoutMsMin: 900 })).to.equal(settings);
  });

  it('it is with leases: a leader counts on a promise of others that lasts as long as its own lease', () => {
    const settings = settingsOf({ ...config, reads: 'lease' });
    expect(settings).to.equal('segmentSizeBytes=1024;reads=lease;electionTimeoutMsMin=500');
    expect(settingsOf({ ...config, reads: 'lease', electionTimeoutMsMin: 900 })).not.to.equal(settings);
  });
});
