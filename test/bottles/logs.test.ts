import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { quoted } from '../process/tmux.ts';
import { buildImage, House, program } from './house.ts';

const lines = 12_000;
const line = 'the same words again '.repeat(200).trim();
let house: House;
let slug: string;

before(async () => {
  await buildImage();
  house = await House.build();
  const script = `yes '${line}' | head --lines=${lines}; touch /tmp/printed; sleep 600`;
  const started = await house.start(['--detach', '--', 'bash', '-c', script]);
  assert.equal(started.code, 0, started.stderr);
  slug = started.stdout.trim();
  const printed = 'until [ -e /tmp/printed ]; do sleep 0.1; done';
  assert.equal((await house.bottle(['exec', slug, '--', 'bash', '-c', printed])).code, 0);
});
after(() => house[Symbol.asyncDispose]());

test('a log is not held in memory for a reader that takes its time, and comes whole', async () => {
  const child = house.spawn(['logs', slug]);
  const { stdout, pid = 0 } = child;
  assert.ok(stdout !== null);
  await once(stdout, 'readable');
  // Time enough to read all of it ahead.
  await sleep(3_000);
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  let bytes = 0;
  for await (const chunk of stdout as AsyncIterable<Buffer>) bytes += chunk.length;
  // The bottle has a terminal, which ends lines with two characters.
  assert.equal(bytes, lines * (line.length + 2));
  assert.ok(peak < 110 * 1024 * 1024, `${Math.round(peak / 1024 / 1024)} MiB`);
});

test('a reader that has seen enough ends it without a word, and with 141', async () => {
  for (const flags of ['', ' --follow']) {
    const script = `${quoted(program)} logs${flags} ${slug} | head --lines=1; echo "code \${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await run('bash', ['-c', script], { env: house.env, deadlineMs: 60_000 });
    assert.equal(stdout, `${line}\r\ncode 141\n`);
    assert.equal(stderr, '');
  }
});
