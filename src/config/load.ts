// Where settings come from: defaults < YAML file < TLEDGER_* environment < flags. Everything wrong is reported at once,
// each with its source and key, so that one run suffices to mend a configuration.
import { readFileSync } from 'node:fs';
import { parse as parseYaml } from 'yaml';
import type { Address } from '../base/address.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { nearestName } from './nearest.ts';
import { checkRelations } from './relations.ts';
import { envNameOf, fieldOf, flagOf, type SettingKey, type Settings, settingKeys } from './schema.ts';

/** Where a value came from. */
export type Origin = 'default' | 'file' | 'environment' | 'flag';

/** A founding member of the group, as every founder is told. */
export interface MemberConfig {
  readonly nodeId: string;
  readonly peerAddress: Address;
  readonly clientAddress: Address;
}

/** A node's complete, checked configuration. */
export interface NodeConfig extends Settings {
  /** The founding members, this node included, in the order of `peers`; empty for a node that joins. */
  readonly members: readonly MemberConfig[];
}

/** What a configuration is made from. */
export interface ConfigSources {
  /** Path of the YAML file; `TLEDGER_CONFIG` when undefined. */
  readonly file?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** By key, not by flag name. */
  readonly flags?: Readonly<Partial<Record<SettingKey, unknown>>>;
}

/** A configuration and where each value of it came from. */
export interface LoadedConfig {
  readonly config: NodeConfig;
  readonly origins: Readonly<Record<SettingKey, Origin>>;
}

/** Names the configuration file. */
export const CONFIG_FILE_ENV = 'TLEDGER_CONFIG';
/** Variables with our prefix that are not settings of a node: they belong to the command line. */
const OTHER_ENV_NAMES: ReadonlySet<string> = new Set([CONFIG_FILE_ENV, 'TLEDGER_ENDPOINTS', 'TLEDGER_FORMAT']);
/** Kubernetes sets such variables for a service that is named after us. */
const SERVICE_LINK = /_(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/;

/**
 * Reads, merges and checks a configuration.
 * @throws TLedgerError INVALID_CONFIG naming every wrong key with its source.
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const problems: string[] = [];
  const values = new Map<SettingKey, unknown>();
  const origins = Object.fromEntries(settingKeys.map((key) => [key, 'default'])) as Record<SettingKey, Origin>;
  for (const key of settingKeys) values.set(key, fieldOf(key).parse(undefined));

  for (const entry of [...fromFile(sources, problems), ...fromEnv(sources, problems), ...fromFlags(sources)]) {
    const parsed = fieldOf(entry.key).safeParse(entry.value);
    if (parsed.success) {
      values.set(entry.key, parsed.data);
      origins[entry.key] = entry.origin;
    } else {
      const what = parsed.error.issues.map((issue) => issue.message).join('; ');
      problems.push(`${entry.source}: ${what} (got ${shortly(entry.value)})`);
    }
  }
  refuse(problems);
  const settings = Object.fromEntries(values) as unknown as Settings;
  const members = membersOf(settings, problems);
  checkRelations(settings, problems);
  refuse(problems);
  return { config: { ...settings, members }, origins };
}

interface Entry {
  readonly key: SettingKey;
  readonly value: unknown;
  readonly origin: Origin;
  /** How to name it in an error. */
  readonly source: string;
}

function fromFile(sources: ConfigSources, problems: string[]): Entry[] {
  const file = sources.file ?? sources.env?.[CONFIG_FILE_ENV];
  if (file === undefined || file === '') return [];
  const content = readYaml(file, problems);
  const entries: Entry[] = [];
  for (const [key, value] of Object.entries(content)) {
    if (isSettingKey(key)) entries.push({ key, value, origin: 'file', source: `file ${file}, key ${key}` });
    else problems.push(`file ${file}: unknown key ${shortly(key)}${didYouMean(key, settingKeys)}`);
  }
  return entries;
}

function readYaml(file: string, problems: string[]): Record<string, unknown> {
  try {
    const content: unknown = parseYaml(readFileSync(file, 'utf8'));
    if (content === null || content === undefined) return {};
    if (typeof content === 'object' && !Array.isArray(content)) return content as Record<string, unknown>;
    problems.push(`file ${file}: must be a map of keys to values`);
  } catch (error) {
    problems.push(`file ${file}: ${messageOf(error).split('\n')[0]}`);
  }
  return {};
}

function fromEnv(sources: ConfigSources, problems: string[]): Entry[] {
  const keys = new Map(settingKeys.map((key) => [envNameOf(key), key]));
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(sources.env ?? {})) {
    if (!name.startsWith('TLEDGER_') || value === undefined || OTHER_ENV_NAMES.has(name)) continue;
    const key = keys.get(name);
    if (key !== undefined) entries.push({ key, value, origin: 'environment', source: `environment ${name}` });
    else if (!SERVICE_LINK.test(name)) {
      problems.push(`environment: unknown variable ${name}${didYouMean(name, keys.keys())}`);
    }
  }
  return entries;
}

function fromFlags(sources: ConfigSources): Entry[] {
  return settingKeys
    .map((key) => ({ key, value: sources.flags?.[key], origin: 'flag' as const, source: `flag ${flagOf(key)}` }))
    .filter((entry) => entry.value !== undefined);
}

/** Joins the two address lists; a node without peers is a group of its own. */
function membersOf(settings: Settings, problems: string[]): MemberConfig[] {
  const { nodeId, clientListen, peerListen } = settings;
  if (settings.join) {
    const given = (['peers', 'clientAddresses'] as const).filter((key) => settings[key].length > 0);
    if (given.length > 0)
      problems.push(`${given.join(' and ')} must be empty with join: the group tells who its members are`);
    return [];
  }
  const clients = new Map(settings.clientAddresses.map((member) => [member.nodeId, member.address]));
  if (settings.peers.length === 0) {
    const extra = [...clients.keys()].filter((id) => id !== nodeId);
    if (extra.length > 0) problems.push(`clientAddresses names ${extra.join(', ')}, but peers is empty`);
    return [{ nodeId, peerAddress: peerListen, clientAddress: clients.get(nodeId) ?? clientListen }];
  }
  const peerIds = new Set(settings.peers.map((member) => member.nodeId));
  if (!peerIds.has(nodeId)) problems.push(`nodeId ${nodeId} is not among peers (${[...peerIds].join(', ')})`);
  const lacking = [...peerIds].filter((id) => !clients.has(id));
  if (lacking.length > 0) problems.push(`clientAddresses lacks ${lacking.join(', ')}, which peers names`);
  const unknown = [...clients.keys()].filter((id) => !peerIds.has(id));
  if (unknown.length > 0) problems.push(`clientAddresses names ${unknown.join(', ')}, which peers does not`);
  return settings.peers.map((member) => ({
    nodeId: member.nodeId,
    peerAddress: member.address,
    clientAddress: clients.get(member.nodeId) ?? clientListen,
  }));
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  const head = problems.length === 1 ? '' : `${problems.length} problems:\n  `;
  throw new TLedgerError('INVALID_CONFIG', `Configuration: ${head}${problems.join('\n  ')}`);
}

function isSettingKey(key: string): key is SettingKey {
  return (settingKeys as readonly string[]).includes(key);
}

function didYouMean(name: string, candidates: Iterable<string>): string {
  const nearest = nearestName(name, candidates);
  return nearest === undefined ? '' : `; did you mean ${nearest}?`;
}

function shortly(value: unknown): string {
  const shown = JSON.stringify(value) ?? String(value);
  return shown.length > 80 ? `${shown.slice(0, 77)}…` : shown;
}
