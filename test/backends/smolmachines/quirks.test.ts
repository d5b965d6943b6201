import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { machineName } from '../../../src/backends/smolmachines/names.ts';
import { tarOf } from '../../oci/tar-builder.ts';
import { openTerminal, quoted } from '../../process/tmux.ts';
import { double, type Ran, smolvm } from '../../smolvm/double.ts';
import { type Made, said } from '../stage.ts';
import { Spy } from './spy.ts';
import { type MachineStage, openStage } from './stage.ts';

/** A machine of the user's own in the same home, made by hand: as smolvm makes one of such an artifact by itself. */
const mine = 'claude-bottle-mine-x';
const image = [
  'RUN useradd --uid 1234 --create-home dev && mkdir /srv/place && mkdir -m 700 /home/dev/private',
  'RUN chown 1234:1234 /home/dev/private',
  `ENTRYPOINT ["sh", "-c", "id -u >/entrypoint-ran; exec sleep 7777"]`,
  'WORKDIR /srv/place',
  'USER dev',
].join('\n');
const driver = fileURLToPath(new URL('../../process/foreground-driver.ts', import.meta.url));

let spy: Spy;
let stage: MachineStage;
let made: Made;
let artifact: string;

/** smolvm as a user types it, with nothing of ours around it. */
const raw = (...args: string[]): Promise<Ran> => smolvm(args, { SMOLVM_DATA_DIR: stage.home.path });
const rawExec = (...command: string[]) => raw('machine', 'exec', '--name', mine, '--', ...command);

const held = new AsyncDisposableStack();
before(async () => {
  spy = held.use(await Spy.open());
  stage = held.use(await openStage(spy.program));
  const packed = await stage.image(image);
  artifact = packed.image;
  held.defer(async () => {
    await raw('machine', 'delete', '--name', mine, '-f');
  });
  const created = await raw('machine', 'create', '--name', mine, '--from', artifact);
  assert.equal(created.code, 0, created.stderr);
  assert.equal((await raw('machine', 'start', '--name', mine)).code, 0);
  made = held.use(
    await stage.run({
      ...packed,
      env: { PUBLIC: 'public-3a9' },
      workdir: '/usr/lib',
      command: ['sh', '-c', 'echo "$(id -un) $(pwd)"; exec sleep 3600'],
    }),
  );
});
after(() => held.disposeAsync());

async function sessionSaid(): Promise<string> {
  for (;;) {
    await using log = made.bottle.logs({ follow: false });
    const text = Buffer.concat((await log.stdout.toArray()) as Buffer[]).toString();
    if (text !== '') return text.trim();
    await sleep(50);
  }
}

async function bytesOf(stdout: Readable): Promise<number> {
  let size = 0;
  for await (const chunk of stdout as AsyncIterable<Buffer>) size += chunk.length;
  return size;
}

describe('what smolvm is called with', { timeout: 300_000 }, () => {
  test('names: create, delete and data-dir refuse a bare one from 1.0.2 on', async () => {
    for (const action of ['create', 'delete', 'data-dir']) {
      const from = action === 'create' ? ['--from', artifact] : [];
      assert.equal((await raw('machine', action, 'bare', ...from)).code, 2, action);
    }
    const name = machineName(made.spec.slug);
    for (const action of ['create', 'start', 'status', 'exec', 'data-dir']) {
      const calls = await spy.of(action, name);
      assert.ok(calls.length > 0, action);
      for (const args of calls) assert.equal(args[args.indexOf(name) - 1], '--name');
    }
  });

  test('names: two dashes in a row are refused, which a slug may have', async () => {
    const bare = await raw('machine', 'create', '--name', 'claude-bottle-a--b', '--from', artifact);
    assert.equal(bare.code, 1);
    assert.match(bare.stderr, /^Error: .*consecutive hyphens/m);
    const ours = await raw('machine', 'create', '--name', machineName('a--b'), '--from', artifact);
    assert.equal(ours.code, 0, ours.stderr);
    await stage.machines.delete(machineName('a--b'));
  });

  test('exec knows no -n', async () => {
    assert.equal((await raw('machine', 'exec', '-n', mine, '--', 'true')).code, 2);
    assert.equal((await made.bottle.exec(['true'])).code, 0);
  });

  test('delete asks without -f, hears nothing, and ends with 0 and the machine there', async () => {
    const name = 'claude-bottle-to-delete';
    assert.equal((await raw('machine', 'create', '--name', name, '--from', artifact)).code, 0);
    const asked = await raw('machine', 'delete', '--name', name);
    assert.deepEqual([asked.code, asked.stdout], [0, 'Cancelled\n']);
    assert.ok((await stage.machines.list()).some((machine) => machine.name === name));
    await stage.machines.delete(name);
    assert.ok(!(await stage.machines.list()).some((machine) => machine.name === name));
  });

  test('stop and delete of a name that is not there end with 1', async () => {
    assert.equal((await raw('machine', 'stop', '--name', 'claude-bottle-never')).code, 1);
    assert.equal((await raw('machine', 'delete', '--name', 'claude-bottle-never', '-f')).code, 1);
    await stage.machines.stop('claude-bottle-never');
    await stage.machines.delete('claude-bottle-never');
    const never = stage.backend.bottle('never');
    await never.stop(0);
    await never.remove();
  });

  test('--net is never passed, nor a port or a policy, which would bring a network card', async () => {
    const created = await spy.of('create', machineName(made.spec.slug));
    assert.equal(created.length, 1);
    for (const { args } of await spy.calls()) {
      const ours = args.slice(0, args.includes('--') ? args.indexOf('--') : args.length);
      const open = /^(--net|--net-backend|-p|--port|--allow-.*|--outbound-localhost-only|--network)$/;
      assert.deepEqual(
        ours.filter((word) => open.test(word)),
        [],
      );
    }
    assert.equal((await stage.machines.status(machineName(made.spec.slug)))?.network, false);
    assert.equal(await said(made.bottle, 'tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "'), 'lo');
  });

  test('SMOLVM_DATA_DIR: every call has it, so that the user’s own machines stay theirs', async () => {
    const calls = await spy.calls();
    const machine = calls.filter(({ args }) => args[0] === 'machine' && !args.includes('--help'));
    assert.ok(machine.length > 5);
    for (const { home, args } of machine) assert.equal(home, stage.home.path, args.join(' '));
  });
});

