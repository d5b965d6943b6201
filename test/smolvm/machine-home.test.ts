import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, mkdtemp, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MachineHomeUnusable } from '../../src/smolvm/errors.ts';
import { machineHome, placeOfMachines } from '../../src/smolvm/machine-home.ts';

const me = process.geteuid?.() ?? 0;

/** A directory that goes, walkable by everybody. */
async function root(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'cb-'));
  await chmod(path, 0o755);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

function refused(reason: string) {
  return (error: unknown) => {
    assert.ok(error instanceof MachineHomeUnusable, String(error));
    assert.equal(error.fields.reason, reason);
    return true;
  };
}

describe('where the machines of bottles are', () => {
  const place = (env: Record<string, string>, uid = 1000, platform: NodeJS.Platform = 'linux') =>
    placeOfMachines(env, '/home/me', uid, platform);

  test("is the user's cache, if sockets fit below it", () => {
    assert.deepEqual(place({}), {
      path: '/home/me/.cache/claude-bottle/smolvm',
      cache: '/home/me/.cache/claude-bottle/smolvm/.cache',
      limit: 66,
      dropsUser: false,
    });
    assert.equal(place({ XDG_CACHE_HOME: '/c' }).path, '/c/claude-bottle/smolvm');
    assert.equal(place({ XDG_CACHE_HOME: 'relative' }).path, '/home/me/.cache/claude-bottle/smolvm');
  });

  test('is a short path for everybody else, told apart by user', () => {
    // 66 bytes are left for it with "/claude-bottle/smolvm/.cache" after it: 38 for the cache itself.
    assert.equal(
      place({ XDG_CACHE_HOME: `/${'x'.repeat(37)}` }).path,
      `/${'x'.repeat(37)}/claude-bottle/smolvm`,
    );
    assert.equal(place({ XDG_CACHE_HOME: `/${'x'.repeat(38)}` }).path, '/var/tmp/claude-bottle-1000/smolvm');
    assert.equal(place({ XDG_CACHE_HOME: `/${'é'.repeat(20)}` }).path, '/var/tmp/claude-bottle-1000/smolvm');
  });

  test("is never root's home directory, which root's machines could not walk into", () => {
    assert.equal(place({}, 0).path, '/var/tmp/claude-bottle-0/smolvm');
    assert.equal(place({}, 0).dropsUser, true);
    assert.equal(place({ SMOLVM_VM_UID_DROP: 'off' }, 0).dropsUser, false);
  });

  test('is what was asked for', () => {
    assert.equal(place({ CLAUDE_BOTTLE_SMOLVM_HOME: '/data/vm' }).path, '/data/vm/smolvm');
    assert.throws(() => place({ CLAUDE_BOTTLE_SMOLVM_HOME: 'vm' }), refused('relative'));
    const user = { CLAUDE_BOTTLE_SMOLVM_HOME: 'user' };
    assert.deepEqual(place(user), { path: undefined, cache: '/home/me/.cache', limit: 66, dropsUser: false });
    assert.equal(place({ ...user, XDG_CACHE_HOME: '/c' }).cache, '/c');
    assert.equal(place({ ...user, XDG_CACHE_HOME: '/c', SMOLVM_DATA_DIR: '/d' }).cache, '/d/.cache');
  });

  test("is the user's own on macOS, where it cannot be moved", () => {
    assert.deepEqual(place({ CLAUDE_BOTTLE_SMOLVM_HOME: '/data' }, 501, 'darwin'), {
      path: undefined,
      cache: '/home/me/Library/Caches',
      limit: 62,
      dropsUser: false,
    });
  });
});

