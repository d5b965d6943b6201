import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/process/run.ts';

/** Debian with what an agent that wants out would like to have. */
export const image = 'claude-bottle-test:escape';

/** What the suite runs over. */
export interface Candidate {
  readonly name: string;
  /** What the user would set to have it. */
  readonly env: Readonly<Record<string, string>>;
  /** Of `start`. */
  readonly flags: readonly string[];
  /** How its engine's `inspect` writes where the log is. */
  readonly logPath: string;
  /** Puts the suite's image where it is started from. */
  prepare(): Promise<void>;
  /** A program in the same image with nothing around it: shows that an attempt would work if nobody stopped it. */
  readonly unconfined?: readonly string[];
  /** Why it cannot be tried here; `undefined` when it can. */
  readonly missing: string | undefined;
}

const context = fileURLToPath(new URL('image', import.meta.url));

async function build(): Promise<string> {
  const built = await run('docker', ['build', '--quiet', `--tag=${image}`, context], {
    env: { DOCKER_BUILDKIT: '0' },
  });
  assert.equal(built.code, 0, built.stderr);
  return built.stdout.trim();
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
      const done = await run(command, args, { deadlineMs: 120_000 });
      assert.equal(done.code, 0, done.stderr);
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

/** A further backend is one more line. */
export const candidates: readonly Candidate[] = [
  {
    name: 'docker',
    env: { CLAUDE_BOTTLE_ENGINE: 'docker' },
    flags: [],
    logPath: '{{.LogPath}}',
    prepare: async () => {
      await build();
    },
    unconfined: ['docker', ...unconfined],
    missing: await missing('docker'),
  },
  {
    name: 'podman',
    env: { CLAUDE_BOTTLE_ENGINE: 'podman' },
    // crun starts nothing where both versions of control groups are mounted.
    flags: ['--runtime=runc'],
    logPath: '{{.HostConfig.LogConfig.Path}}',
    prepare: handOver,
    missing: await missing('podman'),
  },
];
