import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

/** A program of ours that may go on without us. Its streams are pipes; when we are gone it sees their end. */
export interface Daemon {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended and said everything: with its exit status, 128 + n for a signal as a shell has it. */
  readonly ended: Promise<number>;
  /** Lets this process end while the daemon runs. */
  release(): void;
  /** Ends it at once, with its process group; what it said last may be lost. */
  kill(): void;
}

/**
 * Starts a program in a session of its own, so that no signal of this terminal reaches it and it outlives us.
 * @throws what spawn(2) says if it cannot be started.
 */
export async function startDaemon(
  program: string,
  args: readonly string[],
  options: {
    readonly cwd: string;
    /** Laid over our own environment; `undefined` removes a variable. */
    readonly env?: Readonly<Record<string, string | undefined>>;
  },
): Promise<Daemon> {
  const child = spawn(program, [...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  await once(child, 'spawn');
  return daemonOf(child);
}

function daemonOf(child: ChildProcess): Daemon {
  const { pid, stdin, stdout, stderr } = child;
  if (pid === undefined || stdin === null || stdout === null || stderr === null) {
    throw new Error('a daemon without pipes');
  }
  // Whoever writes to one that is gone learns of it by its end.
  stdin.on('error', () => undefined);
  const ended = new Promise<number>((resolve) => {
    child.once('close', (code) => resolve(code ?? 137));
  });
  return {
    pid,
    stdin,
    stdout,
    stderr,
    ended,
    release() {
      child.unref();
      for (const pipe of [stdin, stdout, stderr]) pipe.destroy();
    },
    kill() {
      // Until its end was heard of, its number is nobody else's.
      if (child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // Gone just now.
      }
      // What it started in sessions of their own may hold them for as long as it lives.
      for (const pipe of [stdout, stderr]) pipe.destroy();
    },
  };
}
