import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** The kernel counts a process's time in hundredths of a second, whatever its own tick is (proc(5), USER_HZ). */
const msPerTick = 10;

interface ProcessTimes {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  /** User and system time of the process itself, in ms. */
  readonly ownMs: number;
  /** The same of its children that ended and were waited for, and of theirs. */
  readonly childrenMs: number;
}

/** Time spent by children of this process that have ended, in ms of user and system time together. */
export function endedChildrenMs(): number {
  return timesOf('self')?.childrenMs ?? 0;
}

/** Time spent by these processes and by all below them, dead or alive, in ms. */
export function treeMs(roots: readonly number[]): number {
  const all = allTimes();
  const wanted = new Set(roots);
  for (let before = -1; before !== wanted.size;) {
    before = wanted.size;
    for (const { pid, parent } of all) if (wanted.has(parent)) wanted.add(pid);
  }
  let sum = 0;
  for (const { pid, ownMs, childrenMs } of all) if (wanted.has(pid)) sum += ownMs + childrenMs;
  return sum;
}

/** The parent of a process, 0 if it is gone. */
export function parentOf(pid: number): number {
  return timesOf(pid)?.parent ?? 0;
}

/** Who listens on a Unix socket, and a containerd that runs beside it instead of below it. Empty if we may not see. */
export function serversOf(socketPath: string): number[] {
  const real = socketPath.replace(/^\/var\/run\//, '/run/');
  const inodes = new Set(
    readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , flags, , , , path]) => flags === '00010000' && path !== undefined && same(path, real))
      .map((fields) => `socket:[${fields[6] ?? ''}]`),
  );
  const servers = pids().filter((pid) => descriptorsOf(pid).some((target) => inodes.has(target)));
  const containerds = allTimes().filter(({ name }) => name === 'containerd');
  if (containerds.some(({ parent }) => servers.includes(parent)) || servers.length === 0) return servers;
  return [...servers, ...containerds.filter(({ parent }) => parent === 1).map(({ pid }) => pid)];
}

function same(path: string, real: string): boolean {
  return path.replace(/^\/var\/run\//, '/run/') === real;
}

function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((name) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${name}`);
      } catch {
        return '';
      }
    });
  } catch {
    return [];
  }
}

function pids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

function allTimes(): ProcessTimes[] {
  return pids().flatMap((pid) => timesOf(pid) ?? []);
}

function timesOf(pid: number | 'self'): ProcessTimes | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The name is in parentheses and may hold anything; the fields behind it are counted from `state`, field 3.
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    pid: Number.parseInt(text, 10),
    parent: field(4),
    name: text.slice(text.indexOf('(') + 1, close),
    ownMs: (field(14) + field(15)) * msPerTick,
    childrenMs: (field(16) + field(17)) * msPerTick,
  };
}

/** Reads the peak of a process's resident memory until it ends. */
export class PeakMemory implements Disposable {
  #pid: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #bytes = 0;

  watch(pid: number): void {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#read(), 20);
  }

  /** In bytes; the kernel keeps the peak, so only what grew within the last 20 ms of the process's life is missed. */
  get bytes(): number {
    return this.#bytes;
  }

  #read(): void {
    try {
      const status = readFileSync(`/proc/${this.#pid}/status`, 'utf8');
      const kib = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
      // The launcher is a shell that becomes Node: the later figure is the one of the program.
      if (kib !== undefined) this.#bytes = Math.max(this.#bytes, Number(kib) * 1024);
    } catch {
      // Gone.
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
