// SQL92 filter expressions on message properties (ROCKETMQ §5.3), compiled once to a function.
//
//   or      := and { OR and }                      unknown (null) is neither true nor false: NULL logic of SQL
//   and     := not { AND not }
//   not     := [NOT] test
//   test    := '(' or ')' | TRUE | FALSE | operand [ comparison ]
//   comparison := ( = | <> ) operand | ( < | <= | > | >= ) number
//              | IS [NOT] NULL | [NOT] BETWEEN number AND number | [NOT] IN '(' string { , string } ')'
//              | [NOT] ( CONTAINS | STARTSWITH | ENDSWITH ) string
//   operand := name | number | string | TRUE | FALSE | NULL
//
// Properties are text. Against a number a property counts as the number it spells, and as unknown if it spells none.
import { illegalFilter, type Token, tokensOf } from './tokens.ts';

/** Reads one property; undefined when the message has none of that name. */
export type PropertyLookup = (name: string) => string | undefined;
/** Null: unknown, which is no match. */
export type Verdict = boolean | null;
/** A compiled expression. */
export type Predicate = (lookup: PropertyLookup) => Verdict;

/** Bounds of one expression. */
export const filterLimits = {
  /** UTF-16 units. */
  lengthMax: 4_096,
  wordsMax: 1_024,
  /** Parentheses and NOTs within each other. */
  depthMax: 64,
} as const;

type Value = string | number | boolean | null;
type Operand = (lookup: PropertyLookup) => Value;

const COMPARISONS = new Set(['=', '<>', '<', '<=', '>', '>=']);
const NUMERIC: Readonly<Record<string, (left: number, right: number) => boolean>> = {
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
};
const TEXT: Readonly<Record<string, (text: string, part: string) => boolean>> = {
  CONTAINS: (text, part) => text.includes(part),
  STARTSWITH: (text, part) => text.startsWith(part),
  ENDSWITH: (text, part) => text.endsWith(part),
};

/** Compiles an expression. @throws TLedgerError ILLEGAL_FILTER naming what is wrong and where. */
export function compileSql92(text: string): Predicate {
  if (text.length > filterLimits.lengthMax) throw illegalFilter(`is longer than ${filterLimits.lengthMax} characters`);
  if (text.trim() === '') throw illegalFilter('is empty');
  return new Parser(tokensOf(text, filterLimits.wordsMax)).whole();
}

/** Recursive descent over the words. */
class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  whole(): Predicate {
    const predicate = this.#or();
    if (this.#token.kind !== 'end') throw this.#unexpected();
    return predicate;
  }

