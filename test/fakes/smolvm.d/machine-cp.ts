import { once } from 'node:events';
import { closeSync, createReadStream, openSync, statSync, writeSync } from 'node:fs';
import { ask, FrameReader, send } from './agent-protocol.ts';
import { runningMachine } from './machine-exec.ts';
import { rustWords, SmolvmError } from './release.ts';
import type { Store } from './store.ts';
import { optionOf, type Parsed } from './usage.ts';

const configError = (words: string) => new SmolvmError(`config operation failed: cp: ${words}`);

/** `machine cp` (src/cli/machine.rs `CpCmd`): one file, one way. The first colon makes SRC a machine's. */
export async function machineCopy(store: Store, parsed: Parsed): Promise<void> {
  const [source = '', target = ''] = parsed.operands;
  const download = split(source);
  const upload = split(target);
  if (download !== undefined) {
    if (['mode', 'uid', 'gid'].some((flag) => parsed.values.has(flag))) {
      throw configError('--mode/--uid/--gid apply to uploads only (host -> machine)');
    }
    return down(store, download, target);
  }
  if (upload === undefined) {
    throw configError('one of SRC or DST must use machine:path syntax (e.g., myvm:/workspace/file)');
  }
  const number = (flag: string) => Number(optionOf(parsed, flag) ?? 0);
  return up(store, source, upload, {
    mode: modeOf(optionOf(parsed, 'mode')),
    uid: number('uid'),
    gid: number('gid'),
  });
}

function split(text: string): { name: string; path: string } | undefined {
  const at = text.indexOf(':');
  return at < 0 ? undefined : { name: text.slice(0, at), path: text.slice(at + 1) };
}

function modeOf(text: string | undefined): number {
  if (text === undefined) return 0o644;
  const digits = text.replace(/^(0o)+/, '');
  const mode = Number.parseInt(digits, 8);
  if (!/^[0-7]+$/.test(digits) || mode > 0o7777) {
    throw configError(`invalid octal mode '${text}' (expected e.g. 644)`);
  }
  return mode;
}

async function up(
  store: Store,
  local: string,
  guest: { name: string; path: string },
  owner: { mode: number; uid: number; gid: number },
): Promise<void> {
  const { socket } = runningMachine(store, guest.name);
  const stat = statSync(local, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw SmolvmError.agent('read local file', `${local}: No such file or directory (os error 2)`);
  }
  checkGuestPath(guest.path);
  process.stderr.write(`Uploading ${local} -> ${guest.path}...`);
  if (stat.isDirectory()) throw SmolvmError.agent('read source file', 'Is a directory (os error 21)');
  const connection = await ask(socket, { op: 'write', path: guest.path, ...owner });
  const answered = once(connection, 'data') as Promise<[Buffer]>;
  for await (const chunk of createReadStream(local, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    if (!send(connection, 'd', chunk)) await once(connection, 'drain');
  }
  send(connection, 'e');
  const [frame] = new FrameReader().push((await answered)[0]);
  connection.destroy();
  if (frame?.kind !== 'k') throw SmolvmError.agent('write file', frame?.data.toString('utf8') ?? '');
  process.stderr.write(' done\n');
}

async function down(store: Store, guest: { name: string; path: string }, local: string): Promise<void> {
  const { socket } = runningMachine(store, guest.name);
  checkGuestPath(guest.path);
  process.stderr.write(`Downloading ${guest.path} -> ${local}...`);
  const connection = await ask(socket, { op: 'read', path: guest.path });
  const frames = new FrameReader();
  let file: number | undefined;
  try {
    for await (const chunk of connection as AsyncIterable<Buffer>) {
      for (const { kind, data } of frames.push(chunk)) {
        if (kind === 'f') throw SmolvmError.agent('read file', data.toString('utf8'));
        file ??= openSync(local, 'w');
        if (kind === 'd') writeSync(file, data);
        if (kind === 'e') return void process.stderr.write(' done\n');
      }
    }
  } catch (error) {
    throw error instanceof SmolvmError ? error : SmolvmError.agent('write local file', rustWords(error));
  } finally {
    connection.destroy();
    if (file !== undefined) closeSync(file);
  }
  throw SmolvmError.agent('read file', 'connection closed by agent');
}

function checkGuestPath(path: string): void {
  if (path.startsWith('/')) return;
  throw SmolvmError.agent('write file', `invalid path '${path}': must be absolute`);
}
