// What the parts of the service stand on.
import type { Clock } from '../../base/clock.ts';
import type { CallContext } from '../calls.ts';
import type { Gateway } from '../gateway.ts';
import type { Clients } from './clients.ts';
import type { GroupSettings } from './group_settings.ts';
import type { LeaderAsks } from './leader_asks.ts';
import type { LiteSubscriptions } from './lite_subscriptions.ts';
import type { Renewals } from './renewals.ts';
import type { Returns } from './returns.ts';

/** What all parts of the service share. */
export interface Edge {
  readonly gateway: Gateway;
  readonly context: CallContext;
  readonly clock: Clock;
  readonly asks: LeaderAsks;
  readonly clients: Clients;
  readonly settings: GroupSettings;
  readonly renewals: Renewals;
  readonly returns: Returns;
  readonly lite: LiteSubscriptions;
}
