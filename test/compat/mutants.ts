// Breaks the code on purpose, one line at a time, in a copy of the tree, and sees whether the case of the compat tests turns
// red that is there for it: `npm run test:compat:mutants -- [--only name,name]`. Exit code 1 when one survives.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Break, runInCopy, tryBreaks } from '../chaos/breaking.ts';
import { mutants } from './mutants_list.ts';

/** A break, and who must notice. */
export interface CompatMutant extends Break {
  /** Of test/compat, without `.test.ts`. */
  readonly test: string;
  /** Part of the name of the case. */
  readonly case: string;
}

const { values } = parseArgs({ options: { only: { type: 'string' } } });
const survivors = await tryBreaks<CompatMutant>({
  breaks: mutants,
  only: values.only,
  control: async (copy, chosen) => {
    for (const test of new Set(chosen.map((one) => one.test))) {
      const cases = chosen.filter((one) => one.test === test).map((one) => one.case);
      const { failures, passes } = await runCases(copy, test, cases);
      const isAll = cases.every((name) => passes.some((title) => title.includes(name)));
      if (failures.length > 0 || !isAll) throw new Error(`the unbroken code fails ${test}: ${failures.join('; ')}`);
    }
  },
  notice: async (copy, mutant) => (await runCases(copy, mutant.test, [mutant.case])).failures[0],
});
process.exit(survivors === 0 ? 0 : 1);

/** Runs those cases only. @returns names of what passed; names and reasons of what did not. */
async function runCases(copy: string, test: string, cases: readonly string[]) {
  const escaped = cases.map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|');
  const mocha = join('node_modules', 'mocha', 'bin', 'mocha.js');
  const args = [mocha, '--reporter', 'json', '--grep', escaped, join('test', 'compat', `${test}.test.ts`)];
  const { said } = await runInCopy(copy, args, { ...process.env, COMPAT_CASES: escaped });
  const begin = said.indexOf('{\n  "stats"');
  if (begin < 0) return { passes: [], failures: [`it does not run: ${said.slice(-300)}`] };
  const report = JSON.parse(said.slice(begin, said.lastIndexOf('}') + 1)) as Report;
  return {
    passes: report.passes.map(({ fullTitle }) => fullTitle),
    failures: report.failures.map(({ title, err }) => `${title}: ${err.message?.split('\n')[0]?.slice(0, 120)}`),
  };
}

interface Report {
  readonly passes: readonly { readonly fullTitle: string }[];
  readonly failures: readonly { readonly title: string; readonly err: { readonly message?: string } }[];
}
