import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { double, type Ran, smolvm } from './double.ts';
import { password, TestRegistry, username } from './registry.ts';

const programs =
  'sh cat ls id env sleep head tail stat touch chown chmod mkdir rm wc dd seq tty stty base64 hostname perl'.split(
    ' ',
  );

/** A root file system of the host's own small programs, with their libraries: a shell, coreutils and perl's base. */
function makeRootfs(directory: string): void {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(directory, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(directory, name));
  }
  for (const name of ['etc', 'proc', 'sys', 'dev', 'run', 'tmp', 'root', 'home/agent', 'work']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  const copy = (source: string, target: string) => {
    const path = join(directory, target);
    mkdirSync(dirname(path), { recursive: true });
    if (!existsSync(path)) copyFileSync(realpathSync(source), path);
  };
  for (const program of programs) {
    const path = execFileSync('sh', ['-c', `command -v ${program}`], {
      encoding: 'utf8',
      env: systemPath,
    }).trim();
    copy(path, join('usr/bin', program));
    for (const [library] of execFileSync('ldd', [realpathSync(path)], { encoding: 'utf8' }).matchAll(
      /\/\S+\.so\S*/g,
    )) {
      copy(library, library.replace(/^\/lib/, 'usr/lib'));
    }
  }
  const perl = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/perl-base`;
  if (existsSync(perl)) cpSync(perl, join(directory, perl), { recursive: true });
  writeFileSync(
    join(directory, 'etc/passwd'),
    'root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\n',
  );
  execFileSync('chown', ['-R', '1000:1000', join(directory, 'home/agent')]);
}

const systemPath = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

/** One data directory with an artifact, and the double on it. Disposing ends and removes all that is in it. */
export class MachineHouse implements AsyncDisposable {
  readonly directory: string;
  readonly env: Record<string, string>;
  /** A `.smolmachine` made by the double's own `pack create`. */
  readonly artifact: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.artifact = join(directory, 'base.smolmachine');
    this.env = {
      SMOLVM_DATA_DIR: this.home,
      SMOLVM_VM_UID_DROP: 'off',
      FAKE_SMOLVM_VM_SECONDS: '900',
    };
  }

  static async open(
    config: object = { Env: ['NAME=packed', 'KEPT=yes'], WorkingDir: '/work' },
  ): Promise<MachineHouse> {
    const directory = await mkdtemp('/tmp/sd-');
    execFileSync('chmod', ['755', directory]);
    const house = new MachineHouse(directory);
    mkdirSync(join(directory, 'h'));
    const rootfs = join(directory, 'rootfs');
    makeRootfs(rootfs);
    const layer = execFileSync('tar', ['--numeric-owner', '-cf', '-', '-C', rootfs, '.'], {
      maxBuffer: 1 << 30,
    });
    await using registry = await TestRegistry.start();
    const { reference } = await registry.push('base', [layer], { config });
    const settings = join(directory, 'smolvm.toml');
    writeFileSync(
      settings,
      `[images.registries."${registry.host}"]\nusername = "${username}"\npassword = "${password}"\n`,
    );
    const packed = await house.run(['pack', 'create', '-I', reference, '-o', join(directory, 'base')], {
      SMOLVM_CONFIG: settings,
    });
    if (packed.code !== 0) throw new Error(packed.stderr);
    return house;
  }

  get home(): string {
    return join(this.directory, 'h');
  }

  get vms(): string {
    return join(this.home, '.cache', 'smolvm', 'vms');
  }

  run(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
    return smolvm(args, { ...this.env, ...env });
  }

  /** `machine create --from`, without a workload of its own unless one is given. */
  create(name: string, args: readonly string[] = [], env: Record<string, string> = {}): Promise<Ran> {
    return this.run(
      ['machine', 'create', '--name', name, '--from', this.artifact, '--mem', '512', ...args],
      env,
    );
  }

  /** A machine that runs. */
  async up(name: string, args: readonly string[] = [], env: Record<string, string> = {}): Promise<void> {
    const done = [
      await this.create(name, args, env),
      await this.run(['machine', 'start', '--name', name], env),
    ];
    const failed = done.find(({ code }) => code !== 0);
    if (failed !== undefined) throw new Error(failed.stderr);
  }

  exec(name: string, command: readonly string[], args: readonly string[] = []): Promise<Ran> {
    return this.run(['machine', 'exec', '--name', name, ...args, '--', ...command]);
  }

  /** A running `machine exec` with pipes. */
  session(name: string, command: readonly string[], args: readonly string[]): ChildProcess {
    return spawn(double, ['machine', 'exec', '--name', name, ...args, '--', ...command], {
      env: { ...process.env, ...this.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  async state(name: string): Promise<string> {
    const { stdout } = await this.run(['machine', 'status', '--name', name, '--json']);
    return (JSON.parse(stdout) as { state: string }).state;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { stdout } = await this.run(['machine', 'ls', '--json']);
    for (const { name } of JSON.parse(stdout) as { name: string }[]) {
      await this.run(['machine', 'delete', '-f', '--name', name]);
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** What is left of machines below that directory: processes, mounts, control groups, directories. */
export function leftOf(house: MachineHouse): string[] {
  const read = (path: string) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  const home = createHash('sha256').update(house.vms).digest('hex').slice(0, 8);
  const groups = ['', 'memory', 'pids']
    .map((hierarchy) => join('/sys/fs/cgroup', hierarchy))
    .filter((path) => existsSync(path))
    .flatMap((path) => readdirSync(path))
    .filter((name) => name.startsWith(`smolvm-double-${home}`));
  return [
    ...pids
      .filter((pid) => read(`/proc/${pid}/cmdline`).includes(house.directory))
      .map((pid) => `process ${pid}`),
    ...pids
      .filter((pid) => read(`/proc/${pid}/mountinfo`).includes(house.directory))
      .map((pid) => `mount of ${pid}`),
    ...groups,
    ...readdirSync(house.vms).filter((name) => !['_shared', '.artifact-cache.lock'].includes(name)),
  ];
}

/** Everything that a child says on its standard output, until it ends. */
export async function outputOf(
  child: ChildProcess,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...text };
}
