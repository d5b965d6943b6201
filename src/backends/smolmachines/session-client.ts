import { connect } from 'node:net';
import { constants } from 'node:os';
import { startDaemon } from '../../process/daemon.ts';
import type { SessionKind } from '../init-arguments.ts';
import { flush, Front, writeThrough } from './front.ts';
import { frame, FrameReader, frameTypes } from './frames.ts';

// The program that has the user's terminal while they are attached to a bottle in a machine. Kept small: it is started
// each time, and waited for.
//
//   attach SOCKET start|join       to the bottle's own command, at its broker
//   direct KIND PROGRAM ARG...     to a further program, through smolvm itself

/** As SIGKILL leaves it: the bottle went away under it. */
const killed = 137;
/** As bottle-init has it for a failure of its own. */
const unable = 125;
/** 128 and SIGPIPE, as a shell has it. */
const readerGone = 141;

/** As the hanging up of its terminal leaves a program. */
const hungUp = 128 + constants.signals.SIGHUP;

let isOver = false;
let front: Front | undefined;

/** Gives the terminal back and ends. The first who says so decides. */
async function finish(code: number, words?: string): Promise<void> {
  if (isOver) return;
  isOver = true;
  front?.[Symbol.dispose]();
  if (words !== undefined) process.stderr.write(`claude-bottle: ${words}\n`);
  await flush();
  process.exit(code);
}

function attach(path: string, how: string): void {
  const socket = connect(path);
  const reader = new FrameReader();
  let kind: SessionKind | undefined;
  const open = (word: string) => {
    kind = word === 'terminal' ? 'terminal' : 'pipes';
    front = Front.open(
      {
        send: (bytes) => socket.write(bytes),
        onDrain: (take) => socket.on('drain', take),
      },
      {
        kind,
        redraws: how === 'join',
        // A terminal's own signals are for who sits at it, and the bottle goes on; a pipe has no other way in.
        onSignal: (signal) => {
          if (kind === 'terminal') void finish(128 + constants.signals[signal]);
          else front?.pass(signal);
        },
        onLeave: (code) => void finish(code),
      },
    );
  };
  socket.on('connect', () => socket.write(frame('attach', how)));
  socket.on('data', (bytes: Buffer) => {
    for (const { type, payload } of reader.push(bytes)) {
      if (type === frameTypes.kind) open(payload.toString('latin1'));
      else if (type === frameTypes.output) writeThrough(process.stdout, payload, socket);
      else if (type === frameTypes.error) writeThrough(process.stderr, forTerminal(payload, kind), socket);
      else if (type === frameTypes.exit) void finish(payload[0] ?? killed);
    }
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (kind === undefined) void finish(unable, `nobody holds the session of this bottle (${error.code})`);
  });
  socket.on('close', () => void finish(killed, 'whoever held the session of this bottle is gone'));
}

/** The program lives as long as we do: its standard input ends with us, and bottle-init ends it then. */
async function direct(kind: SessionKind, program: string, args: readonly string[]): Promise<void> {
  const daemon = await startDaemon(program, args, { cwd: '/' });
  daemon.stdout.on('data', (bytes: Buffer) => writeThrough(process.stdout, bytes, daemon.stdout));
  daemon.stderr.on('data', (bytes: Buffer) =>
    writeThrough(process.stderr, forTerminal(bytes, kind), daemon.stderr),
  );
  front = Front.open(
    {
      send: (bytes) => daemon.stdin.write(bytes),
      onDrain: (take) => daemon.stdin.on('drain', take),
    },
    {
      kind,
      redraws: false,
      onSignal: (signal) => {
        front?.pass(signal);
        if (signal === 'SIGHUP') daemon.stdin.end();
      },
      // Nobody else has its terminal, so bottle-init ends it.
      onLeave: (code) =>
        void (code === 0 ? finish(hungUp, 'let go of the program, which ends with that') : finish(code)),
    },
  );
  await finish(await daemon.ended);
}

/** On a raw terminal a line needs its carriage return. */
function forTerminal(bytes: Buffer, kind: SessionKind | undefined): Buffer {
  if (kind !== 'terminal') return bytes;
  return Buffer.from(bytes.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    void finish(error.code === 'EPIPE' ? readerGone : hungUp);
  });
}
const [mode, first = '', second = '', ...rest] = process.argv.slice(2);
if (mode === 'attach') attach(first, second);
else await direct(first === 'terminal' ? 'terminal' : 'pipes', second, rest);
