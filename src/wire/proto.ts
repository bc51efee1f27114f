// The only reader of /proto. Everything else gets typed definitions from services.ts.
import { fileURLToPath } from 'node:url';
import {
  loadSync,
  type MessageTypeDefinition,
  type PackageDefinition,
  type ServiceDefinition,
} from '@grpc/proto-loader';
import { assert } from '../base/assert.ts';

/** Holds from src/wire and from dist/wire alike. */
const PROTO_DIR = fileURLToPath(new URL('../../proto', import.meta.url));

/**
 * All services, as the reflection service wants them. Decoded objects are complete: every scalar has its default,
 * lists are empty rather than absent, an unset message is null, 64-bit integers are text, enums are names (numbers where
 * this definition has no name), members of a `oneof` and `optional` fields are absent unless they were sent, and a `oneof`
 * carries the name of the member that was set.
 */
export const packageDefinition: PackageDefinition = loadSync(
  ['tledger/v1/ledger.proto', 'tledger/v1/admin.proto', 'tledger/v1/peer.proto', 'apache/rocketmq/v2/service.proto'],
  { includeDirs: [PROTO_DIR], keepCase: false, longs: String, enums: String, defaults: true, oneofs: true },
);

/** Encodes and decodes one kind of message. */
export interface Codec<T> {
  /** @throws Error when a field has the wrong type. */
  encode(message: T): Buffer;
  /** @throws Error when the bytes are not well-formed. Byte fields are views of `bytes`, not copies. */
  decode(bytes: Buffer): T;
}

/** The codec of `tledger.v1.<name>`; `T` is what messages.ts declares for it. */
export function codecOf<T>(name: string): Codec<T> {
  const definition = packageDefinition[`tledger.v1.${name}`] as MessageTypeDefinition<object, object> | undefined;
  assert(definition?.serialize !== undefined, () => `proto has no message ${name}`);
  return {
    encode: (message) => definition.serialize(message as object),
    decode: (bytes) => definition.deserialize(bytes) as T,
  };
}

/** The service of that full name. */
export function serviceOf(name: string): ServiceDefinition {
  const definition = packageDefinition[name];
  assert(definition !== undefined && !('format' in definition), () => `proto has no service ${name}`);
  return definition as ServiceDefinition;
}
