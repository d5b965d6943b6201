import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as v from 'valibot';
import { run } from '../../src/process/run.ts';
import { Cage, onEvery, sharedCage } from './cage.ts';

// smolvm mounts no directory of the system's.
const seen = await mkdtemp(join(tmpdir(), 'escape-seen-'));
after(() => rm(seen, { recursive: true, force: true }));

const given = 'given-71c2f0a94e';
const kept = 'kept-5b8d3e6a17';

/** Looks for a text in every file that the agent can read, and in every process's environment and arguments. */
const search = (needle: string) => `
needle = b''.join([${needle
  .match(/.{1,4}/g)
  ?.map((part) => `b'${part}'`)
  .join(', ')}])
found = []
def look(path):
    try:
        with open(path, 'rb') as file:
            rest = b''
            while part := file.read(1 << 20):
                if needle in rest + part: found.append(path); return
                rest = part[-64:]
    except OSError: pass
for where, names, files in os.walk('/'):
    if where == '/': names[:] = [name for name in names if name not in ('proc', 'sys', 'usr', 'lib', 'attack')]
    for name in files:
        path = os.path.join(where, name)
        try:
            if stat.S_ISREG(os.lstat(path).st_mode): look(path)
        except OSError: pass
for pid in [name for name in os.listdir('/proc') if name.isdigit()]:
    for name in ('environ', 'cmdline'): look(f'/proc/{pid}/{name}')
result = sorted(set(re.sub('[0-9]+', 'N', path) if path.startswith('/proc') else path for path in found))`;

onEvery('nothing of the host', (candidate) => {
  const cage = sharedCage(() =>
    Cage.start(candidate, ['--bottle=dev', `--mount=${seen}:/seen:ro`], {
      env: { GIVEN: given, KEPT: kept, AWS_SECRET_ACCESS_KEY: kept },
      prepare: async (house) => {
        await house.define('bottles', 'dev', '---\nenv:\n  TOKEN: ${GIVEN}\n---\n');
        await house.write('.env', `SECRET=${kept}\n`);
        await house.write('.gitignore', '.env\n');
      },
    }),
  );
  const ask = async <T>(code: string, schema: v.GenericSchema<unknown, T>) =>
    (await cage()).ask(code, schema);
  const texts = v.array(v.string());

  test('a secret that was not given is nowhere in the bottle', async (t) => {
    assert.deepEqual(await ask(search(kept), texts), []);
    t.diagnostic(
      'tried: to find a variable of the host and an ignored .env in every file and process; stopped by: they never came in',
    );
  });

  test('a secret that was given is in the environment of the agent and its children, and nowhere else inside', async () => {
    assert.deepEqual(await ask(search(given), texts), ['/proc/N/environ']);
  });

  test('a secret that was given is in no record, log, argument or description on the host', async () => {
    const { slug, house } = await cage();
    const clean = (text: string, where: string) =>
      assert.ok(!text.includes(given) && !text.includes(kept), where);
    let told = '';
    for await (const text of candidate.known(house, slug)) {
      clean(text, 'what runs it');
      if (text.includes(slug)) told = 'told';
    }
    assert.equal(told, 'told');
    const { stdout: argv } = await run('ps', ['-eww', '-o', 'args'], { captureBytes: 4 << 20 });
    clean(argv, 'arguments');
    clean(JSON.stringify(await house.list('--all')), 'list');
    for (const entry of await readdir(house.path, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.name === '.env') continue;
      const text = await readFile(join(entry.parentPath, entry.name), 'latin1');
      assert.ok(!text.includes(given), join(entry.parentPath, entry.name));
    }
  });

  test('nothing of the host is mounted but the sockets, bottle-init and what was asked for', async () => {
    const mounts = await ask(
      "result = [line.split()[3:6:1] + line.split(' - ')[1].split()[:1] for line in open('/proc/self/mountinfo')]",
      v.array(v.strictTuple([v.string(), v.string(), v.string(), v.string()])),
    );
    const kernel = /^(proc|sysfs|tmpfs|devpts|mqueue|cgroup2?|overlay|devtmpfs|shm|fuse-overlayfs)$/;
    const { mounts: own, ownMounts } = candidate.facts;
    const expected: Record<string, string> = { ...own, '/seen': 'read-only' };
    const fromHost = mounts.filter(([, , , type]) => !kernel.test(type));
    const found = fromHost.map(([, target]) => target).filter((target) => !ownMounts.test(target));
    assert.deepEqual(found.sort(), Object.keys(expected).sort());
    for (const [, target, options] of fromHost) {
      if (expected[target] === 'read-only') assert.match(options, /^ro(,|$)/, target);
    }
  });

  test('a mount that was asked for read-only is read-only, also for root', async () => {
    const { bottle } = await cage();
    for (const as of ['image', 'root'] as const) {
      const { code, stderr } = await bottle.exec(['touch', '/seen/new'], { as });
      assert.notEqual(code, 0);
      assert.match(stderr, /Read-only file system|Permission denied/);
    }
    const { stderr } = await bottle.exec(['touch', '/seen/new'], { as: 'root' });
    assert.match(stderr, /Read-only file system/);
  });

  test('the bottle is called by its slug, and knows neither the host’s name nor its processes', async () => {
    const { slug } = await cage();
    const [name, pids, first] = await ask(
      "result = [socket.gethostname(), ' '.join(open(f'/proc/{p}/cmdline').read().split(chr(0))[0] for p in os.listdir('/proc') if p.isdigit() and os.path.exists(f'/proc/{p}/cmdline')), open('/etc/hosts').read() if os.path.exists('/etc/hosts') else '']",
      v.strictTuple([v.string(), v.string(), v.string()]),
    );
    assert.equal(name, candidate.facts.hostname(slug));
    assert.doesNotMatch(pids, /dockerd|containerd|systemd|claude-bottle(?!\/|-init\/)/);
    if (hostname().length > 3) assert.ok(!first.includes(hostname()));
  });

  test('no variable of the host is in any environment, but those that the bottle gives', async () => {
    const names = await ask('result = sorted(os.environ)', texts);
    const own =
      /^(HTTPS?_PROXY|https?_proxy|NO_PROXY|no_proxy|NODE_USE_ENV_PROXY|CLAUDE_BOTTLE|TOKEN|PATH|HOME|HOSTNAME|TERM|PWD|SHLVL|_|LC_CTYPE|container)$/;
    assert.deepEqual(
      names.filter((one) => !own.test(one)),
      [],
    );
    const users = await ask("result = [line.split(':')[0] for line in open('/etc/passwd')]", texts);
    const { username } = userInfo();
    if (username !== 'root') assert.ok(!users.includes(username));
  });

  test('the image holds nothing that a start added', async () => {
    const { house } = await cage();
    for await (const text of candidate.knownImage(house)) assert.ok(!text.includes(given));
  });
});
