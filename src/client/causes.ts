// Why nodes cannot be reached, for people who wait: grpc-js only says that when a call fails.
import { adminService } from '../wire/services.ts';
import { errorOf } from '../wire/status.ts';
import type { Endpoint } from './endpoint.ts';
import { shortly } from './shortly.ts';
import { unary } from './unary.ts';

/** How long each is asked. */
const ASK_TIMEOUT_MS = 150;

/** `host:port: why`, for each of them; those that do answer are left out. */
export async function whyUnreachable(endpoints: readonly Endpoint[], closing: AbortSignal): Promise<string[]> {
  const causes = await Promise.all(
    endpoints.map(async (endpoint) => {
      try {
        const options = { deadlineMs: Date.now() + ASK_TIMEOUT_MS, signals: [closing] };
        await unary(endpoint, adminService.clusterStatus, { localOnly: true }, options);
        return [];
      } catch (error) {
        return [`${endpoint.address}: ${shortly(errorOf(error).message)}`];
      }
    }),
  );
  return causes.flat();
}
