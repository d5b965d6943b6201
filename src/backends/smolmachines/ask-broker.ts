import { connect, type Socket } from 'node:net';
import { frame, FrameReader, frameTypes } from './frames.ts';
import { parseStanding, type Standing } from './standing.ts';

/** A broker answers from memory; a process that is stopped, or swapped out, may need its time. Milliseconds. */
const answerMs = 5_000;

/** How a session stands, as its broker tells. `undefined`: nobody holds it. */
export async function askBroker(path: string): Promise<Standing | undefined> {
  const socket = connect(path);
  const reader = new FrameReader();
  const answered = new Promise<Standing | undefined>((resolve) => {
    socket.on('data', (bytes: Buffer) => {
      for (const { type, payload } of reader.push(bytes)) {
        if (type === frameTypes.standing) resolve(parseStanding(payload.toString('utf8')));
      }
    });
    closing(socket, () => resolve(undefined));
  });
  socket.write(frame('query'));
  const standing = await answered;
  socket.destroy();
  return standing;
}

/** Sends a signal to the command of a session that another process holds. One that nobody holds is no error. */
export async function signalThroughBroker(path: string, number: number): Promise<void> {
  const socket = connect(path);
  const closed = new Promise<void>((resolve) => closing(socket, resolve));
  socket.end(frame('signal', Uint8Array.of(number)));
  socket.resume();
  await closed;
}

function closing(socket: Socket, then: () => void): void {
  socket.setTimeout(answerMs, () => socket.destroy());
  socket.on('error', () => undefined);
  socket.on('close', then);
}
