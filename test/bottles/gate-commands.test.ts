import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { buildImage, House } from './house.ts';

/** Asks the gate for a page, with nothing but a shell. Prints the status line. */
const asks = (url: string) =>
  `exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET ${url} HTTP/1.1\\r\\nHost: ${new URL(url).host}\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3`;

const server = createServer((_request, answer) => answer.end('hello'));
let house: House;
let slug: string;
let address: string;

before(async () => {
  await buildImage();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  address = `localhost:${(server.address() as AddressInfo).port}`;
  house = await House.build();
  await house.define('bottles', 'closed', '---\nenv: { KEPT: as it was }\n---\nNothing is open.\n');
  // A bottle of the repository's own of that name, which must not be what is written to.
  await house.write('.claude-bottle/bottles/closed.md', '---\nenv: {}\n---\n');
  const started = await house.start(['--detach', '--bottle=closed', '--', 'sleep', '600']);
  assert.equal(started.code, 0, started.stderr);
  slug = started.stdout.trim();
});
after(async () => {
  server.close();
  await house[Symbol.asyncDispose]();
});

async function ask(url: string): Promise<string> {
  const { code, stdout, stderr } = await house.bottle(['exec', slug, '--', 'bash', '-c', asks(url)]);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

test('a rule that is saved holds at once, is in the user’s definition, and holds in the next bottle', async () => {
  const repositorys = await readFile(join(house.repository, '.claude-bottle/bottles/closed.md'), 'utf8');
  assert.match(await ask(`http://${address}/`), /403/);
  const allowed = await house.bottle(['allow', slug, address, '--reach=loopback', '--save']);
  assert.equal(allowed.code, 0, allowed.stderr);
  assert.match(await ask(`http://${address}/`), /200/);
  const saved = await readFile(join(house.home, '.claude-bottle/bottles/closed.md'), 'utf8');
  assert.match(saved, /localhost/);
  assert.match(saved, /as it was/);
  assert.match(saved, /Nothing is open\.\n$/);
  assert.equal(
    await readFile(join(house.repository, '.claude-bottle/bottles/closed.md'), 'utf8'),
    repositorys,
  );
  const next = await house.start(['--bottle=closed', '--', 'bash', '-c', asks(`http://${address}/`)]);
  assert.equal(next.code, 0, next.stderr);
  assert.match(next.stdout, /200/);
});

test('list counts what went out and what was refused', async () => {
  const before = (await house.list()).find((bottle) => bottle['slug'] === slug)?.['egress'];
  assert.ok(before !== null && typeof before === 'object' && 'denied' in before);
  await ask('http://blocked.example/');
  const after = (await house.list()).find((bottle) => bottle['slug'] === slug)?.['egress'];
  assert.deepEqual(after, { ...before, denied: Number(before.denied) + 1 });
  const { stdout } = await house.bottle(['list']);
  assert.match(stdout, new RegExp(`${slug} .*running.*\\d+ out, \\d+ refused`));
});

test('the gate’s log follows what is decided while it is read', async () => {
  const child = house.spawn(['logs', '--gate', '--follow', '--json', slug]);
  assert.ok(child.stdout !== null);
  const lines = createInterface({ input: child.stdout });
  const seen = (async () => {
    for await (const line of lines) if (line.includes('later.example')) return line;
    return undefined;
  })();
  await ask('http://later.example/path?query=kept-out');
  const line = (await seen) ?? '';
  assert.equal((JSON.parse(line) as { host: string }).host, 'later.example');
  assert.ok(!line.includes('kept-out'));
  child.kill('SIGINT');
  assert.deepEqual(await once(child, 'exit'), [130, null]);
});
