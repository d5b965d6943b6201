import { createHash, randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SmolvmError } from './release.ts';

export interface Volume {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** A socket of the host that is mounted into the machine. */
export interface MountedSocket {
  readonly host: string;
  readonly guest: string;
}

/** What smolvm keeps of a machine in its database (src/config.rs `VmRecord`); here a file in the machine's directory. */
export interface MachineRecord {
  readonly name: string;
  readonly state: 'created' | 'running' | 'stopped';
  readonly pid: number | null;
  /** Of the process with that pid, from /proc/PID/stat. */
  readonly pidStartTime: string | null;
  readonly cpus: number;
  readonly mem: number;
  readonly storageGb: number | null;
  readonly overlayGb: number | null;
  readonly network: boolean;
  readonly volumes: readonly Volume[];
  readonly sockets: readonly MountedSocket[];
  readonly env: readonly string[];
  readonly workdir: string | null;
  readonly image: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Seconds since the epoch. */
  readonly createdAt: number;
  /** Unpacked layers, the lowest first. */
  readonly layers: readonly string[];
}

const recordName = 'machine.json';

/** The machines below one cache directory. */
export class Store {
  readonly vms: string;

  constructor(cache: string) {
    this.vms = join(cache, 'smolvm', 'vms');
  }

  /** `<vms>/<first 8 bytes of the name's SHA-256>` (src/agent/mod.rs `vm_data_dir`). */
  directoryOf(name: string): string {
    return join(this.vms, idOf(name));
  }

  read(name: string): MachineRecord | undefined {
    return readRecord(this.directoryOf(name));
  }

  /** The record, or smolvm's error for a name that it does not know. */
  expect(name: string): MachineRecord {
    const record = this.read(name);
    if (record === undefined) throw new SmolvmError(`vm not found: ${name}`);
    return record;
  }

  write(record: MachineRecord): void {
    const directory = this.directoryOf(record.name);
    const temporary = join(directory, `.${recordName}.${process.pid}`);
    writeFileSync(temporary, JSON.stringify(record, null, 2));
    renameSync(temporary, join(directory, recordName));
  }

  list(): MachineRecord[] {
    let names: string[];
    try {
      names = readdirSync(this.vms);
    } catch {
      return [];
    }
    return names
      .map((name) => (/^[0-9a-f]{16}$/.test(name) ? readRecord(join(this.vms, name)) : undefined))
      .filter((record) => record !== undefined)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Waits until no other process works on that machine. Disposing lets the next one go on. */
  async lock(name: string): Promise<Disposable> {
    for (;;) {
      const lock = this.tryLock(name);
      if (lock !== undefined) return lock;
      await sleep(10);
    }
  }

  /** The machine's lock, unless a living process has it. */
  tryLock(name: string): Disposable | undefined {
    mkdirSync(this.vms, { recursive: true });
    const path = join(this.vms, `.lock-${idOf(name)}`);
    const claim = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
    writeFileSync(claim, `${process.pid} ${startTimeOf(process.pid)}`);
    try {
      const isTaken =
        tryLink(claim, path) || (!isHeld(path) && dropDead(path, claim) && tryLink(claim, path));
      return isTaken ? { [Symbol.dispose]: () => rmSync(path, { force: true }) } : undefined;
    } finally {
      rmSync(claim, { force: true });
    }
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch {
    return false;
  }
}

function isHeld(path: string): boolean {
  try {
    const [pid = '', started = ''] = readFileSync(path, 'utf8').split(' ');
    return isAlive(Number(pid), started);
  } catch {
    return true;
  }
}

/** Takes a dead owner's lock away. Two that try: the second moves a lock that lives and puts it back. */
function dropDead(path: string, claim: string): boolean {
  const aside = `${claim}.dead`;
  try {
    renameSync(path, aside);
  } catch {
    return false;
  }
  const isAlive = isHeld(aside);
  if (isAlive) tryLink(aside, path);
  rmSync(aside, { force: true });
  return !isAlive;
}

function readRecord(directory: string): MachineRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, recordName), 'utf8')) as MachineRecord;
  } catch {
    return undefined;
  }
}

function idOf(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 16);
}

/** The start time in clock ticks, which tells a process from a later one with its pid; empty for one that is gone. */
export function startTimeOf(pid: number): string {
  try {
    const fields = (readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').pop() ?? '').split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '');
  } catch {
    return '';
  }
}

export function isAlive(pid: number, startTime: string): boolean {
  return startTime !== '' && startTimeOf(pid) === startTime;
}
