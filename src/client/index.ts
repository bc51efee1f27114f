// The package's public API.
export { type ErrorCode, TLedgerError } from '../base/errors.ts';
export type { StoredMessage } from '../format/message.ts';
export type {
  BackupDone,
  BackupProgress,
  ClusterStatusResponse,
  CreateTopicResponse,
  GroupMember,
  Membership,
  NodeStatus,
  ReplicaDigest,
  TransferLeadershipResponse,
  VerifyLogResponse,
} from '../wire/admin_messages.ts';
export type { Leader, Member, MemberRole, MetadataResponse, QueueRange, Topic } from '../wire/ledger_messages.ts';
export { Admin, type AdminCallOptions, type ClientList, type ReadCallOptions } from './admin.ts';
export type { BackupWish } from './backup.ts';
export type { Done } from './batch.ts';
export { TLedgerClient } from './client.ts';
export type { MessageBatch, PullOptions, PullResult } from './consumer.ts';
export type { ChangeMembersOptions, MemberAddresses, MembersChanged, MembershipWish } from './membership.ts';
export type { BatchReceipt, MessageToSend, SendReceipt } from './message_to_send.ts';
export type { ClientOptions, ConsumeOptions, ProducerOptions, StartPosition } from './options.ts';
export { Producer } from './producer.ts';
export type { FindOffsetOptions, FoundMessage, QueryOptions, QueryResult } from './queries.ts';
export type { RecordsAppended, RecordsRead, RecordsToAppend } from './records.ts';
export { queueOfKey } from './topics.ts';
