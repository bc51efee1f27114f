// The stream on which a client tells what it is, and is told things, for as long as it lives (ROCKETMQ §4.1).
import { Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Settings } from '../../wire/rocketmq/definitions.ts';
import type { TelemetryCommand } from '../../wire/rocketmq/service_messages.ts';
import { type Incoming, wellFormed } from '../../wire/services.ts';
import { OpenCall } from '../calls.ts';
import { failureStatus } from './answering.ts';
import { type Caller, callerOf } from './caller.ts';
import type { CommandStream } from './clients.ts';
import type { Edge } from './edge.ts';
import { okStatus } from './status.ts';

type Call = ServerDuplexStream<Incoming<TelemetryCommand>, TelemetryCommand>;

const WHERE = 'Telemetry';

/** Serves the stream until either side ends it. */
export function telemetryHandler(edge: Edge): (call: Call) => void {
  return (call) => {
    // Some clients wait for the headers before they say anything.
    call.sendMetadata(new Metadata());
    call.on('error', () => {});
    let caller: Caller;
    let open: OpenCall;
    try {
      caller = callerOf(call);
      open = new OpenCall(edge.context, call);
    } catch (error) {
      call.write({ status: failureStatus(edge.context, WHERE, error) });
      call.end();
      return;
    }
    serve(edge, call, open, caller);
  };
}

function serve(edge: Edge, call: Call, open: OpenCall, caller: Caller): void {
  const { clients, context } = edge;
  const send = (command: TelemetryCommand): void => {
    if (!open.isOver) call.write(command);
  };
  const stream: CommandStream = { send };
  let detach = (): void => {};
  open.whenOver(() => detach());
  const end = (): void => {
    if (!open.isOver) call.end();
    open.close();
  };
  const onSettings = (settings: Settings): void => {
    const client = clients.register(caller, settings);
    detach();
    detach = clients.attach(caller, stream);
    send({ status: okStatus, settings: edge.settings.of(client) });
  };
  call.on('data', (incoming: Incoming<TelemetryCommand>) => {
    if (open.isOver) return;
    try {
      const { settings } = wellFormed(incoming);
      clients.touch(caller);
      if (settings !== undefined) onSettings(settings);
    } catch (error) {
      // Said on the stream: a client that is starting hears it, where it would open an ended stream again for ever.
      send({ status: failureStatus(context, WHERE, error) });
    }
  });
  call.on('end', end);
  open.onDrain(() => {
    // Whoever knows the command goes to wherever it is served again; the others see the stream end. The Node client, which
    // opens the stream again anyway, would let go of it unwatched, and die of its next error.
    if (!isOfNode(caller)) send({ reconnectEndpointsCommand: { nonce: edge.gateway.nodeId } });
    end();
  });
}

/** The Node client gives itself out as another one in its headers (ROCKETMQ §1.4). */
function isOfNode({ language }: Caller): boolean {
  return language === 'HTTP' || language === 'NODE_JS';
}
