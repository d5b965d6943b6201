import { Host } from './host.ts';
import { machineCreate } from './machine-create.ts';
import { machineCopy } from './machine-cp.ts';
import { machineExec } from './machine-exec.ts';
import { deleteMachine, startMachine, stopMachine } from './machine-life.ts';
import { listMachines, showStatus } from './machine-report.ts';
import { NotPartOfDouble, type Release } from './release.ts';
import { Store } from './store.ts';
import { optionOf, type Parsed } from './usage.ts';

/** Machines are played for these releases and later ones. */
const since = '1.8.1';

/** A subcommand of `machine` whose arguments have been found right. */
export async function runMachineCommand(release: Release, subcommand: string, parsed: Parsed): Promise<void> {
  const host = new Host(release);
  const store = new Store(host.cache());
  if (!release.since(since)) {
    const isListing = subcommand === 'ls' || subcommand === 'list';
    if (isListing && parsed.values.has('json')) return listMachines(store, true);
    throw new NotPartOfDouble(`"machine ${subcommand}" of ${release.version}`);
  }
  const name = optionOf(parsed, 'name');
  switch (subcommand) {
    case 'create':
      return machineCreate(release, host, parsed);
    case 'exec':
      return machineExec(release, store, parsed);
    case 'start': {
      const fork = ['forkable', 'fork-pool-size'].find((flag) => parsed.values.has(flag));
      if (fork !== undefined) throw new NotPartOfDouble(`"machine start --${fork}"`);
      if (name === undefined) throw new NotPartOfDouble('"machine start" without --name');
      return startMachine(release, host, store, name);
    }
    case 'stop':
      return stopMachine(store, name ?? 'default');
    case 'delete':
    case 'rm':
      return deleteMachine(store, name ?? '', parsed.values.has('force') || parsed.values.has('cascade'));
    case 'ls':
    case 'list':
      if (parsed.values.has('verbose') && !parsed.values.has('json')) {
        throw new NotPartOfDouble('"machine ls --verbose"');
      }
      return listMachines(store, parsed.values.has('json'));
    case 'status':
      return showStatus(store, name ?? 'default', parsed.values.has('json'));
    case 'data-dir':
      return void process.stdout.write(`${store.directoryOf(name ?? 'default')}\n`);
    case 'cp':
      return machineCopy(store, parsed);
    default:
      throw new NotPartOfDouble(`"machine ${subcommand}"`);
  }
}
