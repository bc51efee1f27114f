// Names of properties that brokers and RocketMQ's protocol give meaning to, beside tag, keys and producer stamp (ROCKETMQ
// §6.2). Users may not set reserved ones (limits.ts).

/** See the head of the file. */
export const brokerProperty = {
  /** Messages of one group are in one queue, in order. Shown to consumers, also as a user's property. */
  messageGroup: '__SHARDINGKEY',
  /** A delayed message: when it is due, milliseconds since the epoch. */
  deliverAtMs: 'TIMER_DELIVER_MS',
  /** `true`: half of a transaction, or one that was committed. */
  transaction: 'TRAN_MSG',
  /** After how many seconds the producer of a half is asked. */
  recoverySeconds: 'CHECK_IMMUNITY_TIME_IN_SECONDS',
  /** Of a committed transaction; shown to consumers as a user's property. */
  transactionId: '__transactionId__',
  bornHost: '__BORNHOST',
  traceContext: 'TRACE_CONTEXT',
  /** `GZIP` when the body is compressed so; bodies are stored as they came. */
  bodyEncoding: '__ENCODING',
  priority: '_SYS_MSG_PRIORITY_',
  liteTopic: '__LITE_TOPIC',
  /** Where a dead letter comes from. */
  deadLetterTopic: 'DLQ_ORIGIN_TOPIC',
  deadLetterId: 'DLQ_ORIGIN_MESSAGE_ID',
  /** What else happens when the record is applied (broker/effects.ts). */
  effect: '__EFFECT',
} as const;
