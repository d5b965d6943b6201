import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ForegroundCommand } from '../../../src/backends/backend.ts';
import type { SessionKind } from '../../../src/backends/init-arguments.ts';
import { askBroker, signalThroughBroker } from '../../../src/backends/smolmachines/ask-broker.ts';
import { frame } from '../../../src/backends/smolmachines/frames.ts';
import { SessionBroker } from '../../../src/backends/smolmachines/session-broker.ts';
import { attachCommand, directCommand } from '../../../src/backends/smolmachines/session-command.ts';
import { readStanding } from '../../../src/backends/smolmachines/standing.ts';
import { run } from '../../../src/process/run.ts';
import { bottleInit, build } from '../../guest/guest.ts';
import { inFront, watch, watches } from '../cases/terminal.ts';

interface Place extends AsyncDisposable {
  readonly broker: SessionBroker;
  readonly directory: string;
  readonly socket: string;
}

/** A session of the true bottle-init, without a machine around it. */
async function session(
  kind: SessionKind,
  script: string,
  options: { takesInput?: boolean; isMachineGone?: boolean; command?: ForegroundCommand } = {},
): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  const socket = join(directory, 'session.sock');
  const broker = await SessionBroker.listen({
    socketPath: socket,
    directory,
    kind,
    takesInput: options.takesInput ?? true,
    command: options.command ?? {
      command: bottleInit,
      args: ['--session', kind, '--', 'bash', '--norc', '-c', script],
      env: {},
    },
    isMachineGone: () => Promise.resolve(options.isMachineGone ?? false),
  });
  return {
    broker,
    directory,
    socket,
    async [Symbol.asyncDispose]() {
      broker.hangUp();
      await broker.ended;
      await broker[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const client = (command: ForegroundCommand, input = '') =>
  run(command.command, command.args, { input, deadlineMs: 30_000 });

describe('a session', { timeout: 150_000 }, () => {
  before(build);

  test('starts with the first who attaches to start it, and gives both streams, the input and the status', async () => {
    await using at = await session('pipes', 'cat; echo err >&2; exit 8');
    assert.deepEqual(at.broker.standing, { state: 'created' });
    const { code, stdout, stderr } = await client(attachCommand(at.socket, 'start'), 'piped\n');
    assert.deepEqual([code, stdout, stderr], [8, 'piped\n', 'err\n']);
    assert.equal(at.broker.standing.exitCode, 8);
    assert.deepEqual(await readStanding(at.directory), at.broker.standing);
    // Who comes too late hears how it ended.
    assert.equal((await client(attachCommand(at.socket, 'join'))).code, 8);
  });

  test('has the size of the terminal, its resizes and its keys, and leaves it as it was', async () => {
    await using at = await session('terminal', watch);
    await using terminal = await inFront(attachCommand(at.socket, 'start'));
    await watches(terminal);
  });

  test('is joined by others, who see what comes and type into it, and goes on when they let go', async () => {
    await using at = await session('terminal', 'while read line; do echo "<$line>"; done; exit 3');
    await at.broker.start();
    await using one = await inFront(attachCommand(at.socket, 'join'));
    await using other = await inFront(attachCommand(at.socket, 'join'));
    // What was typed before a client was there waits for it.
    await one.type('one-is-there', 'Enter');
    await one.shows(/<one-is-there>/);
    await other.type('other-is-there', 'Enter');
    await other.shows(/<other-is-there>/);
    await one.type('from-one', 'Enter');
    await other.shows(/<from-one>/);
    await other.type('from-other', 'Enter');
    await one.shows(/<from-other>/);
    await one.type(...Array.from({ length: 8 }, () => 'C-^'));
    await one.shows(/code 0/);
    await other.type('still', 'Enter');
    await other.shows(/<still>/);
    assert.equal(at.broker.standing.state, 'running');
    await other.type('C-d');
    await other.shows(/code 3/);
  });

  test('whose broker dies gives the terminal back, and is ended', async () => {
    await using at = await session('terminal', 'printf "\\033[?1049hfull"; sleep 600');
    await using terminal = await inFront(attachCommand(at.socket, 'start'));
    await terminal.shows(/full/);
    await at.broker[Symbol.asyncDispose]();
    await terminal.shows(/code 137/);
  });

  test('that nobody is at the other end of any more is ended, with what it started', async () => {
    await using at = await session('pipes', 'sleep 73101 & setsid sleep 73101 & echo up; wait');
    await at.broker.start();
    while ((await countOf('73101')) < 2) await sleep(20);
    at.broker.hangUp();
    await at.broker.ended;
    assert.equal(await countOf('73101'), 0);
  });

  test('gets signals: from its holder, from who asks it to, and through a client without a terminal', async () => {
    const script = 'trap "echo term" TERM; trap "echo hup" HUP; echo up; while :; do sleep 0.05; done';
    await using at = await session('pipes', script);
    const attached = attachCommand(at.socket, 'start');
    const interrupt = new AbortController();
    const lines: string[] = [];
    const seen = async (line: string) => {
      while (!lines.includes(line)) await sleep(20);
      lines.length = 0;
    };
    const ran = run(attached.command, attached.args, {
      onLine: (line) => void lines.push(line),
      signal: interrupt.signal,
    });
    await seen('up');
    at.broker.signal(15);
    await seen('term');
    await signalThroughBroker(at.socket, 1);
    await seen('hup');
    // The wrapper ends what it runs with SIGTERM, which the client passes on.
    interrupt.abort(new Error('enough'));
    await seen('term');
    await assert.rejects(ran, /enough/);
    assert.equal((await askBroker(at.socket))?.state, 'running');
  });

  test('without input sees its end at once, whoever types', async () => {
    await using at = await session('pipes', 'cat; echo end', { takesInput: false });
    const { stdout } = await client(attachCommand(at.socket, 'start'), 'typed\n');
    assert.equal(stdout, 'end\n');
  });

  test('is not read faster than its clients take it', async () => {
    await using at = await session('pipes', 'yes 1234567 | head -c 100000000; echo; echo done >&2');
    const socket = connect(at.socket);
    socket.write(frame('attach', 'start'));
    socket.pause();
    await sleep(1000);
    const before = process.memoryUsage.rss();
    await sleep(1000);
    assert.ok(process.memoryUsage.rss() - before < 50_000_000);
    assert.equal(at.broker.standing.state, 'running');
    let size = 0;
    for await (const bytes of socket as AsyncIterable<Buffer>) size += bytes.length;
    assert.ok(size > 100_000_000);
    assert.equal(at.broker.standing.exitCode, 0);
  });

  test('whose machine is gone under it has ended as by SIGKILL; a command that says the same has not', async () => {
    const command = {
      command: 'sh',
      args: ['-c', 'echo "Error: agent connection lost" >&2; exit 1'],
      env: {},
    };
    await using gone = await session('pipes', '', { command, isMachineGone: true });
    const lost = await client(attachCommand(gone.socket, 'start'));
    assert.equal(lost.code, 137);
    assert.match(
      lost.stderr,
      /^Error: agent connection lost\nclaude-bottle: the machine ended under its command: .*--memory/,
    );
    await using there = await session('pipes', '', { command, isMachineGone: false });
    const own = await client(attachCommand(there.socket, 'start'));
    assert.deepEqual([own.code, own.stderr], [1, 'Error: agent connection lost\n']);
  });

  test('that cannot be started says so to who wanted it', async () => {
    const command = { command: '/no/such/program', args: [], env: {} };
    await using at = await session('pipes', '', { command });
    const { code, stderr } = await client(attachCommand(at.socket, 'start'));
    assert.equal(code, 127);
    assert.match(stderr, /ENOENT/);
  });

  test('drops who says what is no frame, and goes on', async () => {
    await using at = await session('pipes', 'read line; echo "<$line>"');
    await at.broker.start();
    for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.from([0x77, 0, 0, 0, 1, 9])]) {
      const socket = connect(at.socket);
      socket.on('error', () => undefined);
      socket.write(bytes);
      await new Promise((resolve) => socket.once('close', resolve));
    }
    assert.equal(at.broker.standing.state, 'running');
  });

  test('leaves no socket behind, and who comes then is told', async () => {
    const at = await session('pipes', 'true');
    await at.broker[Symbol.asyncDispose]();
    assert.ok(!existsSync(at.socket));
    assert.equal(await askBroker(at.socket), undefined);
    const { code, stderr } = await client(attachCommand(at.socket, 'join'));
    assert.equal(code, 125);
    assert.match(stderr, /nobody holds the session/);
    await at[Symbol.asyncDispose]();
  });

  test('of a further program is the client’s own, and ends with it', async () => {
    const direct = (kind: SessionKind, script: string) =>
      directCommand(kind, {
        command: bottleInit,
        args: ['exec', '--session', kind, '--', 'bash', '--norc', '-c', script],
        env: {},
      });
    const { code, stdout, stderr } = await client(direct('pipes', 'cat; echo err >&2; exit 9'), 'piped\n');
    assert.deepEqual([code, stdout, stderr], [9, 'piped\n', 'err\n']);
    await using terminal = await inFront(direct('terminal', watch));
    await terminal.shows(/^30 100/m);
    await terminal.type('C-c');
    await terminal.shows(/got-int/);
    await terminal.type('Enter');
    await terminal.shows(/code 6/);
    {
      await using left = await inFront(direct('terminal', 'sleep 73102 & sleep 73102'));
      while ((await countOf('73102')) < 2) await sleep(20);
      await left.type(...Array.from({ length: 8 }, () => 'C-^'));
      await left.shows(/let go of the program, which ends with that[^]*code 129/);
      await nothingSleeps('73102');
    }
    {
      await using closed = await inFront(direct('terminal', 'setsid sleep 73102 & sleep 73102'));
      while ((await countOf('73102')) < 2) await sleep(20);
      await closed.tmux('kill-pane');
    }
    await nothingSleeps('73102');
  });
});

async function nothingSleeps(mark: string): Promise<void> {
  for (let tries = 0; (await countOf(mark)) > 0; tries++) {
    assert.ok(tries < 200, 'what it started lives on');
    await sleep(50);
  }
}

/** How many that sleep for so long there are on this host. */
async function countOf(mark: string): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  return (await Promise.all(lines)).filter((line) => line === `sleep\0${mark}\0`).length;
}
