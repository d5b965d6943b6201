import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesCases, listing } from '../cases/files.ts';
import { onStage } from '../stage.ts';
import { openStage, ways } from './stage.ts';

for (const way of ways) {
  onStage(`files with ${way}`, { open: () => openStage(way) }, (stage) => {
    // Podman gives everything to root on the way out, and has no option against it (podman, libpod/container_copy_common.go).
    const outside = way === 'podman' ? listing.replaceAll(/ \d+ \d+ /g, ' 0 0 ') : listing;

    for (const [name, holds] of Object.entries(filesCases)) {
      test(name, () => holds({ stage: stage(), outside, mebibytes: 200 }));
    }

    test('tell who the bottle’s user is, before its start', async () => {
      const image = await stage().image(
        'RUN groupadd -g 77 crew && useradd -u 1234 -g crew -d /house dev && mv /etc/passwd /etc/p && ln -s ../etc/./p /etc/passwd\nUSER dev',
      );
      const accountOf = async (user?: string) => {
        await using made = await stage().make({ ...image, ...(user === undefined ? {} : { user }) });
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
