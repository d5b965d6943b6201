import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTerminal } from '../process/tmux.ts';
import { image } from '../bottles/house.ts';
import { type Behaviour, line } from './behaviour.ts';

/** Asks the gate with nothing but a shell; prints the status line. */
const asks = (url: string) =>
  `exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET ${url} HTTP/1.1\\r\\nHost: ${new URL(url).host}\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3 | tr -d '\\r'`;

/** A directory on the host that the bottle's user may write to, whoever that is here. */
async function openToAll(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'cb-lent-'));
  await chmod(path, 0o777);
  return path;
}

/** What a run of `start` shows. */
export const behavioursOfRuns: readonly Behaviour[] = [
  {
    name: 'the exit code is the command’s',
    expected: '7: ',
    observe: async ({ start }) => line(await start('exit 7')),
  },
  {
    name: 'a command that a signal ends exits with 128 + n',
    expected: '137:  143: ',
    observe: async ({ start }) => `${line(await start('kill -9 $$'))} ${line(await start('kill -15 $$'))}`,
  },
  {
    name: 'a command that does not exist is told, with 4',
    expected: '4 there is no "no-such-program" in the image',
    observe: async ({ house }) => {
      const { code, stderr } = await house.start(['--', 'no-such-program']);
      return `${code} ${/there is no "no-such-program" in the image/.exec(stderr)?.[0] ?? stderr}`;
    },
  },
  {
    name: 'the streams stay apart',
    expected: '0: out; err',
    observe: async ({ start }) => {
      const ran = await start('echo out; echo err >&2');
      return `${line(ran)}; ${/^err$/m.exec(ran.stderr)?.[0] ?? ran.stderr}`;
    },
  },
  {
    name: 'bytes of 0 to 255 pass through both ways unchanged, 8 MiB of them',
    expected: 'the same',
    observe: async ({ house }) => {
      const input = randomBytes(8 * 1024 * 1024);
      const want = createHash('sha256').update(input).digest('hex');
      const { stdout } = await house.start(
        ['--', 'sh', '-c', 'tee /tmp/in | sha256sum; sha256sum </tmp/in'],
        { input },
      );
      return stdout.split(want).length === 3 ? 'the same' : stdout;
    },
  },
  {
    name: 'a flood of output arrives whole',
    expected: '0: 40000000',
    observe: async ({ house }) => {
      const slow = `${house.line(['start', '--yes', `--image=${image}`, '--', 'sh', '-c', 'head -c 40000000 /dev/zero'])} 2>/dev/null | wc -c`;
      const { run } = await import('../../src/process/run.ts');
      return line(await run('sh', ['-c', slow], { deadlineMs: 120_000 }));
    },
  },
  {
    name: 'it is the image’s user, at home, in the workspace',
    expected: '0: agent 1000 1000 agent | /home/agent | /workspace | 0022',
    observe: async ({ start }) =>
      line(await start('echo $(id -un) $(id -u) $(id -g) $(id -Gn); echo $HOME; pwd; umask')),
  },
  {
    name: '/tmp and the home can be written, the system cannot',
    expected: '0: 1777 root | home | no',
    observe: async ({ start }) =>
      line(
        await start(
          'stat -c "%a %U" /tmp; touch /tmp/x ~/x && echo home; touch /etc/x 2>/dev/null && echo yes || echo no',
        ),
      ),
  },
  {
    name: 'public and secret variables reach it, strays do not',
    expected: '0: canary public |',
    observe: async ({ house }) => {
      await house.define('bottles', 'vars', '---\nenv:\n  TOKEN: ${HOST_TOKEN}\n  PLAIN: public\n---\n');
      const ran = await house.start(
        ['--bottle=vars', '--', 'sh', '-c', 'echo "$TOKEN $PLAIN"; echo "$STRAY"'],
        {
          env: { HOST_TOKEN: 'canary', STRAY: 'stray' },
        },
      );
      return line({ ...ran, stdout: `${ran.stdout.trim()} |` });
    },
  },
  {
    name: 'a directory of this host is in it, to be read or to be written',
    expected: '0: seen | Read-only file system; written',
    observe: async ({ start }) => {
      const [read, write] = await Promise.all([openToAll(), openToAll()]);
      try {
        await writeFile(join(read, 'file'), 'seen\n');
        const script = 'cat /read/file; echo written >/write/new; touch /read/new 2>&1 | sed "s/.*: //"';
        const ran = await start(script, [`--mount=${read}:/read:ro`, `--mount=${write}:/write`]);
        const arrived = await readFile(join(write, 'new'), 'utf8').catch(() => ran.stderr);
        return `${line(ran)}; ${arrived.trim()}`;
      } finally {
        for (const path of [read, write]) await rm(path, { recursive: true });
      }
    },
  },
  {
    name: 'it has no rights of root, and can get none',
    expected: '0: CapEff: 0000000000000000 | NoNewPrivs: 1 | Seccomp: 2',
    observe: async ({ start }) =>
      line(await start("grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '")),
  },
  {
    name: 'loopback is the only interface',
    expected: '0: lo',
    observe: async ({ start }) => line(await start("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")),
  },
  {
    name: 'the gate lets out what a rule allows, and nothing else',
    expected: '0: HTTP/1.1 200 OK | HTTP/1.1 403 Forbidden by claude-bottle policy',
    observe: async ({ house }) => {
      const server = createServer((_request, answer) => answer.end('hello')).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      await house.define(
        'bottles',
        'open',
        `---\negress:\n  allow:\n    - host: localhost\n      ports: [${port}]\n      reach: [loopback]\n---\n`,
      );
      const script = `${asks(`http://localhost:${port}/`)}; ${asks('http://blocked.example/')}`;
      const ran = await house.start(['--bottle=open', '--', 'bash', '-c', script]);
      server.close();
      return line(ran.code === 0 ? ran : { ...ran, stdout: ran.stderr });
    },
  },
  {
    name: 'SIGTERM reaches the command, and its last words arrive',
    expected: '130 bye',
    observe: async ({ house }) => {
      const script = 'trap "echo bye; exit 3" TERM; echo begun; while :; do sleep 0.1; done';
      const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script]);
      let out = '';
      child.stdout?.on('data', (bytes: Buffer) => {
        out += bytes.toString();
        if (out === 'begun\n') child.kill('SIGTERM');
      });
      const [code] = (await once(child, 'close')) as [number | null];
      return `${code} ${out.replace('begun\n', '').trim()}`;
    },
  },
  {
    name: 'on a terminal: its size, a resize, Ctrl-C, an end that leaves it clean',
    expected: '30 100, 22 77, caught it, code 5',
    observe: async ({ house }) => {
      const script =
        'trap "echo caught it; exit 5" INT; trap "stty size" WINCH; stty size; while :; do sleep 0.1; done';
      const args = ['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script];
      await using terminal = await openTerminal(`${house.line(args)}; echo "code $?"`);
      const [first] = await terminal.shows(/^30 100/m);
      await terminal.tmux('resize-window', '-x', '77', '-y', '22');
      const [second] = await terminal.shows(/^22 77/m);
      await terminal.type('C-c');
      const [third] = await terminal.shows(/caught it/);
      const [fourth] = await terminal.shows(/code \d+/);
      return [first, second, third, fourth].join(', ');
    },
  },
];
