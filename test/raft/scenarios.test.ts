// Transcripts: what a group does, message by message. After a wanted change, run with REWRITE=1 and read the diff.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { env } from 'node:process';
import { expect } from 'chai';
import { play } from './interaction.ts';

const folder = new URL('./scenarios/', import.meta.url);

describe('raft scenarios', () => {
  for (const name of readdirSync(folder).sort()) {
    it(name.replace('.txt', '').replaceAll('_', ' '), () => {
      const file = new URL(name, folder);
      const script = readFileSync(file, 'utf8');
      const played = play(script);
      if (env.REWRITE === '1') writeFileSync(file, played);
      else expect(played).to.equal(script);
    });
  }
});
