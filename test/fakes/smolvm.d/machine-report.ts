import { type State, stateOf } from './machine-life.ts';
import { SmolvmError } from './release.ts';
import type { MachineRecord, Store } from './store.ts';

const say = (text: string) => void process.stdout.write(text);

/** One machine as `ls --json` and `status --json` show it (v1.8.0, src/cli/vm_common.rs `machine_status_json`). */
function shown(record: MachineRecord, state: State): object {
  return sorted({
    name: record.name,
    state,
    cpus: record.cpus,
    memory_mib: record.mem,
    pid: record.pid,
    mounts: record.volumes.length,
    ports: 0,
    created_at: record.createdAt,
    storage_gb: record.storageGb,
    overlay_gb: record.overlayGb,
    image: record.image,
    entrypoint: record.entrypoint,
    cmd: record.cmd,
    ephemeral: false,
    gpu: false,
    gpu_vram_mib: null,
    cuda: false,
    forkable: false,
    cuda_fork_pool_size: null,
    cuda_vram_limit_mib: null,
    forkpoint_held: false,
    labels: record.labels,
    restart_policy: 'never',
    restart_max_retries: 0,
    restart_count: 0,
    health_cmd: null,
    health_interval_secs: null,
    health_timeout_secs: null,
    health_retries: null,
    health_startup_grace_secs: null,
    network: record.network,
  });
}

/** serde_json keeps the keys of a map sorted. */
function sorted(object: Record<string, unknown>): object {
  return Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** `machine ls`. */
export async function listMachines(store: Store, json: boolean): Promise<void> {
  const records = store.list();
  const states = await Promise.all(records.map((record) => stateOf(store, record)));
  if (json) {
    const all = records.map((record, at) => shown(record, states[at] ?? 'stopped'));
    return say(`${JSON.stringify(all, null, 2)}\n`);
  }
  if (records.length === 0) return say('No machines found\n');
  const row = (cells: readonly string[]) => {
    const widths = [-20, -12, 5, 10, 7, 7, 8, 8];
    const padded = cells.map((cell, at) => {
      const width = widths[at] ?? 0;
      return width < 0 ? cell.padEnd(-width) : cell.padStart(width);
    });
    return `${padded.join(' ')}\n`;
  };
  say(
    row(['NAME', 'STATE', 'CPUS', 'MEMORY', 'MOUNTS', 'PORTS', 'STORAGE', 'OVERLAY']) + `${'-'.repeat(88)}\n`,
  );
  for (const [at, { name, cpus, mem, volumes, storageGb, overlayGb }] of records.entries()) {
    const short = name.length > 18 ? `${name.slice(0, 15)}...` : name;
    const cells = [
      String(cpus),
      `${mem} MiB`,
      String(volumes.length),
      '0',
      `${storageGb ?? 20} GiB`,
      `${overlayGb ?? 10} GiB`,
    ];
    say(row([short, states[at] ?? '', ...cells]));
  }
}

/** `machine status`. */
export async function showStatus(store: Store, name: string, json: boolean): Promise<void> {
  const record = store.read(name);
  if (record === undefined) {
    throw new SmolvmError(
      json ? `config operation failed: machine status: machine '${name}' not found` : `vm not found: ${name}`,
    );
  }
  const state = await stateOf(store, record);
  if (json) return say(`${JSON.stringify(shown(record, state), null, 2)}\n`);
  say(`Machine '${name}': ${state}${state === 'running' ? ` (PID: ${record.pid})` : ''}\n`);
}
