// What a client asks for in its settings, and what it gets back to go by (ROCKETMQ §4.1). Resources are echoed as they came:
// some clients take over the namespace they find there.
import { TLedgerError } from '../../base/errors.ts';
import { type GroupInfo, type RetryPolicy as GroupRetryPolicy, groupDefaults } from '../../broker/consuming/groups.ts';
import { messageLimits } from '../../format/limits.ts';
import { consumingLimits } from '../../replica/consuming/types.ts';
import type {
  ClientType,
  ExponentialBackoff,
  RetryPolicy,
  Settings,
  Subscription,
} from '../../wire/rocketmq/definitions.ts';
import type { Caller } from './caller.ts';
import { isNamed } from './enums.ts';
import { groupKey, topicKey } from './namespaces.ts';
import { durationOf } from './times.ts';

/** How long a poll of a push consumer waits. */
export const POLLING_MS_MAX = 20_000;
/** Topics in the settings of one client. */
export const SETTINGS_TOPICS_MAX = 1_000;
/** Characters of all that a client says of itself: it is kept for as long as the client lives. */
export const SETTINGS_CHARACTERS_MAX = 256 * 1_024;

const LITE = { subscriptionQuota: 2_000, topicSizeMax: 64 } as const;
const PRODUCER_ATTEMPTS_MAX = 3;

/** What of its settings a node goes by itself. */
export interface ClientRole {
  readonly type: ClientType;
  /** What the topics it publishes to are called here, by how it names them. */
  readonly publishes: ReadonlyMap<string, Topic>;
  /** What the topics it subscribes to are called here. */
  readonly subscribes: readonly string[];
  /** Its consumer group as it is called here; '' for producers. */
  readonly group: string;
}

type Topic = NonNullable<Settings['publishing']>['topics'][number];

/** What a client is, by its settings. @throws TLedgerError UNRECOGNIZED_CLIENT, ILLEGAL_TOPIC, ILLEGAL_GROUP, INVALID_ARGUMENT */
export function roleOf(settings: Settings, caller: Caller): ClientRole {
  const size = JSON.stringify(settings).length;
  if (size > SETTINGS_CHARACTERS_MAX) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `settings of ${size} characters; at most ${SETTINGS_CHARACTERS_MAX} are allowed`,
    );
  }
  const { publishing, subscription, clientType: type = 'CLIENT_TYPE_UNSPECIFIED' } = settings;
  if (!isNamed(type)) throw new TLedgerError('UNRECOGNIZED_CLIENT', `the type of client ${type} is not known`);
  if (publishing !== undefined) {
    checkCount(publishing.topics.length);
    const publishes = new Map(publishing.topics.map((topic) => [topicKey(topic, caller), topic]));
    return { type: type === 'CLIENT_TYPE_UNSPECIFIED' ? 'PRODUCER' : type, publishes, subscribes: [], group: '' };
  }
  if (subscription === undefined) {
    throw new TLedgerError('UNRECOGNIZED_CLIENT', 'settings name neither publishing nor subscription');
  }
  checkCount(subscription.subscriptions.length);
  const subscribes = subscription.subscriptions.map(({ topic }) => topicKey(topic, caller));
  return { type, publishes: new Map(), subscribes, group: groupKey(subscription.group, caller) };
}

function checkCount(count: number): void {
  if (count <= SETTINGS_TOPICS_MAX) return;
  throw new TLedgerError(
    'INVALID_ARGUMENT',
    `settings name ${count} topics; at most ${SETTINGS_TOPICS_MAX} are allowed`,
  );
}

/** What the client is to go by. @param group its consumer group; the defaults when nobody made it yet. */
export function mergedSettings(settings: Settings, group: GroupInfo | undefined): Settings {
  const common = { ...settings, metric: { on: false } };
  if (settings.publishing !== undefined) {
    return {
      ...common,
      backoffPolicy: {
        maxAttempts: PRODUCER_ATTEMPTS_MAX,
        exponentialBackoff: { initial: durationOf(10), max: durationOf(1_000), multiplier: 2 },
      },
      publishing: { ...settings.publishing, maxBodySize: messageLimits.bodyBytesMax, validateMessageType: true },
    };
  }
  const { attemptsMax, retryPolicy, isFifo } = group ?? groupDefaults;
  return {
    ...common,
    backoffPolicy: { maxAttempts: attemptsMax, ...backoffOf(retryPolicy, settings) },
    subscription: subscriptionOf(settings.subscription!, settings.clientType, isFifo),
  };
}

function subscriptionOf(asked: Subscription, type: ClientType | undefined, isFifo: boolean): Subscription {
  const isLite = type === 'LITE_PUSH_CONSUMER' || type === 'LITE_SIMPLE_CONSUMER';
  return {
    ...asked,
    // Lite topics are in order whatever their group is.
    fifo: isFifo || isLite,
    receiveBatchSize: consumingLimits.popCountMax,
    longPollingTimeout: durationOf(POLLING_MS_MAX),
    ...(isLite ? { liteSubscriptionQuota: LITE.subscriptionQuota, maxLiteTopicSize: LITE.topicSizeMax } : {}),
  };
}

/** What clients get that cannot count steps. */
const exponentialDefault: ExponentialBackoff = {
  initial: durationOf(5_000),
  max: durationOf(7_200_000),
  multiplier: 2,
};

/** The Node client knows the exponential kind only: it would do without any for the other (ROCKETMQ §4.1). */
function backoffOf(policy: GroupRetryPolicy, { userAgent }: Settings): Omit<RetryPolicy, 'maxAttempts'> {
  if (policy.kind === 'exponential') {
    const { initialMs, maxMs, multiplier } = policy;
    return { exponentialBackoff: { initial: durationOf(initialMs), max: durationOf(maxMs), multiplier } };
  }
  if (userAgent?.language === 'NODE_JS') return { exponentialBackoff: exponentialDefault };
  return { customizedBackoff: { next: policy.stepsMs.map(durationOf) } };
}
