import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { openCache, publishArtifact } from '../smolmachine/entries.ts';
import { Recorder } from '../smolvm/recorder.ts';

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;

let top: string;
let recorder: Recorder;
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'cb-'));
  recorder = await Recorder.make();
  await recorder.introduce('1.9.3');
  await recorder.on('prune', 'echo "Removed 2 cached entries, freed 1.5 MB"');
  // What is pruned whatever becomes of smolvm.
  await publishArtifact(await openCache(join(top, 'cache/claude-bottle')), 'app');
});
afterEach(async () => {
  await recorder[Symbol.asyncDispose]();
  await rm(top, { recursive: true });
});

/** What smolvm unpacked in a home of ours, or elsewhere. */
async function unpack(vms = 'm/smolvm/.cache/smolvm/vms'): Promise<string> {
  const directory = join(top, vms, '_shared');
  for (const name of ['01234567', '89abcdef']) {
    await mkdir(join(directory, name), { recursive: true, mode: 0o700 });
  }
  return directory;
}

function claudeBottle(args: readonly string[], env: Record<string, string | undefined> = {}) {
  return run(process.execPath, [launcher, 'cache', 'prune', '--all', ...args], {
    env: {
      HOME: join(top, 'home'),
      XDG_CACHE_HOME: join(top, 'cache'),
      CLAUDE_BOTTLE_SMOLVM: recorder.path,
      CLAUDE_BOTTLE_SMOLVM_HOME: join(top, 'm'),
      SMOLVM_VM_UID_DROP: 'off',
      SMOLVM_DATA_DIR: undefined,
      ...env,
    },
  });
}

async function prune(args: readonly string[] = [], env: Record<string, string | undefined> = {}) {
  const { code, stdout, stderr } = await claudeBottle(args, env);
  assert.equal(code, 0, stderr);
  const [own, ...lines] = stderr.trimEnd().split('\n');
  if (!args.includes('--json')) {
    assert.match(own ?? '', /^(removed|would remove) 1 entry: /);
    assert.match(stdout, / app:latest\n$/);
  }
  return { stdout, lines };
}

async function pruned(env: Record<string, string | undefined> = {}): Promise<unknown> {
  const document = JSON.parse((await prune(['--json'], env)).stdout) as Record<string, unknown>;
  assert.equal((document['removed'] as unknown[]).length, 1);
  return document['unpacked'];
}

const asked = async () => (await recorder.calls()).filter(({ args }) => args[0] === 'pack');

