// Sizes of what travels between clients and nodes, in one place. What a broker accepts of a message stands in
// format/limits.ts; these are the bounds of the transport around it.
import { assert } from '../base/assert.ts';
import { messageLimits } from '../format/limits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Largest gRPC message between client and node: a batch of the largest size, and what surrounds it. */
export const GRPC_MESSAGE_BYTES_MAX = 8 * MIB;
/** Largest request of RocketMQ's protocol: as its proxy, which refuses most of that in the answer (ROCKETMQ §1.1). */
export const ROCKETMQ_REQUEST_BYTES_MAX = 130 * MIB;
/** HTTP/2 window of a stream and of a connection, on both ends; the default of 64 KiB costs a factor of five. */
export const FLOW_CONTROL_WINDOW_BYTES = 8 * MIB;
/** Streams that one connection between nodes may have open. */
export const CONCURRENT_STREAMS_MAX = 128;
/**
 * Streams that one connection of a client may have open: RocketMQ's consumers of a group in order have one poll waiting for
 * each queue, and their other calls must find room beside these.
 */
export const CLIENT_STREAMS_MAX = 1_024;
/** Longest wait of a `Pull`, in milliseconds. */
export const PULL_WAIT_MS_MAX = 60_000;
/** What a `Pull` or `Consume` response holds unless the caller says otherwise. */
export const PULL_BYTES_DEFAULT = 1 * MIB;
/** How many messages a `Pull` response holds unless the caller says otherwise. */
export const PULL_COUNT_DEFAULT = 256;
/** How many messages a `Query` response holds unless the caller says otherwise. */
export const QUERY_COUNT_DEFAULT = 32;
/** How many it holds at most. */
export const QUERY_COUNT_MAX = 1_000;

assert(
  GRPC_MESSAGE_BYTES_MAX > messageLimits.batchBytesMax + MIB,
  'a largest batch must fit into a gRPC message, with room for what surrounds it',
);
