import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { tarOf } from '../../oci/tar-builder.ts';
import { filesCases, listing } from '../cases/files.ts';
import { onStage } from '../stage.ts';
import { openStage } from './stage.ts';

onStage('files of a machine', { open: openStage, timeout: 300_000 }, (stage) => {
  for (const [name, holds] of Object.entries(filesCases)) {
    test(name, () => holds({ stage: stage(), outside: listing, mebibytes: 64, broken: /the source broke/ }));
  }

  test('that would land outside are refused', async () => {
    await using made = await stage().make();
    const outside = tarOf([{ path: '../outside', data: Buffer.from('x') }]);
    await assert.rejects(made.bottle.copyIn(Readable.from([outside]), '/srv'), { name: 'FilesRefused' });
  });

  test('of the host cannot be mounted one by one', async () => {
    const mounts = [{ source: '/etc/passwd', target: '/p', readOnly: true }];
    await assert.rejects(stage().make({ mounts }), {
      name: 'MountUnfit',
      fields: { source: '/etc/passwd' },
    });
  });
});
