// A node's settings as options of a command: one flag a key, made from the schema, and the file.
import type { Command } from 'commander';
import { Option } from 'commander';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { factsOf, flagOf, type SettingKey, settingKeys } from '../config/schema.ts';

/** Options as commander gathers them. */
export type SettingOptions = Readonly<Partial<Record<SettingKey, string | true>>> & { readonly config?: string };

/** Adds `--config` and a flag for every setting. */
export function addSettingOptions(command: Command): Command {
  command.option('--config <file>', 'YAML file with settings; the environment (TLEDGER_…) and flags win over it');
  for (const key of settingKeys) {
    const facts = factsOf(key);
    const value = facts.isToggle === true ? '[value]' : '<value>';
    command.addOption(new Option(`${flagOf(key)} ${value}`, `${facts.meaning} [${facts.values}]`));
  }
  return command;
}

/** The configuration that the options, the environment and the file make. @throws TLedgerError INVALID_CONFIG */
export function configOf(options: SettingOptions, env: NodeJS.ProcessEnv): LoadedConfig {
  const flags = Object.fromEntries(settingKeys.map((key) => [key, options[key]]));
  return loadConfig({ file: options.config, env, flags });
}
