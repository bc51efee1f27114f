// grpc.health.v1 asked once, for probes.
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import { clientChannelOptions } from '../wire/channel_options.ts';
import { healthMethod } from '../wire/health.ts';

/**
 * Whether the node at `endpoint` serves.
 * @returns SERVING, or NOT_SERVING while nobody leads the group or the node is stopping.
 * @throws TLedgerError UNREACHABLE when it does not answer within `timeoutMs`.
 */
export function checkHealth(endpoint: string, timeoutMs: number): Promise<string> {
  const client = new Client(endpoint, credentials.createInsecure(), clientChannelOptions);
  const { path, requestSerialize, responseDeserialize } = healthMethod;
  return new Promise<string>((resolve, reject) => {
    const options = { deadline: Date.now() + timeoutMs };
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { service: '' },
      options,
      (error, response) => {
        if (error === null) resolve(response!.status);
        else reject(new TLedgerError('UNREACHABLE', `${endpoint}: ${(error as ServiceError).details}`, error));
      },
    );
  }).finally(() => client.close());
}
