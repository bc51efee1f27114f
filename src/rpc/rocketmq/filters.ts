// What a consumer wants of a topic, as its calls say it (ROCKETMQ §5.3).
import { TLedgerError } from '../../base/errors.ts';
import { compileFilter, type FilterExpression as StoredFilter } from '../../broker/filter/filter.ts';
import type { FilterExpression } from '../../wire/rocketmq/definitions.ts';
import { isNamed } from './enums.ts';

/** What a subscription asks for. @throws TLedgerError ILLEGAL_FILTER, before anybody is asked for messages. */
export function filterOf(expression: FilterExpression | null): StoredFilter {
  if (expression !== null && !isNamed(expression.type)) {
    throw new TLedgerError('ILLEGAL_FILTER', `filters of type ${expression.type} are not known`);
  }
  const filter = {
    type: expression?.type === 'SQL' ? 'sql' : 'tag',
    expression: expression?.expression ?? '',
  } as const;
  compileFilter(filter);
  return filter;
}
