// The configuration told to people: rows for `tledger config explain`, a table for the README.
import type { LoadedConfig, Origin } from './load.ts';
import { envNameOf, factsOf, fieldOf, flagOf, type SettingKey, settingKeys } from './schema.ts';

/** One key, explained. */
export interface ExplainedSetting {
  readonly key: SettingKey;
  readonly value: string;
  readonly source: Origin;
  readonly default: string;
  readonly values: string;
  readonly meaning: string;
  readonly env: string;
  readonly flag: string;
}

/** Every key with its value in `loaded`, in the schema's order. */
export function explainConfig(loaded: LoadedConfig): ExplainedSetting[] {
  return settingKeys.map((key) => {
    const facts = factsOf(key);
    return {
      key,
      value: facts.show(loaded.config[key]),
      source: loaded.origins[key],
      default: facts.show(fieldOf(key).parse(undefined)),
      values: facts.values,
      meaning: facts.meaning,
      env: envNameOf(key),
      flag: flagOf(key),
    };
  });
}

/** The table of the README, in Markdown; a test holds the README to it. */
export function configTableMarkdown(): string {
  const rows = settingKeys.map((key) => {
    const facts = factsOf(key);
    const standard = facts.show(fieldOf(key).parse(undefined));
    const cells = [
      `\`${key}\``,
      standard === '' ? '' : `\`${standard}\``,
      facts.values.replaceAll('|', '\\|'),
      facts.meaning,
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return ['| key | default | values | meaning |', '|---|---|---|---|', ...rows].join('\n');
}
