// The built program, as users run it: sources run through a loader cost time and wake-ups of their own.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cluster = new URL('../../dist/server/local_cluster.js', import.meta.url);

/** `LocalCluster` whose nodes run the build in dist. @throws Error when there is none. */
export async function builtCluster(): Promise<typeof import('../../src/server/local_cluster.ts').LocalCluster> {
  if (!existsSync(fileURLToPath(cluster))) throw new Error('there is no build: npm run build');
  const built = (await import(cluster.href)) as typeof import('../../src/server/local_cluster.ts');
  return built.LocalCluster;
}
