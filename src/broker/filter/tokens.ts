// The words of a SQL92 filter expression (ROCKETMQ §5.3): names, literals, operators; comments and white space are skipped.
import { TLedgerError } from '../../base/errors.ts';

/** One word. `word` is a keyword or an operator, in upper case. */
export type Token =
  | { readonly kind: 'word'; readonly word: string; readonly at: number }
  | { readonly kind: 'name'; readonly name: string; readonly at: number }
  | { readonly kind: 'number'; readonly value: number; readonly at: number }
  | { readonly kind: 'string'; readonly value: string; readonly at: number }
  | { readonly kind: 'end'; readonly at: number };

const KEYWORDS = new Set('AND OR NOT IS NULL BETWEEN IN CONTAINS STARTSWITH ENDSWITH TRUE FALSE'.split(' '));
// Sticky: each is tried at one position. The order is that of the list below.
const SPACE = /(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/y;
const NAME = /[A-Za-z_$][A-Za-z0-9_$]*/y;
const NUMBER = /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[lL]?/y;
const STRING = /'(?:[^']|'')*'/y;
const OPERATOR = /<>|<=|>=|[=<>(),+-]/y;

/**
 * All words of an expression; the last one is the end.
 * @param countMax most of them.
 * @throws TLedgerError ILLEGAL_FILTER naming the position of what is no word.
 */
export function tokensOf(text: string, countMax: number): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; ; ) {
    at += lengthOf(SPACE, text, at);
    if (at === text.length) return [...tokens, { kind: 'end', at }];
    if (tokens.length >= countMax) throw illegalFilter(`has more than ${countMax} words`);
    const { token, length } = tokenAt(text, at);
    tokens.push(token);
    at += length;
  }
}

/** The refusal of an expression. */
export function illegalFilter(why: string): TLedgerError {
  return new TLedgerError('ILLEGAL_FILTER', `the filter expression ${why}`);
}

function tokenAt(text: string, at: number): { readonly token: Token; readonly length: number } {
  let length = lengthOf(NAME, text, at);
  if (length > 0) {
    const name = text.slice(at, at + length);
    const word = name.toUpperCase();
    return { token: KEYWORDS.has(word) ? { kind: 'word', word, at } : { kind: 'name', name, at }, length };
  }
  length = lengthOf(NUMBER, text, at);
  if (length > 0) {
    // A name right behind a number (`1a`) is neither.
    if (lengthOf(NAME, text, at + length) > 0) throw illegalFilter(`has a malformed number at position ${at}`);
    const value = Number(text.slice(at, at + length).replace(/[lL]$/, ''));
    return { token: { kind: 'number', value, at }, length };
  }
  length = lengthOf(STRING, text, at);
  if (length > 0) {
    const value = text.slice(at + 1, at + length - 1).replaceAll("''", "'");
    return { token: { kind: 'string', value, at }, length };
  }
  length = lengthOf(OPERATOR, text, at);
  if (length > 0) return { token: { kind: 'word', word: text.slice(at, at + length), at }, length };
  throw illegalFilter(`cannot be read at position ${at}`);
}

function lengthOf(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0].length ?? 0;
}
