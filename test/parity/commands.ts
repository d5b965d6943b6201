import { openTerminal } from '../process/tmux.ts';
import { image } from '../bottles/house.ts';
import { type Behaviour, line } from './behaviour.ts';

/** What commands show of a bottle that runs. */
export const behavioursOfCommands: readonly Behaviour[] = [
  {
    name: 'exec: the exit code, both streams, standard input',
    expected: '9: got a line; err',
    observe: async ({ exec }) => {
      const ran = await exec('read line; echo "got $line"; echo err >&2; exit 9', [], { input: 'a line\n' });
      return `${line(ran)}; ${ran.stderr.trim()}`;
    },
  },
  {
    name: 'exec: the user, root on request, and the directory',
    expected: '0: agent /workspace / 0: root /etc',
    observe: async ({ exec }) =>
      [
        line(await exec('echo $(id -un) $(pwd)')),
        line(await exec('echo $(id -un) $(pwd)', ['--root', '--workdir=/etc'])),
      ].join(' / '),
  },
  {
    name: 'exec: programs see each other’s files at once',
    expected: '0: kept',
    observe: async ({ exec }) => {
      await exec('echo kept >~/note');
      return line(await exec('cat ~/note'));
    },
  },
  {
    name: 'exec on a terminal: its size, and Ctrl-C for its own program only',
    expected: '30 100, code 130, waiting',
    observe: async ({ house, slug }) => {
      const args = ['exec', slug, '--', 'sh', '-c', 'sleep 1; stty size; exec cat'];
      await using terminal = await openTerminal(`${house.line(args)}; echo "code $?"`);
      const [size] = await terminal.shows(/^30 100/m);
      await terminal.type('C-c');
      const [code] = await terminal.shows(/code \d+/);
      const row = (await house.list()).find((bottle) => bottle['slug'] === slug);
      return `${size}, ${code}, ${String(row?.['status'])}`;
    },
  },
  {
    name: 'list: agent, status and image of a bottle that runs',
    expected: `agent waiting ${image}`,
    observe: async ({ house, slug }) => {
      const row = (await house.list()).find((bottle) => bottle['slug'] === slug);
      const shown = row?.['image'];
      return `${String(row?.['agent'])} ${String(row?.['status'])} ${typeof shown === 'string' ? shown : JSON.stringify(shown)}`;
    },
  },
  {
    name: 'logs: what its command printed',
    expected: '0: here it is',
    observe: async ({ house, slug }) => line(await house.bottle(['logs', slug])),
  },
  {
    name: 'logs: only the last lines, and both streams in one',
    expected: '0: 4 | 5',
    observe: async ({ another }) => {
      const house = await another();
      const started = await house.start(['--detach', '--', 'sh', '-c', 'seq 4; echo 5 >&2; exec sleep 600']);
      const slug = started.stdout.trim();
      for (;;) {
        const ran = await house.bottle(['logs', '--tail=2', slug]);
        if (ran.stdout.includes('5')) return line({ ...ran, stdout: ran.stdout.replaceAll('\r', '') });
      }
    },
  },
  {
    name: 'attach: what is typed and what is printed, letting go, and coming back',
    expected: 'got one, running, got two, code 6',
    observe: async ({ another }) => {
      const house = await another();
      const script = 'while read word; do echo got $word; [ $word = two ] && exit 6; done';
      const begin = ['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script];
      await using first = await openTerminal(`${house.line(begin)}; echo "let go $?"`);
      await first.shows(/gate sealed/);
      await first.type('one', 'Enter');
      const [one] = await first.shows(/got one/);
      for (let times = 0; times < 8; times++) await first.type('C-^');
      await first.shows(/let go \d+/);
      const [row] = await house.list();
      await using second = await openTerminal(
        `${house.line(['attach', String(row?.['slug'])])}; echo "code $?"`,
      );
      await second.type('two', 'Enter');
      const [two] = await second.shows(/got two/);
      const [code] = await second.shows(/code \d+/);
      return [one, row?.['status'], two, code].join(', ');
    },
  },
  {
    name: 'allow and deny: at once, in a bottle that runs',
    expected: '0 0',
    observe: async ({ house, slug }) => {
      const allowed = await house.bottle(['allow', slug, 'allowed.example']);
      const denied = await house.bottle(['deny', slug, 'allowed.example']);
      return `${allowed.code} ${denied.code}`;
    },
  },
  {
    name: 'stop: a command that does not listen is killed after the grace',
    expected: '0, ended',
    observe: async ({ another }) => {
      const house = await another();
      const started = await house.start([
        '--detach',
        '--',
        'bash',
        '-c',
        'trap "" TERM; while :; do sleep 0.1; done',
      ]);
      const slug = started.stdout.trim();
      const stopped = await house.bottle(['stop', '--grace=1s', slug]);
      const row = (await house.list('--all')).find((bottle) => bottle['slug'] === slug);
      return `${stopped.code}, ${String(row?.['status'])}`;
    },
  },
];
