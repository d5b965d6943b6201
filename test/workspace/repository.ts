import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { stream } from '../../src/process/run.ts';
import type { Readable } from 'node:stream';
import type { Place } from '../../src/workspace/place.ts';
import { spawn } from 'node:child_process';

/** A directory that goes with the block that uses it. */
export function temporary(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'claude-bottle-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

const identity = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Test',
  GIT_AUTHOR_EMAIL: 'test@example.org',
  GIT_COMMITTER_NAME: 'Test',
  GIT_COMMITTER_EMAIL: 'test@example.org',
  GIT_ALLOW_PROTOCOL: 'file',
};

/** Runs the user's git, as the user would; throws when it fails. */
export function git(directory: string, ...args: readonly string[]): string {
  return gitBytes(directory, args, undefined).toString('utf8').trimEnd();
}

export function gitBytes(
  directory: string,
  args: readonly string[],
  input: string | Buffer | undefined,
): Buffer {
  const done = spawnSync('git', args, {
    cwd: directory,
    env: { ...process.env, ...identity },
    maxBuffer: 1 << 30,
    ...(input === undefined ? {} : { input }),
  });
  if (done.status !== 0) throw new Error(`git ${args.join(' ')}: ${done.stderr.toString()}`);
  return done.stdout;
}

export function put(directory: string, files: Readonly<Record<string, string | Buffer>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
}

/** A repository on branch `main` with these files in one commit. */
export function repository(
  directory: string,
  files: Readonly<Record<string, string | Buffer>> = { 'a.txt': 'a\n' },
): string {
  mkdirSync(directory, { recursive: true });
  git(directory, 'init', '-q', '-b', 'main');
  put(directory, files);
  git(directory, 'add', '-A');
  git(directory, 'commit', '-qm', 'first');
  return git(directory, 'rev-parse', 'HEAD');
}

/** Unpacks with the tar of this host. */
export async function unpack(tar: Readable, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const child = spawn('tar', ['-x', '-p', '-f', '-', '-C', directory], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await pipeline(tar, child.stdin);
  const code = await ended;
  if (code !== 0) throw new Error(`tar: ${code}`);
}

/** Every path below a directory, one character a byte, with what it is, its mode, its time of change and a hash of its content. */
export function snapshot(
  directory: string,
  skip: (path: string) => boolean = () => false,
): Record<string, string> {
  const found: Record<string, string> = {};
  const at = (path: string) => Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, 'latin1')]);
  const walk = (path: string) => {
    for (const name of readdirSync(at(path), 'latin1').sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      if (skip(below)) continue;
      const stats = lstatSync(at(below));
      const mode = stats.mode.toString(8);
      if (stats.isDirectory()) {
        found[below] = mode;
        walk(below);
      } else if (stats.isSymbolicLink()) {
        found[below] = `${mode} ${readlinkSync(at(below))}`;
      } else {
        const hash = createHash('sha256')
          .update(readFileSync(at(below)))
          .digest('hex');
        found[below] = `${mode} ${stats.mtimeMs} ${hash}`;
      }
    }
  };
  walk('');
  return found;
}

/** A place on this host: programs run in `root` as if it were `/`, by replacing the workspace's path. */
export function localPlace(workspace: string, options: { readonly path?: string } = {}): Place {
  const env = { PATH: options.path ?? process.env['PATH'] ?? '', HOME: dirname(workspace) };
  const start = (argv: readonly string[], extra: Readonly<Record<string, string>> = {}) =>
    stream('env', [
      '-i',
      ...Object.entries({ ...env, ...extra }).map(([name, value]) => `${name}=${value}`),
      ...argv,
    ]);
  return {
    async exec(argv, { env: extra } = {}) {
      await using child = start(argv, extra);
      const parts: Buffer[] = [];
      for await (const part of child.stdout as AsyncIterable<Buffer>) parts.push(part);
      const { code, stderr } = await child.done;
      return { code, stdout: Buffer.concat(parts).toString('utf8'), stderr };
    },
    stream: (argv, { env: extra } = {}) => start(argv, extra),
    copyOut: async (path) =>
      stream('tar', ['-c', '-C', dirname(path), '-f', '-', path.slice(dirname(path).length + 1)]),
  };
}

/** A program that leaves a mark when it runs. */
export function marker(directory: string): { readonly program: string; readonly ran: () => string[] } {
  const program = join(directory, 'marker');
  const marks = join(directory, 'marks');
  writeFileSync(program, `#!/bin/sh\necho "$0 $*" >> '${marks}'\nexec cat\n`);
  chmodSync(program, 0o755);
  return {
    program,
    ran: () => {
      try {
        return readFileSync(marks, 'utf8').split('\n').filter(Boolean);
      } catch {
        return [];
      }
    },
  };
}

/**
 * Everything of a repository but what a new branch consists of. Objects count without their dates: git dates one anew that
 * is made a second time.
 */
export function untouched(source: string): Record<string, string | undefined> {
  const skip = (path: string) => /^\.git\/(objects\/pack\/.|refs\/heads\/bottle)/.test(path);
  return Object.fromEntries(
    Object.entries(snapshot(source, skip)).map(([path, what]) => [
      path,
      path.startsWith('.git/objects/') ? what.split(' ').at(-1) : what,
    ]),
  );
}
