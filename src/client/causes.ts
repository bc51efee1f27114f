// Why nodes cannot be reached, for people who wait: grpc-js only says that when a call fails.
import { adminService } from '../wire/services.ts';
import { errorOf } from '../wire/status.ts';
import type { Endpoint } from './endpoint.ts';
import { unary } from './unary.ts';

/** How long each is asked. */
const ASK_TIMEOUT_MS = 150;
const CAUSE_LENGTH_MAX = 120;

const known: readonly (readonly [RegExp, string])[] = [
  [/ECONNREFUSED/, 'connection refused'],
  [/ENOTFOUND|EAI_AGAIN|Name resolution failed/, 'no such host'],
  [/EHOSTUNREACH|ENETUNREACH/, 'no way to that host'],
  [/Deadline exceeded|ETIMEDOUT/i, 'no answer'],
  [/ECONNRESET|EPIPE|Protocol error|PROTOCOL_ERROR/, 'something else answers there, or the connection broke'],
];

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

/** What went wrong, in a few words. */
export function shortly(text: string): string {
  const words = known.find(([pattern]) => pattern.test(text))?.[1];
  return words ?? (text.length > CAUSE_LENGTH_MAX ? `${text.slice(0, CAUSE_LENGTH_MAX - 1)}…` : text);
}
