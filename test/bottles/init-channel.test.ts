import assert from 'node:assert/strict';
import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ControlSocketUnusable, InitSilent } from '../../src/bottles/errors.ts';
import { InitChannel } from '../../src/bottles/init-channel.ts';

async function stage() {
  const directory = await mkdtemp(join(tmpdir(), 'cb-init-'));
  const path = join(directory, 'control.sock');
  const channel = await InitChannel.listen(path);
  return {
    path,
    channel,
    async join(): Promise<Socket> {
      const socket = connect(path);
      await once(socket, 'connect');
      return socket;
    },
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

test('the reports come through, whole, once bottle-init holds', async () => {
  await using host = await stage();
  const init = await host.join();
  init.write('{"check":"a","outcome":"failed"}\n{"check":"b","outc');
  init.write('ome":"answered"}\n{"event":"ready"}\n');
  assert.equal(
    await host.channel.ready,
    '{"check":"a","outcome":"failed"}\n{"check":"b","outcome":"answered"}\n',
  );
  init.destroy();
});

test('nobody but the first to come can speak for bottle-init', async () => {
  await using host = await stage();
  const init = await host.join();
  init.write('{"event":"ready"}\n');
  await host.channel.ready;
  await assert.rejects(access(host.path), { code: 'ENOENT' });
  const late = connect(host.path);
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  assert.ok(['ENOENT', 'ECONNREFUSED'].includes(error.code ?? ''), error.code);
  init.destroy();
});

test('the environment goes out with its length, and what ends the command comes in', async () => {
  await using host = await stage();
  const init = await host.join();
  init.write('{"event":"ready"}\n');
  await host.channel.ready;
  host.channel.go({ A: 'one', B: 'two\nlines' });
  let said = Buffer.alloc(0);
  while (!said.includes('lines\0')) said = Buffer.concat([said, (await once(init, 'data'))[0] as Buffer]);
  assert.equal(said.toString(), 'go 18\nA=one\0B=two\nlines\0');
  init.write('{"event":"started"}\n{"event":"exited","status":7}\n');
  assert.deepEqual(await host.channel.ended, { kind: 'exited', status: 7 });
  init.destroy();
});

test('one that goes away before it holds never was ready', async () => {
  await using host = await stage();
  const init = await host.join();
  init.write('{"check":"a","outcome":"failed"}\n');
  init.end();
  await assert.rejects(host.channel.ready, InitSilent);
  assert.deepEqual(await host.channel.ended, { kind: 'gone' });
});

test('a flood without an end is cut, not kept', async () => {
  await using host = await stage();
  const init = await host.join();
  init.on('error', () => undefined);
  const closed = new Promise((resolve) => init.once('close', resolve));
  init.write('x'.repeat(1024 * 1024));
  await closed;
  await assert.rejects(host.channel.ready, InitSilent);
});

test('a path that no socket can have is told', async () => {
  await assert.rejects(InitChannel.listen(`/tmp/${'x'.repeat(120)}`), ControlSocketUnusable);
});
