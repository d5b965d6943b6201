import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import type { Bottle } from '../../../src/backends/backend.ts';
import { run } from '../../../src/process/run.ts';
import { endOfArchive, entryBytes, tarOf } from '../../oci/tar-builder.ts';
import { openStage, said, type Stage, ways } from './stage.ts';

const entries = [
  { path: 'tree/', type: '5', mode: 0o2750, uid: 1234, gid: 50 },
  { path: 'tree/file', data: Buffer.from('content'), mode: 0o640, uid: 1234, gid: 1234 },
  { path: 'tree/run', data: Buffer.from('#!/bin/sh\n'), mode: 0o755, uid: 0, gid: 0 },
  { path: 'tree/link', type: '2', link: 'file' },
  { path: 'tree/away', type: '2', link: '/etc/passwd' },
];
const listing = [
  'drwxr-s--- 1234 50 tree',
  'lrwxrwxrwx 0 0 tree/away -> /etc/passwd',
  '-rw-r----- 1234 1234 tree/file',
  'lrwxrwxrwx 0 0 tree/link -> file',
  '-rwxr-xr-x 0 0 tree/run',
].join('\n');

/** Zeros as one file of a tar, made as it is read. */
function* largeTar(megabytes: number): Generator<Buffer> {
  const mebi = 1024 * 1024;
  yield entryBytes({ path: 'large', size: megabytes * mebi });
  for (let sent = 0; sent < megabytes; sent++) yield Buffer.alloc(mebi);
  yield endOfArchive;
}

async function readAll(bottle: Bottle, path: string): Promise<Buffer> {
  await using out = await bottle.copyOut(path);
  const chunks = await out.stdout.toArray();
  await out.done;
  return Buffer.concat(chunks as Buffer[]);
}

/** What GNU tar says is in an archive: mode, owner, path. */
async function listed(tar: Buffer): Promise<string> {
  const { stdout, code, stderr } = await run(
    'sh',
    ['-c', 'base64 -d | tar --list --verbose --numeric-owner --file=-'],
    { input: tar.toString('base64') },
  );
  assert.equal(code, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.replace(/^(\S+) (\d+)\/(\d+) +\d+ \S+ \S+ (.*?)\/?$/, '$1 $2 $3 $4'))
    .sort((one, other) => ((one.split(' ')[3] ?? '') < (other.split(' ')[3] ?? '') ? -1 : 1))
    .join('\n');
}

const inBottle = 'find tree -printf "%M %U %G %p -> %l\\n" | sed "s/ -> $//" | sort -k 4';

for (const way of ways) {
  describe(`files with ${way}`, () => {
    let stage: Stage;
    before(async () => {
      stage = await openStage(way);
    });
    after(async () => {
      await stage[Symbol.asyncDispose]();
    });

    // Podman gives everything to root on the way out, and has no option against it (podman, libpod/container_copy_common.go).
    const outside = way === 'podman' ? listing.replaceAll(/ \d+ \d+ /g, ' 0 0 ') : listing;

    test('go into a bottle and come out of it before, during and after its run, with modes and owners', async () => {
      await using made = await stage.make();
      const { bottle } = made;
      await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv/before/start');
      assert.equal(await listed(await readAll(bottle, '/srv/before/start/tree')), outside);

      await bottle.start();
      await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv/running');
      assert.equal(await said(bottle, `cd /srv/running && ${inBottle}`), listing);
      assert.equal(await said(bottle, `cd /srv/before/start && ${inBottle}`), listing);
      assert.equal(await listed(await readAll(bottle, '/srv/running/tree')), outside);

      await bottle.stop(0);
      await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv');
      assert.equal(await listed(await readAll(bottle, '/srv/tree')), outside);
    });

    test('make the directory they go to, as root’s, and leave those alone that are there', async () => {
      await using made = await stage.run();
      const { bottle } = made;
      await said(bottle, 'mkdir -m 700 /srv/private && chown 5:6 /srv/private');
      await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv/private/one/two/');
      assert.equal(
        await said(bottle, 'stat -c "%a %u %g" /srv/private /srv/private/one /srv/private/one/two'),
        '700 5 6\n755 0 0\n755 0 0',
      );
      const long = `/srv/${'n'.repeat(90)}/${'m'.repeat(90)}`;
      await bottle.copyIn(Readable.from([tarOf(entries)]), long);
      assert.equal(await said(bottle, `cat ${long}/tree/file`), 'content');
    });

    test('of any size pass through without growing us', async () => {
      await using made = await stage.run();
      const before = process.memoryUsage.rss();
      let most = 0;
      await made.bottle.copyIn(Readable.from(largeTar(200)), '/srv');
      most = Math.max(most, process.memoryUsage.rss());
      assert.equal(await said(made.bottle, 'stat -c %s /srv/large'), String(200 * 1024 * 1024));
      await using out = await made.bottle.copyOut('/srv/large');
      let size = 0;
      for await (const chunk of out.stdout as AsyncIterable<Buffer>) {
        size += chunk.length;
        most = Math.max(most, process.memoryUsage.rss());
      }
      await out.done;
      assert.ok(size > 200 * 1024 * 1024);
      assert.ok(most - before < 150_000_000, `grew by ${most - before}`);
    });

    test('that are not there are a failure that says so', async () => {
      await using made = await stage.make();
      await assert.rejects(readAll(made.bottle, '/srv/nothing'), {
        name: 'BottlePathMissing',
        fields: { slug: made.spec.slug, path: '/srv/nothing' },
      });
      await assert.rejects(readAll(stage.backend.bottle('never-was'), '/srv'), { name: 'BottleGone' });
      await assert.rejects(
        stage.backend.bottle('never-was').copyIn(Readable.from([tarOf(entries)]), '/srv'),
        { name: 'BottleGone' },
      );
    });

    test('whose source breaks off are a failure, not half a copy that passes for whole', async () => {
      await using made = await stage.make();
      const broken = Readable.from(
        (function* () {
          yield entryBytes({ path: 'half', size: 1024 * 1024 });
          yield Buffer.alloc(1024);
          throw new Error('the source broke');
        })(),
      );
      await assert.rejects(made.bottle.copyIn(broken, '/srv'));
    });

    test('tell who the bottle’s user is, before its start', async () => {
      const image = await stage.image(
        'RUN groupadd -g 77 crew && useradd -u 1234 -g crew -d /house dev && mv /etc/passwd /etc/p && ln -s ../etc/./p /etc/passwd\nUSER dev',
      );
      const accountOf = async (user?: string) => {
        await using made = await stage.make({ image, ...(user === undefined ? {} : { user }) });
        return await made.bottle.account();
      };
      assert.deepEqual(await accountOf(), { uid: 1234, gid: 77, home: '/house' });
      assert.deepEqual(await accountOf('dev:staff'), { uid: 1234, gid: 50, home: '/house' });
      assert.deepEqual(await accountOf('4242'), { uid: 4242, gid: 0, home: '/' });
      assert.deepEqual(await accountOf('root'), { uid: 0, gid: 0, home: '/root' });
      for (const user of ['nobody-here', 'dev:nogroup-here']) {
        await assert.rejects(accountOf(user), (error: { name: string; fields: Record<string, string> }) => {
          assert.equal(error.name, 'UserUnknown');
          assert.equal(error.fields.user, user);
          assert.match(error.fields.image ?? '', /claude-bottle-test/);
          return true;
        });
      }
    });
  });
}