describe('cache prune, of what smolvm unpacked for machines', () => {
  test('has smolvm remove what no machine of ours uses, and tells it in one line', async () => {
    await unpack();
    const { lines } = await prune();
    assert.deepEqual(lines, ['removed 2 unpacked artifacts that no machine uses: 1.57 MB']);
    assert.deepEqual(await asked(), [
      { args: ['pack', 'prune', '--all'], dataDir: join(top, 'm/smolvm'), cwd: '/' },
    ]);
  });

  test('tells it in the JSON document', async () => {
    await unpack();
    assert.deepEqual(await pruned(), { state: 'pruned', entries: 2, bytes: 1_572_864 });
  });

  test('only asks with --dry-run', async () => {
    await unpack();
    await recorder.on('prune', 'echo "Would remove 1 cached entries (3 B)"');
    const { lines } = await prune(['--dry-run']);
    assert.deepEqual(lines, ['would remove 1 unpacked artifact that no machine uses: 3 B']);
    assert.deepEqual(
      (await asked()).map(({ args }) => args),
      [['pack', 'prune', '--all', '--dry-run']],
    );
  });

  test('says nothing when machines use all of it, and no figure that it was not told', async () => {
    await unpack();
    await recorder.on('prune', 'echo "No cached entries to remove."');
    assert.deepEqual((await prune()).lines, []);
    await publishArtifact(await openCache(join(top, 'cache/claude-bottle')), 'app');
    await recorder.on('prune', 'echo "Swept."');
    assert.deepEqual((await prune()).lines, ['removed the unpacked artifacts that no machine uses']);
  });

  test('runs no smolvm where there is nothing, and makes no home', async () => {
    assert.deepEqual((await prune()).lines, []);
    assert.deepEqual(await readdir(top), ['cache']);
    assert.deepEqual(await recorder.calls(), []);
    await mkdir(join(top, 'm/smolvm/.cache/smolvm/vms/_shared'), { recursive: true });
    await publishArtifact(await openCache(join(top, 'cache/claude-bottle')), 'app');
    assert.deepEqual(await pruned(), { state: 'none' });
    assert.deepEqual(await recorder.calls(), []);
  });

  test("leaves the user's own home alone", async () => {
    await unpack('cache/smolvm/vms');
    assert.deepEqual(await pruned({ CLAUDE_BOTTLE_SMOLVM_HOME: 'user' }), { state: 'none' });
    assert.deepEqual(await recorder.calls(), []);
  });

  test('says what is kept, where, and what helps, when smolvm is too old', async () => {
    const directory = await unpack();
    await recorder.introduce('1.8.3');
    assert.deepEqual((await prune()).lines, [
      `· kept 2 unpacked artifacts in ${directory}: smolvm 1.8.3 cannot tell which of them a machine uses; update it to 1.9.0 or newer`,
    ]);
    assert.deepEqual(await asked(), []);
    assert.equal((await readdir(directory)).length, 2);
  });

  test('says so when there is no smolvm any more', async () => {
    const directory = await unpack();
    assert.deepEqual(await pruned({ CLAUDE_BOTTLE_SMOLVM: '/nosuch' }), {
      state: 'kept',
      reason: 'there is no smolvm to remove them with',
      directory,
      count: 2,
    });
  });

  test('warns of a smolvm that fails, beside what was pruned of the cache', async () => {
    await unpack();
    const fail = `echo 'Error: agent operation failed: prune shared artifact caches: bad\u001b[2Jpointer' >&2; exit 1`;
    await recorder.on('prune', fail);
    const { lines } = await prune();
    assert.equal(lines.length, 1);
    assert.match(
      lines[0] ?? '',
      /^! what smolvm unpacked for machines stays: smolvm 1\.9\.3 could not remove the unpacked artifacts that no machine uses: .*: bad ?pointer$/,
    );
    assert.deepEqual(await readdir(join(top, 'cache/claude-bottle/smolmachines')).catch(() => []), []);
    await publishArtifact(await openCache(join(top, 'cache/claude-bottle')), 'app');
    assert.equal(((await pruned()) as { state: string }).state, 'failed');
  });

  test('asks nothing about a home that others may write to', async () => {
    await unpack();
    await chmod(join(top, 'm'), 0o777);
    const { lines } = await prune();
    assert.match(lines.join('\n'), /^! what smolvm unpacked for machines stays: .*\/m/);
    assert.deepEqual(await asked(), []);
  });

  test('is not cut short by an interruption, which counts, and what was pruned is told', async () => {
    await unpack();
    const interrupt = 'kill -INT "$PPID"; sleep 0.5; echo "Removed 2 cached entries, freed 12 B"';
    await recorder.on('prune', interrupt);
    const { code, stdout } = await claudeBottle(['--json']);
    assert.equal(code, 130);
    const { removed, unpacked } = JSON.parse(stdout) as { removed: unknown[]; unpacked: unknown };
    assert.equal(removed.length, 1);
    assert.deepEqual(unpacked, { state: 'pruned', entries: 2, bytes: 12 });
  });

  test('is told of in its help', async () => {
    const { stdout } = await run(process.execPath, [launcher, 'cache', 'prune', '--help']);
    assert.match(stdout, /By whichever rule, also the\s+artifacts that smolvm \(1\.9\.0 or newer\) unpacked/);
  });
});
