// What a consumer wants of a topic: tags or a SQL92 expression (ROCKETMQ §5.3).
import { property, tagHash } from '../../format/message.ts';
import { compileSql92, filterLimits, type PropertyLookup } from './sql92.ts';
import { illegalFilter } from './tokens.ts';

/** A subscription as it travels and is compared. */
export interface FilterExpression {
  readonly type: 'tag' | 'sql';
  /** `*` and the empty tag expression take everything. */
  readonly expression: string;
}

/** A compiled subscription. */
export interface MessageFilter {
  /** Takes every message, whatever it says: nobody needs to look. */
  readonly takesAll: boolean;
  /** False only when no message of this tag hash can match: then its bytes need not be read. */
  mayMatch(hash: number): boolean;
  /** Looks at the message itself. Tag and keys are properties, too (`TAGS`, `KEYS`). */
  matches(lookup: PropertyLookup): boolean;
}

const TAKE_ALL: MessageFilter = { takesAll: true, mayMatch: () => true, matches: () => true };

/** Compiles a subscription. @throws TLedgerError ILLEGAL_FILTER */
export function compileFilter({ type, expression }: FilterExpression): MessageFilter {
  return type === 'sql' ? sqlFilter(expression) : tagFilter(expression);
}

function sqlFilter(expression: string): MessageFilter {
  const predicate = compileSql92(expression);
  return { takesAll: false, mayMatch: () => true, matches: (lookup) => predicate(lookup) === true };
}

/** `a || b`: the tag equals one of them. A message without a tag matches `*` only. */
function tagFilter(expression: string): MessageFilter {
  if (expression.length > filterLimits.lengthMax) {
    throw illegalFilter(`is longer than ${filterLimits.lengthMax} characters`);
  }
  const trimmed = expression.trim();
  if (trimmed === '' || trimmed === '*') return TAKE_ALL;
  const tags = new Set(
    trimmed
      .split('||')
      .map((tag) => tag.trim())
      .filter((tag) => tag !== ''),
  );
  if (tags.size === 0) throw illegalFilter('names no tag');
  if (tags.has('*')) return TAKE_ALL;
  const hashes = new Set([...tags].map(tagHash));
  return {
    takesAll: false,
    mayMatch: (hash) => hashes.has(hash),
    matches: (lookup) => {
      const tag = lookup(property.tag);
      return tag !== undefined && tags.has(tag);
    },
  };
}
