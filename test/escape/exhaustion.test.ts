import assert from 'node:assert/strict';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { Cage, onEvery, startOf } from './cage.ts';

const mebi = 1024 * 1024;

onEvery('exhaustion', (candidate) => {
  const start = async (flags: readonly string[], code: string) => {
    await using house = await Cage.house(candidate);
    const ended = await house.bottle(startOf(candidate, flags, ['python3', '-c', code]));
    return {
      ...ended,
      left: [...(await candidate.left(house)), ...(await readdir(join(house.path, 'run/claude-bottle')))],
    };
  };

  test('a fork bomb stays below the limit, the host answers, and stop ends it', async (t) => {
    const bomb = 'import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.5)';
    const { mostProcesses, isContainer } = candidate.facts;
    await using cage = await Cage.start(candidate, ['--pids=200', '--cpus=0.5', '--memory=1G'], {
      command: ['python3', '-c', bomb],
    });
    let most = 0;
    for (let looks = 0; looks < 200 && most < 150; looks += 1) {
      const { stdout } = await run('pgrep', ['-c', '-f', 'except OSError: time.sleep']);
      most = Math.max(most, Number(stdout));
    }
    // A machine's memory may be gone first, and the bottle with it.
    assert.ok(most >= (isContainer ? 150 : 2) && most <= mostProcesses, `${most} processes`);
    assert.equal((await run('git', ['--version'])).code, 0);
    const stopped = await cage.house.bottle(['stop', cage.slug, '--grace=1s', '--discard', '--yes']);
    if (isContainer || !/no bottle/.test(stopped.stderr)) assert.equal(stopped.code, 0, stopped.stderr);
    assert.deepEqual(await cage.house.list(), []);
    assert.deepEqual(await candidate.left(cage.house), []);
    t.diagnostic(
      `tried: a fork bomb; stopped by: the limit of processes, at ${most} of ${mostProcesses}, and by stop`,
    );
  });

  test('a memory bomb ends inside, and the start says so', async (t) => {
    const { code, stderr, left } = await start(
      ['--memory=128M'],
      'held = []\nwhile True: held.append(bytearray(b"x" * (8 << 20)))',
    );
    assert.equal(code, 137, stderr);
    if (candidate.facts.tellsOutOfMemory) assert.match(stderr, /memory ran out/);
    assert.deepEqual(left, []);
    t.diagnostic('tried: memory without end; stopped by: the limit of memory, inside');
  });

  test('memory filled through /dev/shm counts too', async (t) => {
    const { code, stdout, stderr, left } = await start(
      ['--memory=128M'],
      `
import os
total = 0
try:
  with open('/dev/shm/fill', 'wb', buffering=0) as file:
    while True: total += file.write(b'x' * (1 << 20))
except OSError as error: print(error.errno, total)`,
    );
    assert.ok(code === 137 || /^28 \d+\n$/.test(stdout), `${code} ${stdout} ${stderr}`);
    if (code === 0) assert.ok(Number(stdout.split(' ')[1]) <= 128 * mebi);
    assert.deepEqual(left, []);
    t.diagnostic(`tried: to fill /dev/shm; stopped by: its size, ${stdout.trim()}`);
  });

  test('one huge file, a full /run, and more open files than allowed are refused to whoever asks', async (t) => {
    const { code, stdout, stderr } = await start(
      ['--disk=64M', '--user=root', '--no-workspace'],
      `
import errno, os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def name(work):
  try: work()
  except OSError as error: return errno.errorcode[error.errno]
  return 'escaped'
def huge():
  file = os.open('/tmp/huge', os.O_CREAT | os.O_WRONLY); os.ftruncate(file, 1 << 40)
def full():
  with open('/run/fill', 'wb', buffering=0) as file:
    for _ in range(80): file.write(b'x' * (1 << 20))
def files():
  held = [os.open('/dev/null', os.O_RDONLY) for _ in range(70000)]
print(name(huge), name(full), name(files))`,
    );
    assert.equal(stdout, `${candidate.facts.hugeFile} ENOSPC EMFILE\n`, `${code} ${stderr}`);
    t.diagnostic('tried: a file of 1 TiB, 80 MB in /run, 70000 open files; stopped by: ' + stdout);
  });

  test(
    'a disk bomb ends the bottle, which says so, and 20,000 files do not hinder that',
    { skip: candidate.facts.diskUntried ?? false },
    async (t) => {
      const { code, stderr, left } = await start(
        ['--disk=200M', '--no-workspace'],
        `
import os, time
os.mkdir('/tmp/many')
for number in range(20000): open(f'/tmp/many/{number}', 'w').close()
for number in range(12):
  with open(f'/tmp/part{number}', 'wb') as file:
    for _ in range(50): file.write(b'x' * (1 << 20))
time.sleep(120)`,
      );
      assert.notEqual(code, 0, stderr);
      assert.match(stderr, /disk|written/i);
      assert.match(stderr, /--disk/);
      assert.deepEqual(left, []);
      t.diagnostic('tried: 600 MB where 200 are allowed; stopped by: the watch on the disk, or the storage');
    },
  );

  test('1 GB of output leaves a bounded log', async (t) => {
    const flood =
      'import os, time\nline = b"x" * 999 + b"\\n"\nfor _ in range(16000): os.write(1, line * 64)\nopen("/tmp/done", "w").close()\ntime.sleep(300)';
    await using cage = await Cage.start(candidate, ['--no-workspace'], { command: ['python3', '-c', flood] });
    for (let looks = 0; looks < 600; looks += 1) {
      if ((await cage.bottle.exec(['test', '-e', '/tmp/done'])).code === 0) break;
    }
    let bytes = 0;
    for (const file of await candidate.logFiles(cage.house, cage.slug)) bytes += (await stat(file)).size;
    assert.ok(bytes > 0 && bytes < 128 * mebi, `${bytes} bytes`);
    const seen = await cage.house.bottle(['logs', cage.slug, '--tail=5'], { captureBytes: mebi });
    assert.equal(seen.code, 0, seen.stderr);
    assert.equal(seen.stdout.trim().split('\n').length, 5);
    t.diagnostic(`tried: 1 GB of output; stopped by: the log’s rotation, at ${bytes} bytes`);
  });

  test('an agent that ends bottle-init ends its own bottle, and nothing else', async (t) => {
    await using cage = await Cage.start(candidate);
    // One second of processor time, then none: the kernel itself kills the first process.
    const attempts = `
for pid in inits():
    for end in (lambda: call('prlimit64', pid, 0, ctypes.create_string_buffer(struct.pack('<QQ', 0, 0)), 0), lambda: os.kill(pid, 9)):
        try: end()
        except OSError: pass`;
    // The one that asks may be hit too.
    await cage.try([attempts]).catch(() => undefined);
    const load = `
for _ in range(20000):
    try: socket.create_connection(('127.0.0.1', 3128), 2).close()
    except OSError: break`;
    await cage.bottle.exec(['python3', '-c', `import socket\n${load}`]).catch(() => undefined);
    const stopped = await cage.house.bottle(['stop', cage.slug, '--grace=1s', '--discard', '--yes']);
    assert.ok(stopped.code === 0 || /no bottle|ended/i.test(stopped.stderr), stopped.stderr);
    assert.deepEqual(await cage.house.list(), []);
    assert.deepEqual(await candidate.left(cage.house), []);
    assert.ok(!(await readFile('/proc/self/status', 'utf8')).includes('State:\tZ'));
    t.diagnostic(
      'tried: prlimit and SIGKILL of every bottle-init; stopped by: nothing but its own bottle is hit',
    );
  });
});
