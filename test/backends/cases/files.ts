import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import type { Bottle } from '../../../src/backends/backend.ts';
import { run } from '../../../src/process/run.ts';
import { endOfArchive, entryBytes, tarOf } from '../../oci/tar-builder.ts';
import { mebi, said, type Stage } from '../stage.ts';
import type { Cases } from './case.ts';

const entries = [
  { path: 'tree/', type: '5', mode: 0o2750, uid: 1234, gid: 50 },
  { path: 'tree/file', data: Buffer.from('content'), mode: 0o640, uid: 1234, gid: 1234 },
  { path: 'tree/run', data: Buffer.from('#!/bin/sh\n'), mode: 0o755, uid: 0, gid: 0 },
  { path: 'tree/link', type: '2', link: 'file' },
  { path: 'tree/away', type: '2', link: '/etc/passwd' },
];
/** `entries` as they are in a bottle. */
export const listing = [
  'drwxr-s--- 1234 50 tree',
  'lrwxrwxrwx 0 0 tree/away -> /etc/passwd',
  '-rw-r----- 1234 1234 tree/file',
  'lrwxrwxrwx 0 0 tree/link -> file',
  '-rwxr-xr-x 0 0 tree/run',
].join('\n');
const inBottle = 'find tree -printf "%M %U %G %p -> %l\\n" | sed "s/ -> $//" | sort -k 4';
const tree = () => Readable.from([tarOf(entries)]);

/** Zeros as one file of a tar, made as it is read. */
function* largeTar(mebibytes: number): Generator<Buffer> {
  yield entryBytes({ path: 'large', size: mebibytes * mebi });
  for (let sent = 0; sent < mebibytes; sent++) yield Buffer.alloc(mebi);
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

interface Given {
  readonly stage: Stage;
  /** `listing` of what comes out of a bottle. */
  readonly outside: string;
  /** What is large here. */
  readonly mebibytes: number;
  /** What is said of a tar that breaks off, where it is more than that it failed. */
  readonly broken?: RegExp;
}

export const filesCases: Cases<Given> = {
  'go into a bottle and come out of it before, during and after its run, with modes and owners': async ({
    stage,
    outside,
  }) => {
    await using made = await stage.make();
    const { bottle } = made;
    await bottle.copyIn(tree(), '/srv/before/start');
    assert.equal(await listed(await readAll(bottle, '/srv/before/start/tree')), outside);

    await bottle.start();
    await bottle.copyIn(tree(), '/srv/running');
    assert.equal(await said(bottle, `cd /srv/running && ${inBottle}`), listing);
    assert.equal(await said(bottle, `cd /srv/before/start && ${inBottle}`), listing);
    assert.equal(await listed(await readAll(bottle, '/srv/running/tree')), outside);

    await bottle.stop(0);
    await bottle.copyIn(tree(), '/srv');
    assert.equal(await listed(await readAll(bottle, '/srv/tree')), outside);
  },

  'make the directory they go to, as root’s, and leave those alone that are there': async ({ stage }) => {
    await using made = await stage.run();
    const { bottle } = made;
    await said(bottle, 'mkdir -m 700 /srv/private && chown 5:6 /srv/private', 'root');
    await bottle.copyIn(tree(), '/srv/private/one/two/');
    assert.equal(
      await said(bottle, 'stat -c "%a %u %g" /srv/private /srv/private/one /srv/private/one/two', 'root'),
      '700 5 6\n755 0 0\n755 0 0',
    );
    const long = `/srv/${'n'.repeat(90)}/${'m'.repeat(90)}`;
    await bottle.copyIn(tree(), long);
    assert.equal(await said(bottle, `cat ${long}/tree/file`), 'content');
  },

  'of any size pass through without growing us': async ({ stage, mebibytes }) => {
    await using made = await stage.run();
    const before = process.memoryUsage.rss();
    let most = 0;
    await made.bottle.copyIn(Readable.from(largeTar(mebibytes)), '/srv');
    most = Math.max(most, process.memoryUsage.rss());
    assert.equal(await said(made.bottle, 'stat -c %s /srv/large'), String(mebibytes * mebi));
    await using out = await made.bottle.copyOut('/srv/large');
    let size = 0;
    for await (const chunk of out.stdout as AsyncIterable<Buffer>) {
      size += chunk.length;
      most = Math.max(most, process.memoryUsage.rss());
    }
    await out.done;
    assert.ok(size > mebibytes * mebi);
    assert.ok(most - before < 150_000_000, `grew by ${most - before}`);
  },

  'that are not there are a failure that says so': async ({ stage }) => {
    await using made = await stage.make();
    await assert.rejects(readAll(made.bottle, '/srv/nothing'), {
      name: 'BottlePathMissing',
      fields: { slug: made.spec.slug, path: '/srv/nothing' },
    });
    const gone = stage.backend.bottle('never-was');
    await assert.rejects(readAll(gone, '/srv'), { name: 'BottleGone' });
    await assert.rejects(gone.copyIn(tree(), '/srv'), { name: 'BottleGone' });
  },

  'whose source breaks off are a failure, not half a copy that passes for whole': async ({
    stage,
    broken = /./,
  }) => {
    await using made = await stage.make();
    const half = Readable.from(
      (function* () {
        yield entryBytes({ path: 'half', size: mebi });
        yield Buffer.alloc(1024);
        throw new Error('the source broke');
      })(),
    );
    await assert.rejects(made.bottle.copyIn(half, '/srv'), broken);
  },
};
