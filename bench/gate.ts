import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPackage } from './built-package.ts';
import { succeed } from './engine.ts';
import {
  freePort,
  type Running,
  startGate,
  startMitmproxy,
  startNginx,
  startRelay,
  startSquid,
  startTinyproxy,
} from './gate/proxies.ts';
import { type GateReport, metrics, printGateReport, reachedGateGoals } from './gate/report.ts';
import type { Options } from './options.ts';
import { median } from './statistics.ts';

const mebi = 1 << 20;

/** Our gate against no proxy and against others: the same client, the same server, in turns. */
export async function benchGate(options: Options, signal: AbortSignal): Promise<boolean> {
  await using stack = new AsyncDisposableStack();
  // In memory, so that no disk is measured.
  const directory = await mkdtemp(join('/dev/shm', 'claude-bottle-bench-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const own = async (name: string) => {
    await mkdir(join(directory, name));
    return join(directory, name);
  };
  const client = join(directory, 'client');
  await succeed('gcc', ['-O2', '-o', client, fileURLToPath(new URL('gate/client.c', import.meta.url))]);
  const built = join(await buildPackage(await own('built'), signal), '../../dist/gate');

  const bytes = (options.quick ? 16 : 256) * mebi;
  const requests = options.quick ? 200 : 1000;
  const runs = options.runs ?? (options.quick ? 1 : 7);
  const [serverPort, bareRelayPort, relayPort, squidPort, mitmPort, tinyPort] = await Promise.all([
    freePort(),
    freePort(),
    freePort(),
    freePort(),
    freePort(),
    freePort(),
  ]);
  const files = { big: new Uint8Array(bytes), small: new Uint8Array(200).fill(97) };
  const server = { port: serverPort, socket: join(directory, 'server.sock') };
  stack.use(await startNginx(await own('nginx'), server, files, signal));
  stack.use(await startRelay(bareRelayPort, server.socket, signal));
  const socket = join(directory, 'gate.sock');
  const gate = stack.use(await startGate(built, socket, join(directory, 'gate.jsonl'), signal));
  const idle = await residentMb(gate, 'VmRSS');
  stack.use(await startRelay(relayPort, socket, signal));
  stack.use(await startSquid(await own('squid'), squidPort, signal));
  stack.use(await startTinyproxy(await own('tinyproxy'), tinyPort, signal));
  stack.use(await startMitmproxy(await own('mitmproxy'), mitmPort, signal));

  const ways: readonly [name: string, via: string, port?: number][] = [
    ['direct', 'direct'],
    ['relay alone, to the server', 'direct', bareRelayPort],
    ['ours, HTTP', `http:${relayPort}`],
    ['ours, tunnel', `connect:${relayPort}`],
    ['ours, HTTP, no relay', `unix:${socket}`],
    ['ours, tunnel, no relay', `unix-connect:${socket}`],
    ['squid, HTTP', `http:${squidPort}`],
    ['squid, tunnel', `connect:${squidPort}`],
    // Of requests outside a tunnel it serves one a connection.
    ['tinyproxy, tunnel', `connect:${tinyPort}`],
    ['mitmproxy, HTTP', `http:${mitmPort}`],
    ['mitmproxy, tunnel', `connect:${mitmPort}`],
  ];
  const ask = async (
    mode: string,
    [, via, port = serverPort]: (typeof ways)[number],
    path: string,
    count: number,
  ) => {
    const args = [mode, via, '127.0.0.1', `${port}`, path, `${count}`];
    const { stdout } = await succeed(client, args, { signal, deadlineMs: 120_000 });
    return stdout.trim().split('\n').map(Number);
  };
  const samples = new Map(ways.map(([name]) => [name, metrics.map((): number[] => [])]));
  const failures = new Map<string, string[]>();
  // The first round warms up and is not counted.
  for (let round = options.quick ? 0 : -1; round < runs; round += 1) {
    for (const way of ways) {
      const [name] = way;
      try {
        const [down = NaN] = await ask('get', way, '/big', bytes);
        const [up = NaN] = await ask('put', way, '/upload', bytes);
        const small = (await ask('small', way, '/small', requests)).sort((a, b) => a - b);
        const fresh = (await ask('fresh', way, '/small', requests / 2)).sort((a, b) => a - b);
        const at = (sorted: readonly number[], part: number) =>
          sorted[Math.floor(sorted.length * part)] ?? NaN;
        const values = [down, up].map((seconds) => bytes / seconds / 1e6);
        values.push(at(small, 0.5), at(small, 0.95), at(fresh, 0.5), at(fresh, 0.95));
        if (round >= 0) for (const [i, value] of values.entries()) samples.get(name)?.[i]?.push(value);
      } catch (error) {
        signal.throwIfAborted();
        failures.set(name, [
          ...(failures.get(name) ?? []),
          error instanceof Error ? error.message : String(error),
        ]);
      }
    }
  }
  const report: GateReport = {
    machine: `${cpus().length} CPUs`,
    node: process.version,
    runs,
    bytes,
    quick: options.quick,
    memory: { idle, peak: await residentMb(gate, 'VmHWM') },
    ways: ways.map(([name]) => ({
      name,
      medians: (samples.get(name) ?? []).map(median),
      failures: failures.get(name) ?? [],
    })),
  };
  printGateReport(report, options.json);
  return reachedGateGoals(report);
}

/** MB that a process has in memory (proc(5)). */
async function residentMb({ pid }: Running, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return (Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024) / 1e6;
}
