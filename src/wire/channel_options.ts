// How connections behave, on both ends. grpc-js leaves most of this unlimited or off.
import type { ChannelOptions, ServerOptions } from '@grpc/grpc-js';
import {
  CLIENT_STREAMS_MAX,
  CONCURRENT_STREAMS_MAX,
  FLOW_CONTROL_WINDOW_BYTES,
  GRPC_MESSAGE_BYTES_MAX,
} from './limits.ts';

const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;
const CONNECTION_IDLE_MS = 300_000;
/**
 * In megabytes. Node counts what is queued for sending, and beyond it refuses new streams of the connection; it must
 * leave room for several slow readers with full windows (Node's own 10 MB are one window).
 */
const SESSION_MEMORY_MB = 64;

/** Of a connection that clients and peers open. A dead node is noticed in 15 s at worst, retried within 1 s. */
export const clientChannelOptions: ChannelOptions = {
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': GRPC_MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.dns_min_time_between_resolutions_ms': 1_000,
  // Retries are ours: only we know which requests have effects.
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** Of a port that only members use. A quiet connection stays open. */
export const peerPortOptions: ServerOptions = {
  'grpc.max_concurrent_streams': CONCURRENT_STREAMS_MAX,
  'grpc.max_receive_message_length': GRPC_MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': GRPC_MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc-node.max_session_memory': SESSION_MEMORY_MB,
};

/** Of a port that clients use: the same, but a connection without calls is closed after a while. */
export const clientPortOptions: ServerOptions = {
  ...peerPortOptions,
  'grpc.max_concurrent_streams': CLIENT_STREAMS_MAX,
  'grpc.max_connection_idle_ms': CONNECTION_IDLE_MS,
};
