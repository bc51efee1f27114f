// The built program, as users run it: sources run through a loader cost time and wake-ups of their own.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cluster = new URL('../../dist/server/local_cluster.js', import.meta.url);
const client = new URL('../../dist/client/index.js', import.meta.url);

/** `LocalCluster` whose nodes run the build in dist. @throws Error when there is none. */
export async function builtCluster(): Promise<typeof import('../../src/server/local_cluster.ts').LocalCluster> {
  if (!existsSync(fileURLToPath(cluster))) throw new Error('there is no build: npm run build');
  const built = (await import(cluster.href)) as typeof import('../../src/server/local_cluster.ts');
  return built.LocalCluster;
}

/** `TLedgerClient` of the build in dist. @throws Error when there is none. */
export async function builtClient(): Promise<typeof import('../../src/client/index.ts').TLedgerClient> {
  if (!existsSync(fileURLToPath(client))) throw new Error('there is no build: npm run build');
  const built = (await import(client.href)) as typeof import('../../src/client/index.ts');
  return built.TLedgerClient;
}
