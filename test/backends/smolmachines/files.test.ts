import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import type { Bottle } from '../../../src/backends/backend.ts';
import { run } from '../../../src/process/run.ts';
import { endOfArchive, entryBytes, tarOf } from '../../oci/tar-builder.ts';
import { openStage, said, type Stage } from './stage.ts';

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
const inBottle = 'find tree -printf "%M %U %G %p -> %l\\n" | sed "s/ -> $//" | sort -k 4';

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

describe('files of a machine', { timeout: 300_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage();
  });
  after(async () => {
    await stage[Symbol.asyncDispose]();
  });

  test('go into a bottle and come out of it before, during and after its run, with modes and owners', async () => {
    await using made = await stage.make();
    const { bottle } = made;
    await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv/before/start');
    assert.equal(await listed(await readAll(bottle, '/srv/before/start/tree')), listing);
    await bottle.start();
    await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv/running');
    assert.equal(await said(bottle, `cd /srv/running && ${inBottle}`), listing);
    assert.equal(await said(bottle, `cd /srv/before/start && ${inBottle}`), listing);
    await bottle.stop(0);
    await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv');
    assert.equal(await listed(await readAll(bottle, '/srv/tree')), listing);
  });

  test('make the directory they go to, as root’s, and leave those alone that are there', async () => {
    await using made = await stage.make();
    const { bottle } = made;
    await said(bottle, 'mkdir -m 700 /srv/private && chown 5:6 /srv/private', 'root');
    await bottle.copyIn(Readable.from([tarOf(entries)]), '/srv/private/one/two/');
    assert.equal(
      await said(bottle, 'stat -c "%a %u %g" /srv/private /srv/private/one /srv/private/one/two', 'root'),
      '700 5 6\n755 0 0\n755 0 0',
    );
    const long = `/srv/${'n'.repeat(90)}/${'m'.repeat(90)}`;
    await bottle.copyIn(Readable.from([tarOf(entries)]), long);
    assert.equal(await said(bottle, `cat ${long}/tree/file`, 'root'), 'content');
  });

  test('of any size pass through without growing us', async () => {
    await using made = await stage.make();
    const before = process.memoryUsage.rss();
    await made.bottle.copyIn(Readable.from(largeTar(64)), '/srv');
    assert.equal(await said(made.bottle, 'stat -c %s /srv/large'), String(64 * 1024 * 1024));
    await using out = await made.bottle.copyOut('/srv/large');
    let size = 0;
    for await (const chunk of out.stdout as AsyncIterable<Buffer>) size += chunk.length;
    await out.done;
    assert.ok(size > 64 * 1024 * 1024);
    assert.ok(process.memoryUsage.rss() - before < 150_000_000);
  });

  test('that are not there, or break off, are failures that say so', async () => {
    await using made = await stage.make();
    await assert.rejects(readAll(made.bottle, '/srv/nothing'), {
      name: 'BottlePathMissing',
      fields: { slug: made.spec.slug, path: '/srv/nothing' },
    });
    const gone = stage.backend.bottle('never-was');
    await assert.rejects(readAll(gone, '/srv'), { name: 'BottleGone' });
    await assert.rejects(gone.copyIn(Readable.from([tarOf(entries)]), '/srv'), { name: 'BottleGone' });
    const broken = Readable.from(
      (function* () {
        yield entryBytes({ path: 'half', size: 1024 * 1024 });
        yield Buffer.alloc(1024);
        throw new Error('the source broke');
      })(),
    );
    await assert.rejects(made.bottle.copyIn(broken, '/srv'), /the source broke/);
    const outside = tarOf([{ path: '../outside', data: Buffer.from('x') }]);
    await assert.rejects(made.bottle.copyIn(Readable.from([outside]), '/srv'), { name: 'FilesRefused' });
  });

  test('of the host cannot be mounted one by one', async () => {
    await assert.rejects(stage.make({ mounts: [{ source: '/etc/passwd', target: '/p', readOnly: true }] }), {
      name: 'MountUnfit',
      fields: { source: '/etc/passwd' },
    });
  });
});
