import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/process/run.ts';
import { build, docker, runSealed, startSealed, temporary } from './guest.ts';

const source = fileURLToPath(new URL('native/calls.c', import.meta.url));

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** Nothing of the engine's in the way: what is refused here, bottle-init refuses, and it has rights to refuse. */
const unconfined = [
  ...['SYS_ADMIN', 'DAC_READ_SEARCH', 'NET_RAW'].map((one) => `--cap-add=${one}`),
  ...['seccomp=unconfined', 'apparmor=unconfined'].map((one) => `--security-opt=${one}`),
];

/** What the filter has to answer; 0 where it has no business. */
function expected(abi: string, name: string): number {
  // No call at all: even what is harmless.
  if (abi === 'x32') return ENOSYS;
  if (/^(clone nothing|unshare files|socket AF_(UNIX|INET))$/.test(name)) return 0;
  if (name === 'clone3' || name === 'socketcall') return ENOSYS;
  return name.startsWith('socket AF_') ? EAFNOSUPPORT : EPERM;
}

/** The lines of native/calls.c. */
function answers(stdout: string): Map<string, number> {
  const lines = stdout.trimEnd().split('\n');
  return new Map(lines.map((line) => [line.slice(0, -4), Number(line.slice(-3))]));
}

const programs = [
  { name: 'native', flags: [], abis: process.arch === 'x64' ? ['own', 'int80', 'x32'] : ['own'] },
  ...(process.arch === 'x64' ? [{ name: '32-bit', flags: ['-m32'], abis: ['i386'] }] : []),
];

describe('what bottle-init refuses to every program', { timeout: 120_000 }, () => {
  let directory: Awaited<ReturnType<typeof temporary>>;
  before(async () => {
    await build();
    directory = await temporary();
    for (const { name, flags } of programs) {
      const freestanding = ['-static', '-nostdlib', '-fno-pic', '-no-pie', '-fno-stack-protector', '-O1'];
      const args = [...flags, ...freestanding, '-o', join(directory.path, name), source];
      const { code, stderr } = await run('gcc', args, { deadlineMs: 60_000 });
      assert.equal(code, 0, stderr);
    }
  });
  after(() => directory[Symbol.asyncDispose]());

  for (const { name, abis } of programs) {
    const mount = () => `--volume=${join(directory.path, name)}:/calls:ro`;

    async function free(): Promise<Map<string, number>> {
      const args = [
        'run',
        '--rm',
        '--network=none',
        ...unconfined,
        mount(),
        'debian:bookworm-slim',
        '/calls',
      ];
      const { code, stdout, stderr } = await docker(args);
      assert.equal(code, 0, stderr);
      return answers(stdout);
    }

    async function check(stdout: string): Promise<void> {
      const found = answers(stdout);
      const without = await free();
      const seen = new Set([...found.keys()].map((key) => key.split(' ', 1)[0]));
      assert.deepEqual([...seen], abis);
      for (const [call, code] of found) {
        const [abi = '', ...rest] = call.split(' ');
        const wanted = expected(abi, rest.join(' '));
        assert.equal(code, wanted, call);
        // Few kernels have x32, so that its numbers are refused twice.
        if (abi !== 'x32' && wanted !== 0) assert.notEqual(without.get(call), wanted, `${call}, unconfined`);
      }
      assert.ok(found.size >= 40 * abis.length - 4, `${found.size}`);
    }

    for (const user of ['root', 'www-data']) {
      test(`a ${name} program of ${user}’s as the command`, async () => {
        const init = [`--user=${user}`, '--', '/calls'];
        const { code, stdout, stderr } = await runSealed(init, [...unconfined, mount()]);
        assert.equal(code, 0, stderr);
        await check(stdout);
      });

      test(`a ${name} program of ${user}’s put in with exec`, async () => {
        await using container = await startSealed(['--', 'sleep', 'infinity'], [...unconfined, mount()]);
        const exec = ['/bottle-init', 'exec', `--user=${user}`, '--', '/calls'];
        const { code, stdout, stderr } = await container.exec(container.name, ...exec);
        assert.equal(code, 0, stderr);
        await check(stdout);
      });
    }
  }
});
