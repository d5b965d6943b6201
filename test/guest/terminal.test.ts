import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { bottleInit, build, containerName, docker, sealed, startSealed, temporary, until } from './guest.ts';

before(build);

/** A terminal of 100 by 30 that runs a command, then stays to be looked at. */
async function openTerminal(command: readonly string[]) {
  const directory = await temporary();
  const tmux = (...args: string[]) =>
    run('tmux', ['-S', join(directory.path, 'tmux'), ...args], { deadlineMs: 20_000 });
  const quoted = command.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ');
  const start = ['-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '30'];
  const opened = await tmux(...start, `${quoted}; echo "status $?"; sleep 600`);
  assert.equal(opened.code, 0, opened.stderr);
  return {
    tmux,
    type: (...keys: string[]) => tmux('send-keys', ...keys),
    shows: (text: RegExp) =>
      until(async () => {
        const { stdout } = await tmux('capture-pane', '-p', '-S', '-100');
        return text.exec(stdout) ?? undefined;
      }),
    async [Symbol.asyncDispose]() {
      await tmux('kill-server');
      await directory[Symbol.asyncDispose]();
    },
  };
}

async function openSealed(init: readonly string[]) {
  const name = containerName();
  const terminal = await openTerminal(['docker', ...sealed(name, ['-it'], init)]);
  return {
    ...terminal,
    name,
    async [Symbol.asyncDispose]() {
      await docker(['rm', '--force', name]);
      await terminal[Symbol.asyncDispose]();
    },
  };
}

describe('bottle-init and the terminal', { timeout: 240_000 }, () => {
  test('an interactive shell of another user has job control, its size, and Ctrl-C for its children only', async () => {
    await using terminal = await openSealed(['--user=www-data', '--', 'bash', '--norc']);
    await terminal.shows(/bash-5.*\$/);
    await terminal.type('stty size; echo shell $$ $(ps -o pid=,sid=,tpgid= 2>/dev/null $$)', 'Enter');
    const { 0: text } = await terminal.shows(/30 100\n[^$]*/);
    assert.doesNotMatch(text, /no job control/);
    // What is typed while a shell still edits its line does not go to what it is about to start.
    await terminal.type("echo be''gun; cat; echo after $?", 'Enter');
    await terminal.shows(/^begun/m);
    await terminal.type('typed', 'Enter');
    await terminal.shows(/typed\ntyped/);
    await terminal.type('C-c');
    await terminal.type('echo alive $?', 'Enter');
    await terminal.shows(/alive 130/);
    await terminal.type('sleep 300', 'Enter');
    await terminal.shows(/\$ sleep 300/);
    await terminal.type('C-z');
    await terminal.shows(/Stopped/);
    await terminal.type('kill %1; tty; echo opened > /dev/tty; exit 11', 'Enter');
    await terminal.shows(/\nopened/);
    await terminal.shows(/status 11/);
  });

  test('a resize reaches the command', async () => {
    const script = 'trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done';
    await using terminal = await openSealed(['--', 'bash', '-c', script]);
    await terminal.shows(/ready/);
    await terminal.tmux('resize-window', '-x', '120', '-y', '40');
    await terminal.shows(/40 120/);
  });

  test('Ctrl-C ends a command that does not care for it, and Ctrl-Z does not stop it for ever', async () => {
    await using terminal = await openSealed(['--', 'sh', '-c', 'echo begun; exec cat']);
    await terminal.shows(/^begun/m);
    await terminal.type('one', 'Enter');
    await terminal.shows(/one\none/);
    await terminal.type('C-z');
    await terminal.type('two', 'Enter');
    await terminal.shows(/two\n(.*\n)?two/);
    await terminal.type('C-c');
    await terminal.shows(/status 130/);
  });

  test('a further command has a terminal of its own, as its user', async () => {
    await using container = await startSealed(['--user=www-data', '--', 'sleep', 'infinity']);
    const exec = ['docker', 'exec', '-it', container.name, '/bottle-init', 'exec', '--user=www-data', '--'];
    await using terminal = await openTerminal([...exec, 'bash', '--norc']);
    await terminal.shows(/bash-5.*\$/);
    await terminal.type('stty size < $(tty); id -un; cat', 'Enter');
    await terminal.shows(/30 100\nwww-data/);
    await terminal.type('C-c');
    await terminal.type('exit 12', 'Enter');
    await terminal.shows(/status 12/);
  });

  test('run from a shell, it gets the terminal and gives it back', async () => {
    await using terminal = await openTerminal(['bash', '--norc']);
    await terminal.shows(/bash-5.*[#$]/);
    await terminal.type(`${bottleInit} -- sh -c 'echo begun; exec cat'`, 'Enter');
    await terminal.shows(/^begun/m);
    await terminal.type('typed', 'Enter');
    await terminal.shows(/typed\ntyped/);
    await terminal.type('C-c');
    await terminal.shows(/\^C\s*bash-5.*[#$] *$/m);
    await terminal.type('echo back $?', 'Enter');
    await terminal.shows(/back 130/);
  });
});
