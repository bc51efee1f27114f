// grpc.health.v1: whether a node, or one of its services, serves.
import type { MethodDefinition } from '@grpc/grpc-js';
import { HealthImplementation, service } from 'grpc-health-check';

export { HealthImplementation };

/** Full names of the services whose state is reported one by one; '' stands for the node as a whole. */
export const healthServices = [
  '',
  'tledger.v1.Ledger',
  'tledger.v1.Admin',
  'apache.rocketmq.v2.MessagingService',
] as const;

/** A health service that reports NOT_SERVING until told otherwise. */
export function newHealth(): HealthImplementation {
  return new HealthImplementation(Object.fromEntries(healthServices.map((name) => [name, 'NOT_SERVING'])));
}

/** Sets all services at once. */
export function setServing(health: HealthImplementation, serving: boolean): void {
  for (const name of healthServices) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
}

/** `grpc.health.v1.Health/Check`, for those who ask. */
export const healthMethod = service.Check as MethodDefinition<
  { readonly service: string },
  { readonly status: 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN' }
>;
