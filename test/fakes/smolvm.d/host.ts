import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, type Request, removeMachine, spawnMachine } from './machine.ts';
import { type Release, SmolvmError } from './release.ts';
import { readToml } from './toml.ts';

/** The host's paths and settings, as one run sees them. */
export class Host {
  readonly #release: Release;

  constructor(release: Release) {
    this.#release = release;
  }

  /** `SMOLVM_DATA_DIR` moves HOME and wins over XDG_* (v1.2.5, src/process.rs). */
  #root(): string | undefined {
    const root = process.env.SMOLVM_DATA_DIR;
    return root !== undefined && this.#release.since('1.2.5') ? root : undefined;
  }

  cache(): string {
    const root = this.#root();
    if (root !== undefined) return join(root, '.cache');
    return process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  }

  /** Where layers are staged (v1.2.0, src/cli/pack.rs `staging_root`; before, TMPDIR). */
  stagingRoot(flag: string | undefined): string {
    if (!this.#release.since('1.2.0')) return tmpdir();
    return flag ?? process.env.SMOLVM_PACK_STAGING ?? join(this.cache(), 'smolvm');
  }

  /** The credential that the configuration has for a registry; docker's is never looked at. */
  credentialFor(registry: string): { username: string; password: string } | undefined {
    const custom = process.env.SMOLVM_CONFIG;
    if (custom === '') {
      throw new SmolvmError(
        'config operation failed: settings path: SMOLVM_CONFIG is set but empty; provide a full path or unset it',
      );
    }
    const path = custom ?? join(this.#root() ?? homedir(), '.config', 'smolvm', 'config.toml');
    if (!existsSync(path)) return undefined;
    const table = readToml(path).get(`images.registries.${registry}`);
    const variable = table?.get('password_env');
    const password = (variable === undefined ? undefined : process.env[variable]) ?? table?.get('password');
    const username = table?.get('username');
    return username === undefined || password === undefined ? undefined : { username, password };
  }

  /** The proxy of the pull: flags, and since v1.9.1 the environment (src/cli/proxy_opts.rs). */
  proxy(flag: string | undefined, noProxyFlag: string | undefined): Record<string, string> {
    const fromEnvironment = (names: readonly string[]) =>
      this.#release.since('1.9.1') ? names.map((name) => process.env[name]).find(Boolean) : undefined;
    const proxy =
      flag ??
      fromEnvironment(['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy']);
    const none = noProxyFlag ?? fromEnvironment(['NO_PROXY', 'no_proxy']);
    return {
      ...(proxy === undefined ? {} : { HTTP_PROXY: proxy, HTTPS_PROXY: proxy }),
      ...(none === undefined ? {} : { NO_PROXY: none }),
    };
  }

  /** Boots a throw-away VM. Killed, we leave it running and its directory in place, as smolvm does. */
  async startMachine(): Promise<Machine> {
    const name = `pack-${process.pid}-${process.hrtime.bigint()}`;
    const id = createHash('sha256').update(name).digest('hex').slice(0, 16);
    const directory = join(this.cache(), 'smolvm', 'vms', id);
    this.checkKvm();
    const machine = new Machine(await spawnMachine(directory, name), directory);
    try {
      this.checkReach(machine.socket);
      await machine.ready();
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
    return machine;
  }

  /** Root's VMs run as a user of their own (v1.2.5, src/process.rs), and what they are made of is mapped to root then. */
  dropsUid(): boolean {
    return (
      process.geteuid?.() === 0 && this.#release.since('1.2.5') && process.env.SMOLVM_VM_UID_DROP !== 'off'
    );
  }

  /** smolvm looks at /dev/kvm (src/platform/linux.rs); the double, which needs none, at `FAKE_SMOLVM_KVM`. */
  checkKvm(): void {
    const kvm = process.env.FAKE_SMOLVM_KVM;
    if (kvm === 'missing') {
      throw new SmolvmError(
        'kvm not available: KVM not available. Ensure KVM kernel module is loaded.\n' +
          'Try: sudo modprobe kvm && sudo modprobe kvm_intel  # (or kvm_amd)',
      );
    }
    if (kvm === 'denied') {
      throw new SmolvmError(
        "kvm permission denied: Cannot access /dev/kvm (permission denied).\nAdd your user to the 'kvm' group:\n\n" +
          'sudo usermod -aG kvm $USER\n\nThen log out and log back in for the change to take effect.',
      );
    }
  }

  /** Two ways never to hear of the VM again, each a wait of 30 s in smolvm that is cut short here. */
  checkReach(socket: string): void {
    const tooLong = Buffer.byteLength(socket) > 107;
    if (tooLong || (this.dropsUid() && !isWalkable(this.cache()))) throw notReady();
    // A guest behind a network card of its own cannot reach the host's loopback (v1.0.4; v1.7.2).
    const card = process.env.SMOLVM_PUBLISH_ADDR ?? process.env.SMOLVM_GUEST_HOST_SERVICE;
    this.reachesLoopback = card === undefined || !this.#release.since('1.0.4');
  }

  reachesLoopback = true;
}

/** The running VM. Disposing stops it and removes its directory. */
export class Machine implements AsyncDisposable {
  readonly socket: string;
  readonly #child: ChildProcess;
  readonly #directory: string;

  constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
    this.socket = join(directory, 'agent.sock');
  }

  async ready(): Promise<void> {
    const until = Date.now() + 30_000;
    while (Date.now() < until && this.#child.exitCode === null && this.#child.signalCode === null) {
      if (existsSync(this.socket)) {
        const answered = await this.ask({ op: 'ping' }).then(
          () => true,
          () => false,
        );
        if (answered) return;
      }
      await sleep(5);
    }
    throw notReady();
  }

  /** Sends one request; gives the last answer, and every one before it to `onAnswer`. */
  async ask(request: Request, onAnswer: (answer: Answer) => void = () => undefined): Promise<Answer> {
    const { answers, connection } = await this.#open(request);
    let last: Answer | undefined;
    for await (const answer of answers) {
      if (last !== undefined) onAnswer(last);
      last = answer;
    }
    connection.destroy();
    if (last === undefined) throw SmolvmError.agent('receive response', 'connection closed by agent');
    return last;
  }

  /** The bytes that follow the first answer. */
  async *bytes(request: Request): AsyncGenerator<Buffer> {
    const connection = await this.#connect(request);
    let started = false;
    for await (const chunk of connection as AsyncIterable<Buffer>) {
      if (started) {
        yield chunk;
        continue;
      }
      started = true;
      const end = chunk.indexOf(0x0a);
      const answer = JSON.parse(chunk.toString('utf8', 0, end)) as Answer;
      if (answer.kind === 'error') throw SmolvmError.agent('export layer', answer.message);
      yield chunk.subarray(end + 1);
    }
  }

  async #open(request: Request): Promise<{ answers: AsyncIterable<Answer>; connection: Socket }> {
    const connection = await this.#connect(request);
    return { answers: linesOf(connection), connection };
  }

  #connect(request: Request): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const connection = connect(this.socket, () => {
        connection.write(`${JSON.stringify(request)}\n`);
        resolve(connection);
      });
      connection.once('error', reject);
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return removeMachine(this.#child, this.#directory);
  }
}

async function* linesOf(connection: Socket): AsyncGenerator<Answer> {
  let rest = '';
  for await (const chunk of connection.setEncoding('utf8')) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line) as Answer;
  }
}

function notReady(): SmolvmError {
  return SmolvmError.agent('wait for ready', 'agent did not become ready within 30 seconds');
}

/** Whether a user without rights of its own can walk to the directory. */
function isWalkable(path: string): boolean {
  if ((statSync(path).mode & 0o001) === 0) return false;
  return dirname(path) === path || isWalkable(dirname(path));
}
