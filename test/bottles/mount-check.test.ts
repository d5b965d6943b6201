import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MountRefused } from '../../src/bottles/errors.ts';
import { checkMounts, mountWarning, type MountSurroundings } from '../../src/bottles/mount-check.ts';
import { placesOf } from '../../src/bottles/places.ts';

interface Machine extends AsyncDisposable {
  readonly path: string;
  readonly home: string;
  readonly runtime: string;
  readonly surroundings: MountSurroundings;
}

/** A user's machine with nothing of ours on it yet: `home`, `runtime` and `project`. */
async function machine(change: Partial<MountSurroundings> = {}): Promise<Machine> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'mount-check-')));
  const [home, runtime] = [join(path, 'home'), join(path, 'runtime')];
  for (const one of [home, runtime, join(path, 'project/src')]) await mkdir(one, { recursive: true });
  const places = placesOf({ XDG_RUNTIME_DIR: runtime }, home);
  return {
    path,
    home,
    runtime,
    surroundings: { places, home, own: [], engineSocket: undefined, runtimeDirectory: runtime, ...change },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

async function check({ surroundings }: Machine, source: string, readOnly = false) {
  const [mount] = await checkMounts([{ source, target: '/there', readOnly }], surroundings);
  assert.ok(mount !== undefined);
  assert.deepEqual([mount.target, mount.readOnly], ['/there', readOnly]);
  return mount.source;
}

async function refused(one: Machine, source: string, reason: string): Promise<void> {
  for (const readOnly of [false, true]) {
    await assert.rejects(check(one, source, readOnly), (error: unknown) => {
      assert.ok(error instanceof MountRefused, `${source}: ${String(error)}`);
      assert.equal(error.fields.reason, reason, source);
      assert.equal(error.fields.path, source);
      return true;
    });
  }
}

describe('what would hand over the fence is not mounted, read-only or not', () => {
  test('an engine’s socket, known, asked or of one user, and what holds it', async () => {
    await using one = await machine();
    const socket = join(one.path, 'engine/deep/engine.sock');
    await mkdir(join(one.path, 'engine/deep'), { recursive: true });
    await writeFile(socket, '');
    const asked = { ...one, surroundings: { ...one.surroundings, engineSocket: socket } };
    for (const path of [socket, join(one.path, 'engine/deep'), join(one.path, 'engine')]) {
      await refused(asked, path, 'engine');
      assert.equal(await check(one, path), path);
    }
    for (const path of ['/run', '/var/run', '/']) await refused(one, path, 'engine');
    await mkdir(join(one.runtime, 'podman'));
    for (const name of ['docker.sock', 'podman/podman.sock']) await writeFile(join(one.runtime, name), '');
    for (const name of ['', 'docker.sock', 'podman', 'podman/podman.sock'])
      await refused(one, join(one.runtime, name), 'engine');
  });

  test('records, sockets and definitions of ours, what holds them and what lies in them', async () => {
    await using one = await machine();
    const { places } = one.surroundings;
    const record = join(places.state, 'bottles/demo-x1y2z');
    const own = join(one.home, '.claude-bottle/agents');
    const sockets = join(places.run, 'demo-x1y2z/in');
    for (const path of [record, own, sockets]) await mkdir(path, { recursive: true });
    for (const path of [
      ...[places.state, record, join(one.home, '.local'), join(one.home, '.local/state')],
      ...[join(one.home, '.claude-bottle'), own, one.home],
      ...[places.run, sockets],
    ])
      await refused(one, path, 'own');
    assert.equal(await check(one, join(one.path, 'project')), join(one.path, 'project'));
    // A name that only begins alike.
    await mkdir(join(one.home, '.claude-bottle-notes'));
    await check(one, join(one.home, '.claude-bottle-notes'));
  });

  test('the cache that bottles are made from, what holds it and what lies in it', async () => {
    await using one = await machine();
    const cache = join(one.path, 'project/cache/claude-bottle');
    const cached = { ...one, surroundings: { ...one.surroundings, own: [cache] } };
    await mkdir(join(cache, 'smolmachines'), { recursive: true });
    for (const path of [cache, join(cache, 'smolmachines'), join(one.path, 'project/cache')])
      await refused(cached, path, 'own');
    assert.equal(await check(one, cache), cache);
  });

  test('the runtime directory, also before there is a socket in it', async () => {
    await using one = await machine();
    await refused(one, one.runtime, 'engine');
    // Another session's is like any other directory.
    const { runtimeDirectory: _, ...rest } = one.surroundings;
    const places = placesOf({}, one.home);
    const other = { ...one, surroundings: { ...rest, places, runtimeDirectory: undefined } };
    assert.equal(await check(other, one.runtime), one.runtime);
  });

  test('the kernel’s own file systems', async () => {
    await using one = await machine();
    for (const path of ['/proc', '/proc/self', '/proc/sys/kernel', '/sys', '/sys/kernel'])
      await refused(one, path, 'kernel');
  });

  test('a link to any of them, and a path that climbs to it', async () => {
    await using one = await machine();
    const { places } = one.surroundings;
    await mkdir(places.state, { recursive: true });
    for (const [name, target, reason] of [
      ['to-proc', '/proc', 'kernel'],
      ['to-run', '/run', 'engine'],
      ['to-state', places.state, 'own'],
      ['to-home', '../home', 'own'],
    ] as const) {
      const link = join(one.path, 'project', name);
      await symlink(target, link);
      await refused(one, link, reason);
      await symlink(name, `${link}-again`);
      await refused(one, `${link}-again`, reason);
    }
    await refused(one, `${one.path}/project/src/../../home`, 'own');
  });

  test('what leads to them over a home or runtime directory that is a link, before they are there', async () => {
    await using one = await machine();
    const [home, runtime] = [join(one.path, 'h'), join(one.path, 'r')];
    await symlink(one.home, home);
    await symlink(one.runtime, runtime);
    const places = placesOf({ XDG_RUNTIME_DIR: runtime }, home);
    const linked = {
      ...one,
      surroundings: { places, home, own: [], engineSocket: undefined, runtimeDirectory: runtime },
    };
    for (const path of [home, one.home]) await refused(linked, path, 'own');
    for (const path of [runtime, one.runtime]) await refused(linked, path, 'engine');
  });
});

test('what is not there is refused, and a link to nothing is', async () => {
  await using one = await machine();
  await refused(one, join(one.path, 'missing'), 'missing');
  await symlink('nowhere', join(one.path, 'dangling'));
  await refused(one, join(one.path, 'dangling'), 'missing');
});

test('a link to what may be shown is mounted as what it leads to', async () => {
  await using one = await machine();
  await symlink('project', join(one.path, 'link'));
  assert.equal(await check(one, join(one.path, 'link/src')), join(one.path, 'project/src'));
});

test('the warning tells reading from changing', () => {
  const mount = { source: '/data', target: '/data' };
  assert.match(mountWarning({ ...mount, readOnly: true }), /^\/data .*can be read/);
  assert.match(mountWarning({ ...mount, readOnly: false }), /^\/data .*change and delete/);
});
