// What a member that repairs its data asks of the others, over gRPC; and how they answer.
import { TLedgerError } from '../base/errors.ts';
import { logIndex, type NodeId, term } from '../raft/types.ts';
import type { RecordsAnswer, SnapshotAnswer } from '../replica/repair_answers.ts';
import type { RepairPeers } from '../replica/repair_sources.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import type { FetchRecordsResponse, FetchSnapshotResponse } from '../wire/peer_messages.ts';
import { errorOf } from '../wire/status.ts';
import type { PeerLink } from './peer_link.ts';

/** How long a peer may take to give one piece: its disk may be busy with what it serves. */
const FETCH_TIMEOUT_MS = 5_000;

/** The message about records. */
export function toRecordsResponse(answer: RecordsAnswer): FetchRecordsResponse {
  const { previous, records } = answer;
  return {
    baseIndex: String(answer.baseIndex),
    lastIndex: String(answer.lastIndex),
    committedIndex: String(answer.committedIndex),
    committedTerm: String(answer.committedTerm),
    hasPrevious: previous !== null,
    previousTerm: String(previous?.term ?? 0),
    previousChainCrc: previous?.chainCrc ?? 0,
    records,
  };
}

/** The message about a piece of a snapshot. */
export function toSnapshotResponse(answer: SnapshotAnswer | null): FetchSnapshotResponse {
  if (answer === null) return { index: '0', term: '0', sizeBytes: '0', piece: Buffer.alloc(0) };
  const { index, term, sizeBytes, piece } = answer;
  return { index: String(index), term: String(term), sizeBytes: String(sizeBytes), piece };
}

/** The other members as sources; links are looked up for every call. */
export function grpcRepairPeers(list: () => readonly NodeId[], linkTo: (peer: NodeId) => PeerLink): RepairPeers {
  return {
    list,
    fetchRecords: (peer, firstIndex, bytesMax) =>
      asked(async () => {
        const request = { firstIndex: String(firstIndex), maxBytes: bytesMax };
        return fromRecordsResponse(await linkTo(peer).fetchRecords(request, FETCH_TIMEOUT_MS));
      }),
    fetchSnapshot: (peer, index, offset) =>
      asked(async () => {
        const request = { index: String(index ?? 0), offset: String(offset) };
        return fromSnapshotResponse(await linkTo(peer).fetchSnapshot(request, FETCH_TIMEOUT_MS));
      }),
  };
}

/** What is wrong at a peer must not be taken for a failure of this node. @throws TLedgerError UNREACHABLE */
async function asked<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw new TLedgerError('UNREACHABLE', errorOf(error).message, error);
  }
}

function fromRecordsResponse(response: FetchRecordsResponse): RecordsAnswer {
  const { hasPrevious, previousChainCrc, records } = response;
  const previous = { term: term(uint64ToNumber(response.previousTerm, 'previous_term')), chainCrc: previousChainCrc };
  return {
    baseIndex: logIndex(uint64ToNumber(response.baseIndex, 'base_index')),
    lastIndex: logIndex(uint64ToNumber(response.lastIndex, 'last_index')),
    committedIndex: logIndex(uint64ToNumber(response.committedIndex, 'committed_index')),
    committedTerm: term(uint64ToNumber(response.committedTerm, 'committed_term')),
    previous: hasPrevious ? previous : null,
    records,
  };
}

function fromSnapshotResponse(response: FetchSnapshotResponse): SnapshotAnswer | null {
  const index = uint64ToNumber(response.index, 'index');
  if (index === 0) return null;
  return {
    index: logIndex(index),
    term: term(uint64ToNumber(response.term, 'term')),
    sizeBytes: uint64ToNumber(response.sizeBytes, 'size_bytes'),
    piece: response.piece,
  };
}
