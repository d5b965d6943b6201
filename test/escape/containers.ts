import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import assert from 'node:assert/strict';
import { run } from '../../src/process/run.ts';
import { build, type Candidate, type Facts, image, said } from './candidate.ts';

const facts: Facts = {
  hostname: (slug) => slug,
  mounts: { '/run/bottle-init': 'read-only', '/run/claude-bottle': 'read-only' },
  // Podman adds a file that says that this is one of its containers.
  ownMounts: /^\/(etc\/(hosts|hostname|resolv\.conf)|run\/\.containerenv)$/,
  init: '/run/bottle-init',
  isContainer: true,
  harmlessAsRoot: {},
  mostProcesses: 200,
  tellsOutOfMemory: true,
  hugeFile: 'EFBIG',
};

interface Engine {
  readonly command: 'docker' | 'podman';
  /** How its `inspect` writes where the log is. */
  readonly logPath: string;
}

/** What every engine's bottles have in common. */
function onEngine({ command, logPath }: Engine) {
  const nameOf = (slug: string) => `claude-bottle-${slug}`;
  const candidate = {
    furnish: (house) => {
      Object.assign(house.env, { CLAUDE_BOTTLE_ENGINE: command });
      return Promise.resolve();
    },
    async *known(_house, slug) {
      yield await said(command, ['inspect', nameOf(slug)]);
      yield await said(command, ['logs', nameOf(slug)]);
    },
    async *knownImage() {
      yield await said(command, ['image', 'inspect', image]);
    },
    async logFiles(_house, slug) {
      const log = (await said(command, ['inspect', `--format=${logPath}`, nameOf(slug)])).trim();
      assert.match(log, /^\//);
      const names = await readdir(dirname(log));
      return names.filter((name) => name.startsWith(basename(log))).map((name) => join(dirname(log), name));
    },
    async left(house) {
      const all = await said(command, [
        'ps',
        '--all',
        '--no-trunc',
        '--filter=name=claude-bottle-',
        '--format={{.Names}} {{.Mounts}}',
      ]);
      // An engine's own filter by volume takes whole paths only, and each bottle has its own below ours.
      const own = [house.path, ...(await slugsOf(house.path))];
      return all.split('\n').filter((line) => own.some((each) => line.includes(each)));
    },
  } satisfies Partial<Candidate>;
  return candidate;
}

/** Podman tells where things are mounted, and not what. */
async function slugsOf(housePath: string): Promise<string[]> {
  const names = await readdir(join(housePath, 'state/claude-bottle/bottles')).catch(() => []);
  return names.map((name) => `claude-bottle-${name} `);
}

/** Gives podman the same image, unless it has it. */
async function handOver(): Promise<void> {
  const id = await build();
  const has = await run('podman', ['image', 'inspect', '--format={{.Id}}', image]);
  if (has.code === 0 && id.endsWith(has.stdout.trim())) return;
  const directory = await mkdtemp(join(tmpdir(), 'escape-image-'));
  try {
    const archive = join(directory, 'image.tar');
    for (const [command, ...args] of [
      ['docker', 'save', `--output=${archive}`, image],
      ['podman', 'load', '--quiet', `--input=${archive}`],
    ] as const) {
      await said(command, args, { deadlineMs: 120_000 });
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function missing(command: string): Promise<string | undefined> {
  const asked = await run(command, ['info'], { deadlineMs: 30_000 }).catch((error: unknown) => String(error));
  if (typeof asked === 'string') return asked;
  return asked.code === 0 ? undefined : asked.stderr.trim().slice(-300);
}

/**
 * As little around it as an engine can have. `--privileged` wants every capability that the engine's version knows, and
 * fails where the engine itself has been denied one.
 */
const unconfined = [
  ...['run', '--rm', '--interactive', '--network=host', '--user=root'],
  ...['seccomp=unconfined', 'apparmor=unconfined', 'systempaths=unconfined'].map(
    (one) => `--security-opt=${one}`,
  ),
  ...[
    'SYS_ADMIN',
    'SYS_PTRACE',
    'NET_ADMIN',
    'NET_RAW',
    'SYS_CHROOT',
    'MKNOD',
    'DAC_READ_SEARCH',
    'SYSLOG',
  ].map((one) => `--cap-add=${one}`),
  image,
];

export const containers: readonly Candidate[] = [
  {
    name: 'docker',
    flags: [],
    ...onEngine({ command: 'docker', logPath: '{{.LogPath}}' }),
    prepare: async () => {
      await build();
    },
    unconfined: ['docker', ...unconfined],
    facts,
    missing: await missing('docker'),
  },
  {
    name: 'podman',
    // crun starts nothing where both versions of control groups are mounted.
    flags: ['--runtime=runc'],
    ...onEngine({ command: 'podman', logPath: '{{.HostConfig.LogConfig.Path}}' }),
    prepare: handOver,
    facts,
    missing: await missing('podman'),
  },
];
