import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import * as v from 'valibot';
import { int } from '../schema.ts';
import { run } from './run.ts';

/**
 * Names one process for all time: a pid alone is reused, a pid with its start time is not until the next boot, and
 * with the boot id not even then. The machine and the pid namespace tell when a pid cannot be looked up from here at all:
 * a cache may be shared over a network, or with a container.
 */
export const Owner = v.object({
  pid: v.pipe(int, v.minValue(1)),
  startTime: v.string(),
  machine: v.string(),
  bootId: v.string(),
  pidNamespace: v.string(),
});
export type Owner = Readonly<v.InferOutput<typeof Owner>>;

let own: Promise<Owner> | undefined;

/** This process. Computed once: none of it can change while we live. */
export function currentOwner(): Promise<Owner> {
  own ??= describe(process.pid);
  return own;
}

/** Whether that very process runs now, beyond doubt: only then may a signal be sent to its pid. */
export async function isSurelyRunning(owner: Owner): Promise<boolean> {
  const now = await ownerOf(owner.pid).catch(() => undefined);
  return (
    now?.machine === owner.machine &&
    now.bootId === owner.bootId &&
    now.pidNamespace === owner.pidNamespace &&
    now.startTime === owner.startTime
  );
}

/** The process with that pid as it is now; `undefined` when there is none. */
export async function ownerOf(pid: number): Promise<Owner | undefined> {
  const startTime = await startTimeOf(pid);
  if (startTime === undefined) return undefined;
  const here = await currentOwner();
  return { ...here, pid, startTime };
}

/**
 * True only when the owner cannot be running any more: an earlier boot of this host, or a pid of our own namespace that is gone or
 * now belongs to a younger process. When it cannot be told, the answer is false and nothing is reaped.
 */
export async function isProvablyDead(owner: Owner): Promise<boolean> {
  const here = await currentOwner();
  if (owner.machine !== here.machine) return false;
  if (owner.bootId !== here.bootId) return true;
  if (owner.pidNamespace !== here.pidNamespace) return false;
  return startTimeOf(owner.pid).then(
    (startTime) => startTime !== owner.startTime,
    () => false,
  );
}

async function describe(pid: number): Promise<Owner> {
  const [startTime, machine, bootId, pidNamespace] = await Promise.all([
    startTimeOf(pid),
    machineIdentity(),
    bootIdentity(),
    namespaceOf(),
  ]);
  return { pid, startTime: startTime ?? '', machine, bootId, pidNamespace };
}

/**
 * Clock ticks since boot on Linux (proc(5), field 22); the start date as ps prints it elsewhere; `undefined` when the
 * process is gone.
 * @throws when the system does not tell, for then the process may well be running.
 */
async function startTimeOf(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch((error: NodeJS.ErrnoException) => {
      // Under hidepid (proc(5)) the processes of others look absent, but they can still be asked after.
      if (error.code === 'ESRCH' || (error.code === 'ENOENT' && !isThere(pid))) return undefined;
      throw error;
    });
    if (stat === undefined) return undefined;
    // The command name sits in parentheses and may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds nothing any more: its parent just has not looked yet.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  }
  const { code, stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)]);
  return code === 0 ? stdout.trim() : undefined;
}

/** Whether any process of this namespace has that pid, a zombie included. */
export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** machine-id(5), which a container or a host of its own has its own of; the host's name where there is none. */
async function machineIdentity(): Promise<string> {
  const id = await readFile('/etc/machine-id', 'latin1').catch(() => '');
  return id.trim() === '' ? hostname() : id.trim();
}

async function bootIdentity(): Promise<string> {
  if (process.platform === 'linux')
    return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
  return (await run('sysctl', ['-n', 'kern.boottime'])).stdout.trim();
}

async function namespaceOf(): Promise<string> {
  return process.platform === 'linux' ? readlink('/proc/self/ns/pid') : 'host';
}