  get #token(): Token {
    return this.#tokens[this.#at]!;
  }

  #or(): Predicate {
    const parts = [this.#and()];
    while (this.#takes('OR')) parts.push(this.#and());
    if (parts.length === 1) return parts[0]!;
    return (lookup) => {
      let verdict: Verdict = false;
      for (const part of parts) {
        const one = part(lookup);
        if (one === true) return true;
        if (one === null) verdict = null;
      }
      return verdict;
    };
  }

  #and(): Predicate {
    const parts = [this.#not()];
    while (this.#takes('AND')) parts.push(this.#not());
    if (parts.length === 1) return parts[0]!;
    return (lookup) => {
      let verdict: Verdict = true;
      for (const part of parts) {
        const one = part(lookup);
        if (one === false) return false;
        if (one === null) verdict = null;
      }
      return verdict;
    };
  }

  #not(): Predicate {
    if (this.#takes('NOT')) return this.#deeper(() => negated(this.#not()));
    if (this.#takes('(')) {
      const inner = this.#deeper(() => this.#or());
      this.#expect(')');
      return inner;
    }
    return this.#test();
  }

  #deeper(parse: () => Predicate): Predicate {
    if (++this.#depth > filterLimits.depthMax) throw illegalFilter(`is nested deeper than ${filterLimits.depthMax}`);
    const predicate = parse();
    this.#depth--;
    return predicate;
  }

  #test(): Predicate {
    const operand = this.#operand();
    const token = this.#token;
    if (token.kind === 'word' && COMPARISONS.has(token.word)) {
      this.#at++;
      return token.word === '=' || token.word === '<>'
        ? equality(operand, this.#operand(), token.word === '<>')
        : this.#order(operand, token.word);
    }
    if (this.#takes('IS')) {
      const isNot = this.#takes('NOT');
      this.#expect('NULL');
      return (lookup) => (operand(lookup) === null) !== isNot;
    }
    const isNot = this.#takes('NOT');
    const test = this.#takes('BETWEEN')
      ? this.#between(operand)
      : this.#takes('IN')
        ? this.#in(operand)
        : this.#text(operand);
    if (test !== null) return isNot ? negated(test) : test;
    if (isNot) throw this.#unexpected();
    return (lookup) => truth(operand(lookup));
  }

  #order(left: Operand, word: string): Predicate {
    const right = this.#number();
    const compare = NUMERIC[word]!;
    return (lookup) => {
      const one = numberOf(left(lookup));
      const other = numberOf(right(lookup));
      return one === null || other === null ? null : compare(one, other);
    };
  }

  #between(operand: Operand): Predicate {
    const low = this.#number();
    this.#expect('AND');
    const high = this.#number();
    return (lookup) => {
      const value = numberOf(operand(lookup));
      const from = numberOf(low(lookup));
      const to = numberOf(high(lookup));
      return value === null || from === null || to === null ? null : from <= value && value <= to;
    };
  }

  #in(operand: Operand): Predicate {
    const values = new Set<string>();
    this.#expect('(');
    do values.add(this.#string());
    while (this.#takes(','));
    this.#expect(')');
    return (lookup) => {
      const value = operand(lookup);
      return value === null ? null : values.has(String(value));
    };
  }

  #text(operand: Operand): Predicate | null {
    const token = this.#token;
    const test = token.kind === 'word' ? TEXT[token.word] : undefined;
    if (test === undefined) return null;
    this.#at++;
    const part = this.#string();
    return (lookup) => {
      const value = operand(lookup);
      return typeof value === 'string' ? test(value, part) : null;
    };
  }

  /** What `<` and its kin take: a number, or a property that may spell one. */
  #number(): Operand {
    const token = this.#token;
    const operand = this.#operand();
    if (token.kind === 'string' || (token.kind === 'word' && token.word !== '-' && token.word !== '+')) {
      throw illegalFilter(`compares order with what is no number at position ${token.at}`);
    }
    return operand;
  }

  #string(): string {
    const token = this.#token;
    if (token.kind !== 'string') throw this.#unexpected();
    this.#at++;
    return token.value;
  }

  #operand(): Operand {
    const token = this.#token;
    this.#at++;
    if (token.kind === 'name') return (lookup) => lookup(token.name) ?? null;
    if (token.kind === 'number' || token.kind === 'string') return () => token.value;
    if (token.kind === 'word') {
      if (token.word === 'TRUE') return () => true;
      if (token.word === 'FALSE') return () => false;
      if (token.word === 'NULL') return () => null;
      const next = this.#token;
      if ((token.word === '-' || token.word === '+') && next.kind === 'number') {
        this.#at++;
        const value = token.word === '-' ? -next.value : next.value;
        return () => value;
      }
    }
    this.#at--;
    throw this.#unexpected();
  }

  #takes(word: string): boolean {
    const token = this.#token;
    if (token.kind !== 'word' || token.word !== word) return false;
    this.#at++;
    return true;
  }

  #expect(word: string): void {
    if (!this.#takes(word)) throw this.#unexpected(word);
  }

  #unexpected(wanted?: string) {
    const { kind, at } = this.#token;
    const where = kind === 'end' ? 'ends too early' : `cannot be understood at position ${at}`;
    return illegalFilter(wanted === undefined ? where : `${where}: ${wanted} is missing`);
  }
}

function negated(predicate: Predicate): Predicate {
  return (lookup) => {
    const verdict = predicate(lookup);
    return verdict === null ? null : !verdict;
  };
}

function equality(left: Operand, right: Operand, isNot: boolean): Predicate {
  return (lookup) => {
    const verdict = areEqual(left(lookup), right(lookup));
    return verdict === null ? null : verdict !== isNot;
  };
}

/** The literal decides as what a property is read. */
function areEqual(left: Value, right: Value): Verdict {
  if (left === null || right === null) return null;
  if (typeof left === 'number' || typeof right === 'number') {
    const one = numberOf(left);
    const other = numberOf(right);
    return one === null || other === null ? null : one === other;
  }
  if (typeof left === 'boolean' || typeof right === 'boolean') {
    const one = truth(left);
    const other = truth(right);
    return one === null || other === null ? null : one === other;
  }
  return left === right;
}

function numberOf(value: Value): number | null {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || value.trim() === '') return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

function truth(value: Value): Verdict {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'string') return null;
  const word = value.toLowerCase();
  return word === 'true' ? true : word === 'false' ? false : null;
}
