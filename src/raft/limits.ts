// Limits of the consensus core that are not worth an option: bounds on what waits, and the pace of early campaigns.

/** Reads that may wait for their confirmation on one leader; beyond it `readIndex` throws OVERLOADED. */
export const pendingReadsMax = 10_000;

/**
 * Delay, in milliseconds, between a follower seeing its leader's connection drop and its first pre-vote. The spread
 * keeps two followers that saw it at the same instant from splitting the vote.
 */
export const earlyCampaignDelayMsMin = 5;
export const earlyCampaignDelayMsMax = 60;

/** Delay, in milliseconds, between two early attempts: longer than a vote's round trip with its flush. */
export const earlyRetryDelayMsMin = 50;
export const earlyRetryDelayMsMax = 150;

/** Early attempts after one connection drop; then only the normal election timeouts remain. */
export const earlyCampaignCountMax = 5;

/**
 * What a record of the leader's own counts for in a follower's window, in bytes. It leaves in the same Ready that tells
 * the owner to write it, so the sizer cannot know it yet.
 */
export const noopSizeBytes = 48;
export const membershipSizeBytes = 2048;

/** Most members of one group, learners included. */
export const membersMax = 15;

/** Longest pause, in heartbeats, until an unanswered probe, or piece of a snapshot, is sent again. */
export const pauseRoundsMax = 8;

/**
 * How often in a heartbeat round a refusal may start a follower's pipeline anew; after that it waits for the next round.
 * A transport that overtakes and repeats messages would else be answered each refusal with another window of appends,
 * each of which brings more refusals.
 */
export const restartsPerRoundMax = 8;

/** Share of the lease that is given up for the difference between two members' clocks. */
export const leaseMarginShare = 0.1;
/** Rounds whose beginnings are remembered for the lease. */
export const leaseRoundsMax = 64;

/** Election timeouts (the longest) between two attempts to hand over to a preferred leader; doubles with each. */
export const preferredPauseTimeouts = 4;
export const preferredPauseTimeoutsMax = 64;
