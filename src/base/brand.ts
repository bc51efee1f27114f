// Branded numbers: an index, an offset, a count and a size are all `number` at run time, but mixing them does not
// compile. The constructors of each kind stand beside the kind itself (raft/types.ts, format/record.ts, format/message.ts).

declare const brand: unique symbol;

/** A `T` that only code naming the brand `B` may produce. */
export type Brand<T, B extends string> = T & { readonly [brand]: B };
