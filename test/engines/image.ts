import { createHash } from 'node:crypto';
import type { Digest } from '../../src/oci/digest.ts';
import { type BuildEntry, tarOf } from '../oci/tar-builder.ts';

/** The image that goes into every engine, made of nothing but this file: the same bytes on every machine. */
export interface MatrixImage {
  readonly config: Buffer;
  /** Plain layer tars, bottom first. */
  readonly layers: readonly Buffer[];
}

export const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A name whose bytes are UTF-8, in the one-byte form that the builder writes. */
const umlaut = Buffer.from('übung').toString('latin1');
const deep = `opt/${'a-directory-with-a-long-name/'.repeat(5)}`;
/** CAP_NET_RAW, permitted and effective, as security.capability holds it (linux/capability.h, vfs_cap_data, revision 2). */
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex').toString('latin1');

export const directory = (path: string, more: Partial<BuildEntry> = {}): BuildEntry => ({
  path: `${path}/`,
  type: '5',
  mode: 0o755,
  mtime: 1_600_000_000,
  ...more,
});
export const file = (path: string, content: string | Buffer, more: Partial<BuildEntry> = {}): BuildEntry => ({
  path,
  data: Buffer.from(content),
  mtime: 1_650_000_000,
  ...more,
});
const removed = (path: string): BuildEntry => file(path.replace(/([^/]+)$/, '.wh.$1'), '');

const first: readonly BuildEntry[] = [
  ...['bin', 'cache', 'cache/old', 'dev', 'devices', 'etc', 'home', 'lib', 'opt', 'secret'].map((path) =>
    directory(path),
  ),
  directory('home/user', { uid: 1000, gid: 1001, mode: 0o700 }),
  directory('tmp', { mode: 0o1777 }),
  ...deep
    .split('/')
    .slice(1, -1)
    .map((_, at, names) => directory(`opt/${names.slice(0, at + 1).join('/')}`)),
  file('bin/tool', 'the tool\n', { mode: 0o755 }),
  { path: 'bin/alias', type: '1', link: 'bin/tool', mode: 0o755, mtime: 1_650_000_000 },
  { path: 'bin/again', type: '1', link: 'bin/tool', mode: 0o755, mtime: 1_650_000_000 },
  file('bin/su', 'sets the user\n', { mode: 0o4755 }),
  file('bin/ping', 'has a capability\n', {
    mode: 0o755,
    pax: { 'SCHILY.xattr.security.capability': capability },
  }),
  file('cache/old/entry', 'below an opaque directory\n'),
  file('cache/entry', 'in an opaque directory\n'),
  { path: 'devices/null', type: '3', mode: 0o666, device: [1, 3], mtime: 1_650_000_000 },
  { path: 'devices/pipe', type: '6', mode: 0o600, mtime: 1_650_000_000 },
  // An engine that makes these in its containers must leave the image's own alone.
  file('etc/hosts', '127.0.0.1 image\n', { mode: 0o600 }),
  { path: 'dev/zero', type: '3', mode: 0o666, device: [1, 5], mtime: 1_650_000_000 },
  file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'),
  file('etc/becomes-directory', 'a file at first\n'),
  directory('etc/becomes-file'),
  file('etc/becomes-file/inner', 'gone with its directory\n'),
  file('home/user/notes', 'mine\n', {
    uid: 1000,
    gid: 1001,
    mode: 0o640,
    pax: { 'SCHILY.xattr.user.note': 'kept' },
  }),
  { path: 'home/user/link', type: '2', link: '../../etc/passwd', mode: 0o777, mtime: 1_650_000_000 },
  { path: 'lib64', type: '2', link: 'lib', mode: 0o777, mtime: 1_650_000_000 },
  file('lib/empty', ''),
  file('lib/gone', 'goes with its directory\n'),
  file('opt/random', noise(3 << 20)),
  file(`${deep}pax`, 'a long name\n', { long: 'pax' }),
  file(`${deep}gnu`, 'a long name\n', { long: 'gnu' }),
  file(`${deep}prefix`, 'a long name\n', { long: 'prefix' }),
  file(`opt/${umlaut}`, 'not ASCII\n'),
  file('secret/token', 'must not come back\n'),
  file('secret/public', 'stays\n'),
];

const second: readonly BuildEntry[] = [
  directory('bin'),
  file('bin/tool', 'a newer tool\n', { mode: 0o755 }),
  directory('cache'),
  file('cache/.wh..wh..opq', ''),
  file('cache/fresh', 'new in the opaque directory\n'),
  directory('etc'),
  directory('etc/becomes-directory'),
  file('etc/becomes-directory/inner', 'in what was a file\n'),
  file('etc/becomes-file', 'was a directory\n'),
  directory('secret'),
  removed('secret/token'),
];

/** Comes twice, as a build step that is repeated does. */
const repeated: readonly BuildEntry[] = [
  directory('etc'),
  file('etc/motd', 'welcome\n'),
  { path: 'etc/motd.link', type: '1', link: 'etc/motd', mtime: 1_650_000_000 },
];

const fourth: readonly BuildEntry[] = [
  directory('etc'),
  removed('etc/motd.link'),
  removed('lib'),
  directory('tmp', { mode: 0o1777 }),
  file('tmp/left', 'x', { mtime: 1 }),
];

const last: readonly BuildEntry[] = [
  directory('lib', { mode: 0o750 }),
  file('lib/only', 'the directory was removed and made again\n'),
  directory('home'),
  directory('home/user', { uid: 1000, gid: 1001, mode: 0o711 }),
];

/** Paths that the whole stack leaves, and some of those that it does not. */
export const expectation = {
  present: [
    ...[
      'bin/tool',
      'bin/alias',
      'bin/again',
      'cache/fresh',
      'devices/null',
      'devices/pipe',
      'etc/motd',
      'etc/motd.link',
    ],
    ...[
      'etc/becomes-directory/inner',
      'etc/becomes-file',
      'lib/only',
      'lib64',
      'secret/public',
      `opt/${umlaut}`,
    ],
    ...['pax', 'gnu', 'prefix'].map((name) => deep + name),
  ],
  absent: [
    'secret/token',
    'cache/entry',
    'cache/old',
    'cache/old/entry',
    'etc/becomes-file/inner',
    'lib/random',
    'lib/empty',
  ],
};

export function matrixImage(): MatrixImage {
  const layers = [first, second, repeated, fourth, repeated, last].map((entries) => tarOf(entries));
  const config = {
    architecture,
    os: 'linux',
    created: '2024-01-02T03:04:05.678Z',
    config: {
      User: '1000:1001',
      ExposedPorts: { '8080/tcp': {}, '53/udp': {} },
      Env: ['PATH=/bin', 'EMPTY=', 'QUOTED=a "b" \\c é'],
      Entrypoint: ['/bin/tool', '--flag=a b'],
      Cmd: ['run'],
      Volumes: { '/cache': {} },
      WorkingDir: '/home/user',
      Labels: { 'org.example.b': '2', 'org.example.a': '<1>' },
      StopSignal: 'SIGINT',
    },
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
    history: [
      ...layers.map((_, at) => ({ created: '2024-01-02T03:04:05.678Z', created_by: `step ${at}` })),
      { created: '2024-01-02T03:04:05.678Z', created_by: 'ENV', empty_layer: true },
    ],
  };
  return { config: Buffer.from(JSON.stringify(config)), layers };
}

/** Bytes that do not compress, the same each time. */
function noise(size: number): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at * 32 < size; at += 1) pieces.push(createHash('sha256').update(`noise ${at}`).digest());
  return Buffer.concat(pieces).subarray(0, size);
}
