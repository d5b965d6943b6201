import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PackInterrupted } from '../../src/commands/errors.ts';
import { explain } from '../../src/commands/failures.ts';
import { run } from '../../src/process/run.ts';
import { artifactFile } from '../smolmachine/artifact-file.ts';

// The pipeline at the border to other programs: an engine and a smolvm that write down how they are called.

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;
const id = `sha256:${'5a'.repeat(32)}`;
const key = '5a'.repeat(8);
let folder: string;
let registry: Server;
let port: number;
/** Of the pack that was started last. */
let pid: Promise<number>;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pack-order-'));
  registry = createServer((_request, response) => response.end());
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
  port = (registry.address() as { port: number }).port;
  const inspected = JSON.stringify([
    {
      Id: id,
      Architecture: 'amd64',
      Os: 'linux',
      Size: 1000,
      Config: {},
      RootFS: { Layers: [id] },
      RepoTags: ['claude-bottle:latest'],
    },
  ]);
  await program(
    'engine',
    `case "$1 $2" in
      "info "*) echo '{"ServerVersion":"20.10.24","Driver":"overlay2","OperatingSystem":"Debian"}' ;;
      "context "*) echo '{"Endpoints":{"docker":{"Host":"tcp://127.0.0.1:1"}}}' ;;
      "build "*) [ -z "$HANG" ] || sleep 60; while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && printf ${id} >"$2"; shift; done ;;
      "image inspect") case "$*" in *RepoTags*) echo 2 ;; *format*) echo ${id} ;; *) cat "$FAKE/inspect.json" ;; esac ;;
      "run "*) echo 0123456789ab ;;
      "port "*) echo 127.0.0.1:${port} ;;
    esac`,
  );
  await program(
    'smolvm',
    `case "$1 $2" in
      "--version "*) echo 'smolvm 1.9.3' ;;
      "machine create") echo 'Usage: smolvm machine create [OPTIONS]'; echo '      --from <PATH>'; echo '      --net' ;;
      "pack create") cp "$FAKE/artifact" "$6.smolmachine" ;;
    esac`,
  );
  await writeFile(join(folder, 'inspect.json'), inspected);
  await writeFile(join(folder, 'artifact'), artifactFile());
  await mkdir(join(folder, 'project'));
  await writeFile(join(folder, 'project/Dockerfile'), 'FROM scratch\n');
});
after(async () => {
  registry.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => rm(join(folder, 'cache'), { recursive: true, force: true }));

test('a miss builds, inspects, starts the registry, tags, pushes, packs, and removes the registry by force', async () => {
  const { code, stdout, stderr, calls } = await pack('--registry', 'container');
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim(), join(folder, `cache/claude-bottle/smolmachines/${key}.smolmachine`));
  assert.deepEqual(heavy(calls), [
    'build',
    'image inspect',
    'run',
    'port',
    'tag',
    'push',
    'image inspect',
    'rmi',
    'pack create',
    'rm',
  ]);
  const tagged = calls.find((call) => call.startsWith('engine tag '));
  assert.equal(tagged, `engine tag ${id} 127.0.0.1:${port}/claude-bottle:${key}`);
  assert.ok(calls.includes(`engine push 127.0.0.1:${port}/claude-bottle:${key}`), calls.join('\n'));
  assert.match(
    calls.find((call) => call.startsWith('smolvm pack create')) ?? '',
    new RegExp(`--image 127.0.0.1:${port}/claude-bottle:${key} -o `),
  );
});

test('a hit builds and inspects only', async () => {
  await pack('--registry', 'container');
  const { code, calls } = await pack('--registry', 'container');
  assert.equal(code, 0);
  assert.deepEqual(heavy(calls), ['build', 'image inspect']);
});

test('the image is named by CLAUDE_BOTTLE_IMAGE, else claude-bottle:latest', async () => {
  const named = async (env: Record<string, string>) => {
    const { calls } = await packWith(env, '--registry', 'container');
    return / (?:-t|--tag)[= ](\S+)/.exec(calls.find((call) => call.startsWith('engine build')) ?? '')?.[1];
  };
  assert.equal(await named({}), 'claude-bottle:latest');
  assert.equal(await named({ CLAUDE_BOTTLE_IMAGE: 'mine:1' }), 'mine:1');
});

test('without smolvm nothing is kept, and the message names the way out', async () => {
  const { code, stderr } = await packWith({ CLAUDE_BOTTLE_SMOLVM: join(folder, 'absent') });
  assert.equal(code, 3);
  assert.match(stderr, /there is no smolvm at .*absent/);
  assert.match(stderr, /--format oci/);
});

test('a signal ends it with what is undone and what stays, and leaves nothing half made', async () => {
  const ending = packWith({ HANG: 'yes' }, '--registry', 'container');
  while (!(await readFile(join(folder, 'calls'), 'utf8').catch(() => '')).includes('engine build')) {
    await sleep(20);
  }
  process.kill(await pid, 'SIGTERM');
  const { code, stdout, stderr } = await ending;
  assert.equal(code, 130, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, /error: stopped by SIGTERM; nothing was packed\n {2}What was half made is removed\./);
  for (const place of ['tmp', 'locks', 'smolmachines']) {
    assert.deepEqual(await readdir(join(folder, 'cache/claude-bottle', place)).catch(() => []), []);
  }
});

test('a signal that ends only the copy says where the result is', () => {
  const interrupted = new PackInterrupted({ signal: 'SIGINT', kept: '/cache/one', output: '/out/one' });
  const { what, why, exitCode } = explain(interrupted);
  assert.equal(what, 'interrupted; nothing was copied to /out/one');
  assert.match(why ?? '', /\/cache\/one$/);
  assert.equal(exitCode, 130);
});

/** The commands that do something, in order, without those that only ask what there is. */
function heavy(calls: readonly string[]): string[] {
  return calls
    .map((call) => call.replace(/^(engine|smolvm) /, ''))
    .map((call) => /^(image inspect|pack create|\S+)/.exec(call)?.[1] ?? call)
    .filter((call) => !['info', 'context', '--version', 'machine', 'logs'].includes(call));
}

function pack(...args: string[]) {
  return packWith({}, ...args);
}

async function packWith(env: Record<string, string>, ...args: string[]) {
  const launched = Promise.withResolvers<number>();
  pid = launched.promise;
  const log = join(folder, 'calls');
  await rm(log, { force: true });
  const result = await run(process.execPath, [launcher, 'pack', join(folder, 'project'), ...args], {
    onStart: launched.resolve,
    env: {
      PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
      XDG_CACHE_HOME: join(folder, 'cache'),
      CLAUDE_BOTTLE_ENGINE: join(folder, 'engine'),
      CLAUDE_BOTTLE_SMOLVM: join(folder, 'smolvm'),
      DOCKER_HOST: undefined,
      FAKE: folder,
      ...env,
    },
  });
  const text = await readFile(log, 'utf8').catch(() => '');
  return { ...result, calls: text.split('\n').filter((line) => line !== '') };
}

async function program(name: string, body: string): Promise<void> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\necho ${name} "$@" >>"$FAKE/calls"\n${body}\n`);
  await chmod(path, 0o755);
}