describe('what a program in a machine gets', { timeout: 300_000 }, () => {
  test('exit 1: smolvm’s own looks like the program’s', async () => {
    const guest = await made.bottle.exec(['sh', '-c', 'echo "Error: mine" >&2; exit 1']);
    assert.deepEqual([guest.code, guest.stderr], [1, 'Error: mine\n']);
    const stopped = 'claude-bottle-never-started';
    const own = await raw('machine', 'exec', '--name', stopped, '--', 'true');
    assert.deepEqual([own.code, own.stderr.startsWith('Error: ')], [1, true]);
    await using idle = await stage.make();
    await idle.bottle.stop(0);
    await assert.rejects(idle.bottle.exec(['true']), { name: 'BottleNotRunning' });
    await using another = await stage.make();
    await stage.machines.delete(machineName(another.spec.slug));
    await assert.rejects(another.bottle.exec(['true']), { name: 'BottleGone' });
  });

  test('exec: starts no machine that was stopped', async () => {
    await using idle = await stage.make();
    const name = machineName(idle.spec.slug);
    await idle.bottle.stop(0);
    const bare = await raw('machine', 'exec', '--name', name, '--', 'true');
    assert.equal(bare.code, 1);
    assert.match(bare.stderr, /is not running/);
    const fresh = stage.another().bottle(idle.spec.slug);
    await fresh.copyIn(Readable.from([tarOf([{ path: 'late', data: Buffer.from('content') }])]), '/srv');
    assert.equal(await said(fresh, 'cat /srv/late', 'root'), 'content');
    assert.equal((await spy.of('start', name)).length, 2);
  });

  test('USER: a pack has lost it, and everything would be root', async () => {
    assert.equal((await rawExec('id', '-u')).stdout, '0\n');
    assert.equal(await said(made.bottle, 'id -un'), 'dev');
    assert.match(await sessionSaid(), /^dev /);
  });

  test('privileges: the machine’s container has more than a container’s, and may get more', async () => {
    const lines = ['grep', '-E', '^(CapBnd|NoNewPrivs):', '/proc/self/status'] as const;
    const bare = (await rawExec(...lines)).stdout;
    assert.match(bare, /^NoNewPrivs:\t0$/m);
    // Seven are what root keeps of a bottle (docs/security.md).
    const rights = BigInt(`0x${/^CapBnd:\t(\w+)$/m.exec(bare)?.[1] ?? '0'}`);
    assert.ok((rights & ~0xfbn) !== 0n && (rights & 0xfbn) === 0xfbn, bare);
    for (const [as, kept] of [
      ['image', '0000000000000000'],
      ['root', '00000000000000fb'],
    ] as const) {
      const { stdout } = await made.bottle.exec(lines, { as });
      assert.equal(stdout, `CapBnd:\t${kept}\nNoNewPrivs:\t1\n`);
    }
  });

  test('ENTRYPOINT: the pack’s own would run beside us, detached and as root', async () => {
    for (;;) {
      const { stdout } = await rawExec('cat', '/entrypoint-ran');
      if (stdout === '0\n') break;
      await sleep(50);
    }
    assert.equal((await made.bottle.exec(['test', '-e', '/entrypoint-ran'], { as: 'root' })).code, 1);
    const main = await said(made.bottle, 'tr "\\0" " " </proc/1/cmdline', 'root');
    assert.equal(main, '/run/claude-bottle-init/bottle-init idle');
  });

  test('WORKDIR: create --from ignores -w, and programs start in the image’s', async () => {
    assert.equal((await rawExec('pwd')).stdout, '/srv/place\n');
    assert.equal((await made.bottle.exec(['pwd'])).stdout, '/\n');
    assert.equal(await sessionSaid(), 'dev /usr/lib');
  });

  test('owners: root’s machines have all files as root’s, also the home', async () => {
    assert.equal((await rawExec('stat', '-c', '%u', '/home/dev', '/home/dev/private')).stdout, '0\n0\n');
    assert.equal(
      await said(made.bottle, 'stat -c "%u:%g %a" ~ ~/private; touch ~/private/x && echo mine'),
      '1234:1234 755\n1234:1234 700\nmine',
    );
    assert.equal(await said(made.bottle, 'stat -c "%a %u" /tmp; touch /tmp/x && echo all'), '1777 0\nall');
  });

  test('exec: 11 MiB are all that comes of a stream without -i, and of one that is kept till the end', async () => {
    const flood = ['head', '-c', '40000000', '/dev/zero'];
    const streamed = await raw('machine', 'exec', '--name', mine, '--stream', '--', ...flood);
    assert.ok(streamed.stdout.length < 13_000_000 && streamed.code === 1);
    assert.ok((await rawExec(...flood)).stdout.length < 13_000_000);
    await using program = made.bottle.stream(flood);
    assert.equal(await bytesOf(program.stdout), 40_000_000);
    assert.equal((await program.done).code, 0);
    await said(made.bottle, 'truncate -s 40000000 /tmp-large', 'root');
    await using out = await made.bottle.copyOut('/tmp-large');
    assert.ok((await bytesOf(out.stdout)) > 40_000_000);
    await out.done;
  });

  test('exec: standard input never ends without -i', async () => {
    const held = await raw('machine', 'exec', '--name', mine, '--stream', '--timeout', '1s', '--', 'cat');
    assert.equal(held.code, 124);
    const soon = { timeoutMs: 30_000 };
    const { stdout } = await made.bottle.exec(['sh', '-c', 'cat; echo end'], {
      input: 'all of it\n',
      ...soon,
    });
    assert.equal(stdout, 'all of it\nend\n');
    assert.equal((await made.bottle.exec(['cat'], soon)).stdout, '');
  });

  test('exec -t: a terminal never hears of the window', async () => {
    const env = `env SMOLVM_DATA_DIR=${quoted(stage.home.path)}`;
    await using bare = await openTerminal(`${env} ${double} machine exec --name ${mine} -it -- stty size`);
    // crun may not have told the size yet.
    await bare.shows(/(?:24 80|\b0 0) *$/m);
    const front = await made.bottle.foreground(['bash', '--norc', '-c', 'stty size; sleep 1; stty size'], {
      terminal: true,
    });
    assert.ok(!front.args.includes('-t'));
    const line = [process.execPath, driver, JSON.stringify(front)].map(quoted).join(' ');
    await using terminal = await openTerminal(line);
    await terminal.shows(/^30 100/m);
    await terminal.tmux('resize-window', '-x', '120', '-y', '40');
    await terminal.shows(/^40 120/m);
  });

  test('cp: moves one file at a time, and knows no owners before 1.9.0', async () => {
    assert.equal((await raw('machine', 'cp', import.meta.dirname, `${mine}:/tree`)).code, 1);
    const tree = [
      { path: 'tree/', type: '5', mode: 0o750, uid: 1234, gid: 1234 },
      { path: 'tree/file', data: Buffer.from('content'), mode: 0o640, uid: 1234, gid: 1234 },
    ];
    await made.bottle.copyIn(Readable.from([tarOf(tree)]), '/srv');
    assert.equal(
      await said(made.bottle, 'stat -c "%a %u" /srv/tree; cat /srv/tree/file'),
      '750 1234\ncontent',
    );
    await using out = await made.bottle.copyOut('/srv/tree');
    assert.ok((await bytesOf(out.stdout)) > 1024);
    assert.deepEqual(await spy.of('cp', machineName(made.spec.slug)), []);
  });
});
