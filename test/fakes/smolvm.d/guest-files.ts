import {
  closeSync,
  constants,
  fchownSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { lstatSync, mkdirSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { type AgentRequest, FrameReader, send } from './agent-protocol.ts';

const chunkBytes = 1 << 20;

/** Writes a file of the machine's root file system whole or not at all (crates/smolvm-agent/src/main.rs). */
export function writeToGuest(
  rootfs: string,
  connection: Socket,
  request: Extract<AgentRequest, { op: 'write' }>,
): Promise<void> {
  const path = insideOf(rootfs, request.path);
  if (statOf(path)?.isDirectory() === true) throw new Error(`${request.path} is a directory`);
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.smolvm-${process.pid}-${Date.now()}`;
  const file = openSync(temporary, 'wx', 0o600);
  const frames = new FrameReader();
  return new Promise((resolve) => {
    let isDone = false;
    connection.on('data', (chunk: Buffer) => {
      for (const { kind, data } of frames.push(chunk)) {
        if (kind === 'd') writeSync(file, data);
        if (kind !== 'e') continue;
        fchownSync(file, request.uid, request.gid);
        fchmodSync(file, request.mode);
        fsyncSync(file);
        renameSync(temporary, path);
        isDone = true;
        send(connection, 'k');
        connection.end();
      }
    });
    connection.on('close', () => {
      closeSync(file);
      if (!isDone) rmSync(temporary, { force: true });
      resolve();
    });
    connection.resume();
  });
}

/** Sends a file of the machine's root file system. */
export function readFromGuest(rootfs: string, connection: Socket, guestPath: string): void {
  const path = insideOf(rootfs, guestPath);
  const stat = statOf(path);
  if (stat === undefined) throw new Error(`file not found: ${guestPath}`);
  if (!stat.isFile()) throw new Error(`not a regular file: ${guestPath}`);
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const buffer = Buffer.alloc(chunkBytes);
  const more = () => {
    for (;;) {
      const count = readSync(file, buffer, 0, chunkBytes, null);
      if (count === 0) {
        closeSync(file);
        send(connection, 'e');
        connection.end();
        return;
      }
      if (!send(connection, 'd', Buffer.from(buffer.subarray(0, count)))) {
        connection.once('drain', more);
        return;
      }
    }
  };
  more();
}

function statOf(path: string) {
  return statSync(path, { throwIfNoEntry: false });
}

/** The path below the root, its links resolved as the guest would, never outside. */
function insideOf(rootfs: string, guestPath: string): string {
  const pending = guestPath.split('/').filter((part) => part !== '' && part !== '.');
  const walked: string[] = [];
  let links = 0;
  for (let part = pending.shift(); part !== undefined; part = pending.shift()) {
    if (part === '..') {
      walked.pop();
      continue;
    }
    const path = join(rootfs, ...walked, part);
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
      links += 1;
      if (links > 40) throw new Error(`too many levels of symbolic links: ${guestPath}`);
      const target = readlinkSync(path);
      if (target.startsWith('/')) walked.length = 0;
      pending.unshift(...target.split('/').filter((each) => each !== '' && each !== '.'));
    } else {
      walked.push(part);
    }
  }
  return join(rootfs, ...walked);
}