describe('the home of machines', () => {
  test('is made for this user alone, below a directory that keeps others out', async () => {
    await using top = await root();
    const asked = join(top.path, 'h');
    // Whatever this process may do, its machines run as this user.
    const env = { CLAUDE_BOTTLE_SMOLVM_HOME: asked, SMOLVM_VM_UID_DROP: 'off' };
    const home = await machineHome(env, top.path, me, 'linux');
    assert.deepEqual(home, {
      path: join(asked, 'smolvm'),
      env: {
        SMOLVM_PUBLISH_ADDR: undefined,
        SMOLVM_GUEST_HOST_SERVICE: undefined,
        SMOLVM_DATA_DIR: join(asked, 'smolvm'),
      },
    });
    assert.equal((await stat(asked)).mode & 0o777, 0o700);
    // smolvm opens its own directory to everybody; that is no reason to refuse it the next time.
    await chmod(join(asked, 'smolvm'), 0o755);
    assert.deepEqual(await machineHome(env, top.path, me, 'linux'), home);
    assert.equal((await stat(asked)).mode & 0o777, 0o700);
  });

  test('moves nothing when it is to be the user’s own', async () => {
    const home = await machineHome({ CLAUDE_BOTTLE_SMOLVM_HOME: 'user' }, '/nowhere', me, 'linux');
    assert.equal(home.path, undefined);
    assert.ok(!('SMOLVM_DATA_DIR' in home.env));
  });

  test('whose path is too long is refused with the limit', async () => {
    const asked = `/tmp/${'x'.repeat(60)}`;
    for (const env of [
      { CLAUDE_BOTTLE_SMOLVM_HOME: asked },
      { CLAUDE_BOTTLE_SMOLVM_HOME: 'user', XDG_CACHE_HOME: `${asked}xx` },
    ]) {
      await assert.rejects(machineHome(env, '/nowhere', me, 'linux'), (error) => {
        refused('too-long')(error);
        assert.equal((error as MachineHomeUnusable).fields.limit, 66);
        return true;
      });
    }
    await assert.rejects(stat(asked), { code: 'ENOENT' });
  });

  test('that others own, may write to, or have put a link or a file at is refused', async () => {
    const off = { SMOLVM_VM_UID_DROP: 'off' };
    await using top = await root();
    const asked = join(top.path, 'h');
    const open = (uid = me) =>
      machineHome({ ...off, CLAUDE_BOTTLE_SMOLVM_HOME: asked }, top.path, uid, 'linux');

    await mkdir(asked);
    await chmod(asked, 0o700);
    await assert.rejects(open(me + 1), refused('not-yours'));
    await chmod(asked, 0o770);
    await assert.rejects(open(), refused('not-yours'));
    await chmod(asked, 0o700);
    await mkdir(join(asked, 'smolvm'));
    await chmod(join(asked, 'smolvm'), 0o777);
    await assert.rejects(open(), refused('not-yours'));
    await rm(asked, { recursive: true });

    await mkdir(join(top.path, 'elsewhere'));
    await symlink(join(top.path, 'elsewhere'), asked);
    await assert.rejects(open(), refused('not-a-directory'));
    await rm(asked);
    await writeFile(asked, '');
    await assert.rejects(open(), refused('not-a-directory'));
  });

  const skip = me === 0 ? false : "only root's machines run as another user";
  test('of machines that run as another user is passable all the way, or refused', { skip }, async () => {
    await using top = await root();
    const asked = join(top.path, 'h');
    const open = () => machineHome({ CLAUDE_BOTTLE_SMOLVM_HOME: asked }, top.path, 0, 'linux');
    await mkdir(asked, { mode: 0o700 });
    await open();
    assert.equal((await stat(asked)).mode & 0o777, 0o711);
    await chmod(top.path, 0o700);
    await assert.rejects(open(), refused('not-walkable'));
  });

  test('finds what the installer left in the user’s home, where it would have found it there', async () => {
    await using top = await root();
    const [user, data] = [join(top.path, 'user'), join(top.path, 'data')];
    await mkdir(join(user, '.smolvm'), { recursive: true });
    await mkdir(join(data, 'smolvm', 'agent-rootfs'), { recursive: true });
    const env = {
      CLAUDE_BOTTLE_SMOLVM_HOME: join(top.path, 'h'),
      SMOLVM_VM_UID_DROP: 'off',
      XDG_DATA_HOME: data,
    };
    const open = async () => (await machineHome(env, user, me, 'linux')).path ?? '';
    const path = await open();
    assert.equal(await readlink(join(path, '.smolvm')), join(user, '.smolvm'));
    const rootfs = join(path, '.local/share/smolvm/agent-rootfs');
    assert.equal(await readlink(rootfs), join(data, 'smolvm/agent-rootfs'));
    await assert.rejects(lstat(join(path, '.local/share/smolvm/init.krun')), { code: 'ENOENT' });

    // One that leads to where it was installed before is made anew; one that is really there stays.
    await rm(rootfs);
    await symlink('/nowhere', rootfs);
    await rm(join(path, '.smolvm'));
    await mkdir(join(path, '.smolvm'));
    await Promise.all([open(), open(), open()]);
    assert.equal(await readlink(rootfs), join(data, 'smolvm/agent-rootfs'));
    assert.ok((await lstat(join(path, '.smolvm'))).isDirectory());
  });
});
