import { expect } from 'chai';
import { physicalOffset } from '../../src/format/record.ts';
import {
  KeySearch,
  NEWEST,
  parsePlace,
  placeText,
  SEARCH_FILES_MAX,
  type SearchedFile,
  type SearchedIndex,
} from '../../src/storage/key_index_search.ts';

const SEGMENT_BYTES = 1_000;
const header = { entries: 1, beginMs: 0, endMs: 9 } as SearchedFile['header'];

/** Segments of one file each, in which nothing is found. */
function indexOf(files: number): SearchedIndex {
  return {
    fileAt: (segment) => {
      const number = Math.min(files - 1, Math.floor(segment / SEGMENT_BYTES));
      const start = physicalOffset(number * SEGMENT_BYTES);
      return { segment: start, ordinal: 0, header, newest: () => 0, entry: () => null, isSameSlot: () => true };
    },
    damaged: () => expect.fail('nothing is damaged'),
  };
}

describe('storage: a search in the key index', () => {
  const target = { hash: 7, beginMs: 0, endMs: 9 };

  it('that has come to its bound in the oldest file is done', () => {
    const search = new KeySearch(indexOf(SEARCH_FILES_MAX), target, NEWEST);
    expect(search.next()).to.equal(null);
    expect(search.isDone).to.equal(true);
  });

  it('that has come to its bound before is not, and goes on where its place says', () => {
    const index = indexOf(SEARCH_FILES_MAX + 1);
    const search = new KeySearch(index, target, NEWEST);
    expect(search.next()).to.equal(null);
    expect(search.isDone).to.equal(false);
    const rest = new KeySearch(index, target, parsePlace(placeText(search.place)));
    expect(rest.next()).to.equal(null);
    expect(rest.isDone).to.equal(true);
  });
});
