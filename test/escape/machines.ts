import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { program } from '../bottles/house.ts';
import { run } from '../../src/process/run.ts';
import { build, type Candidate, image, said } from './candidate.ts';
import { double } from '../smolvm/double.ts';

/** One for all files and runs, since converting an image takes a while. */
const cache = fileURLToPath(new URL('../../node_modules/.cache/claude-bottle-escape', import.meta.url));

/** Where the machines of this process are: walkable, since root's run as others, and short, for their sockets. */
let made: string | undefined;
function home(): string {
  if (made !== undefined) return made;
  const directory = mkdtempSync('/tmp/cb-vm-');
  chmodSync(directory, 0o711);
  made = directory;
  return directory;
}
after(() => {
  if (made !== undefined) rmSync(made, { recursive: true, force: true });
});

const env = () => ({
  CLAUDE_BOTTLE_BACKEND: 'smolmachines',
  CLAUDE_BOTTLE_SMOLVM: double,
  CLAUDE_BOTTLE_SMOLVM_HOME: home(),
  XDG_CACHE_HOME: cache,
});

function smolvm(...args: string[]): Promise<string> {
  return said(double, args, { env: { SMOLVM_DATA_DIR: join(home(), 'smolvm') } });
}

const nameOf = (slug: string) => `claude-bottle-${slug.replaceAll('--', '-_')}`;
const Listed = v.array(v.object({ name: v.string() }));

const inGuest =
  'the directory and the sockets in it are the machine’s own, gone with it; the host’s are not in it at all, and are as they were';

/** The files below, each as latin1. What the double has mounted for its guests is not seen from here. */
async function* textsBelow(directory: string): AsyncGenerator<string> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) yield await readFile(join(entry.parentPath, entry.name), 'latin1');
  }
}

async function missing(): Promise<string | undefined> {
  const asked = await run(double, ['--version']).catch((error: unknown) => String(error));
  if (typeof asked === 'string') return asked;
  if (asked.code !== 0) return asked.stderr.trim();
  const crun = await run('crun', ['--version']).catch((error: unknown) => String(error));
  return typeof crun === 'string' ? crun : undefined;
}

/**
 * Machines of the double of smolvm (test/fakes/README.md). What it proves: everything that bottle-init and our own code
 * put around the agent, with a container's walls of the double's where a machine has the hypervisor's. Its containers
 * have none of the capabilities that would reach the host, so an attempt that only they would have stopped says nothing
 * of a machine; those of bottle-init's filter and bounding set are stopped before that, and the tests of guest/ show it.
 */
export const machines: Candidate = {
  name: 'smolmachines (the double)',
  flags: [],
  prepare: async () => {
    await build();
    await said(program, ['pack', `--image=${image}`], { env: env(), deadlineMs: 240_000 });
  },
  furnish: (house) => {
    Object.assign(house.env, env());
    return Promise.resolve();
  },
  async *known(house, slug) {
    yield await smolvm('machine', 'status', '--name', nameOf(slug), '--json');
    yield (await house.bottle(['logs', slug], { captureBytes: 8 << 20 })).stdout;
    const directory = (await smolvm('machine', 'data-dir', '--name', nameOf(slug))).trim();
    yield* textsBelow(directory);
  },
  async *knownImage(house) {
    // Every byte of the artifact is what it was when it was packed, before anything was started from it.
    yield (await house.bottle(['cache', 'verify'])).stdout;
    yield await said('docker', ['image', 'inspect', image]);
  },
  logFiles: async (house, slug) => {
    const directory = join(house.path, 'state/claude-bottle/bottles', slug, 'machine');
    const names = await readdir(directory);
    return names.filter((name) => name.endsWith('.log')).map((name) => join(directory, name));
  },
  // All of this home are this process's, and no test of it leaves one.
  left: async () =>
    v.parse(Listed, JSON.parse(await smolvm('machine', 'ls', '--json'))).map(({ name }) => name),
  facts: {
    // As smolvm calls containers (v1.9.0, oci.rs `container_hostname`).
    hostname: nameOf,
    mounts: {
      '/run/claude-bottle-init': 'read-only',
      // The guest's own sockets, whose other ends smolvm connects to the host's: changing them changes nothing there.
      '/run/claude-bottle/gate.sock': 'writable',
      '/run/claude-bottle/control.sock': 'writable',
      '/run/claude-bottle/variables.sock': 'writable',
    },
    ownMounts: /^$/,
    init: '/run/claude-bottle-init/bottle-init',
    isContainer: false,
    harmlessAsRoot: {
      '/proc/timer_list shows nothing': 'a machine’s kernel has timers of its own',
      ...Object.fromEntries(
        [
          'a file of its own in it',
          'another mode on the gate’s socket',
          'another owner of the gate’s socket',
          'another time on the gate’s socket',
          'the directory under another name',
        ].map((what) => [`what is mounted stays as it is: not ${what}`, inGuest]),
      ),
    },
    // The guest's table of processes; `--pids` is not held, and said not to be (docs/backends.md).
    mostProcesses: 4096,
    tellsOutOfMemory: false,
    // The machine's disk is its own, and holes take nothing of it.
    hugeFile: 'escaped',
    diskUntried:
      'the double’s disks have no size of their own (test/fakes/README.md); smolvm’s are files of the size asked for',
  },
  missing: await missing(),
};
