// Network addresses as people write them: `host:port`, IPv6 in brackets. gRPC takes the same text on both ends.
import type { Brand } from './brand.ts';
import { TLedgerError } from './errors.ts';

/** A checked `host:port`; an IPv6 host stands in brackets. */
export type Address = Brand<string, 'Address'>;

/** The two parts of an address; an IPv6 host without its brackets. */
export interface HostPort {
  readonly host: string;
  /** 0 lets the system choose a free port where that makes sense. */
  readonly port: number;
}

const PORT_MAX = 65_535;
const IPV6 = /^\[([0-9a-fA-F:.%]+)\]:(\d{1,5})$/;
const NAME_OR_IPV4 = /^([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})):(\d{1,5})$/;

/** Checks and brands an address. @throws TLedgerError INVALID_CONFIG when `text` is not `host:port`. */
export function parseAddress(text: string): Address {
  const parts = IPV6.exec(text) ?? NAME_OR_IPV4.exec(text);
  if (parts === null) {
    throw new TLedgerError('INVALID_CONFIG', `${JSON.stringify(text)} is not host:port (IPv6 hosts go in brackets)`);
  }
  if (Number(parts[2]) > PORT_MAX) {
    throw new TLedgerError('INVALID_CONFIG', `port ${parts[2]} of ${JSON.stringify(text)} exceeds ${PORT_MAX}`);
  }
  return text as Address;
}

/** Hosts that mean "every address of this machine": something to listen on, and nowhere to go. */
const WILDCARD = /^(?:::ffff:)?[0.:]+(?:%.*)?$/i;

/**
 * Checks an address that others are told to go to.
 * @throws TLedgerError INVALID_CONFIG when `text` is not `host:port`, has port 0, or is a wildcard (0.0.0.0, [::]).
 */
export function parseDestination(text: string): Address {
  const address = parseAddress(text);
  const { host, port } = splitAddress(address);
  if (port > 0 && !WILDCARD.test(host)) return address;
  throw new TLedgerError(
    'INVALID_CONFIG',
    `${JSON.stringify(text)} is something to listen on, not where others reach a node`,
  );
}

/** The parts of a checked address. */
export function splitAddress(address: Address): HostPort {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  return { host, port: Number(address.slice(colon + 1)) };
}

/** The address of a host and a port; brackets are added to IPv6 hosts. */
export function joinAddress(host: string, port: number): Address {
  return parseAddress(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
}
