import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { unpackShared } from './artifact-cache.ts';
import type { Host } from './host.ts';
import { parseEnv, parseLabels, parseSockets, parseVolumes, validateName } from './machine-options.ts';
import { NotPartOfDouble, type Release, SmolvmError } from './release.ts';
import { type MachineRecord, Store } from './store.ts';
import { type Artifact, extractLayers, readArtifactHead } from './unpack.ts';
import { optionOf, type Parsed } from './usage.ts';

const say = (text: string) => void process.stdout.write(text);

/** What `create --from` silently ignores (src/cli/machine.rs `run_from_smolmachine`). */
const played = new Set(
  (
    'name from cpus mem storage overlay volume env label mount-socket net ' +
    'workdir gpu gpu-vram rosetta max-image-size'
  ).split(' '),
);

/** Options of a machine that are noticed after `--`, where they belong to the workload (v1.9.2). */
const notable =
  /^--(name|label|image|cpus|mem|storage|overlay|volume|port|net|env|workdir|init|from|mount-socket)(=|$)/;

/** `machine create --from` (src/cli/machine.rs `CreateCmd::run_from_smolmachine`). */
export async function machineCreate(release: Release, host: Host, parsed: Parsed): Promise<void> {
  const other = [...parsed.values.keys()].find((flag) => !played.has(flag));
  if (other !== undefined) throw new NotPartOfDouble(`"machine create --${other}"`);
  const from = optionOf(parsed, 'from');
  if (from === undefined) throw new NotPartOfDouble('"machine create" without --from');
  if (release.since('1.9.2')) noteStrayFlags(parsed.operands);

  const artifact = await readArtifactHead(release, from);
  checkPlatform(artifact);
  const record = recordOf(release, parsed, artifact);
  validateName(record.name);
  checkResources(record);

  const store = new Store(host.cache());
  using lock = store.tryLock(record.name);
  if (lock === undefined || store.read(record.name) !== undefined) {
    throw new SmolvmError(
      `config operation failed: create machine: machine '${record.name}' already exists or is being created`,
    );
  }
  const directory = store.directoryOf(record.name);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  say('Extracting .smolmachine assets...\n');
  try {
    const isShared = release.since('1.9.0') && process.env.SMOLVM_DISABLE_SHARED_EXTRACT === undefined;
    const layers = await (
      isShared
        ? unpackShared(artifact, store.vms, directory, host.dropsUid())
        : extractLayers(artifact, join(directory, 'pack'), host.dropsUid())
    ).catch((error: unknown) => {
      throw SmolvmError.agent(
        isShared ? 'extract sidecar (shared)' : 'extract sidecar',
        (error as Error).message,
      );
    });
    store.write({ ...record, layers });
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  printCreated(record);
}

function recordOf(release: Release, parsed: Parsed, { manifest }: Artifact): MachineRecord {
  const many = (long: string) => parsed.values.get(long) ?? [];
  const number = (long: string) => {
    const text = optionOf(parsed, long);
    return text === undefined ? undefined : Number(text);
  };
  // A value that equals smolvm's own default is taken for none (src/cli/machine.rs).
  const unless = (value: number | undefined, own: number, packed: number) =>
    value === undefined || value === own ? packed : value;
  const hasCommand = parsed.operands.length > 0;
  const name = optionOf(parsed, 'name') ?? `vm-${Math.random().toString(16).slice(2, 10)}`;
  return {
    name,
    state: 'created',
    pid: null,
    pidStartTime: null,
    cpus: unless(number('cpus'), 4, manifest.cpus),
    mem: unless(number('mem'), 8192, manifest.mem),
    storageGb: number('storage') ?? null,
    overlayGb: number('overlay') ?? null,
    network: manifest.network === true || parsed.values.has('net'),
    volumes: parseVolumes(many('volume')),
    sockets: parseSockets(many('mount-socket')),
    env: parseEnv([...(manifest.env ?? []), ...many('env')]),
    workdir: manifest.workdir ?? null,
    image: manifest.image,
    entrypoint: hasCommand ? [] : (manifest.entrypoint ?? []),
    cmd: hasCommand ? parsed.operands : (manifest.cmd ?? []),
    labels: release.since('1.8.0') ? parseLabels(many('label')) : {},
    createdAt: Math.floor(Date.now() / 1000),
    layers: [],
  };
}

function checkPlatform({ manifest }: Artifact): void {
  const own = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const [, arch] = manifest.platform.split('/');
  if (arch === own) return;
  throw new SmolvmError(
    `config operation failed: artifact architecture: artifact targets ${manifest.platform} but this host is ${own}`,
  );
}

/** src/data/resources.rs `VmResources::validate`. */
function checkResources({ cpus, mem, storageGb, overlayGb }: MachineRecord): void {
  const refuse = (words: string) => {
    throw new SmolvmError(`config operation failed: validate resources: ${words}`);
  };
  if (cpus === 0) refuse('CPU count must be at least 1');
  if (mem < 64) refuse(`memory must be at least 64 MiB (got ${mem} MiB)`);
  if (storageGb === 0) refuse('storage disk size must be greater than 0 GiB');
  if (overlayGb === 0) refuse('overlay disk size must be greater than 0 GiB');
}

function noteStrayFlags(operands: readonly string[]): void {
  const stray = operands.filter((word) => notable.test(word)).map((word) => word.split('=')[0] ?? '');
  if (stray.length === 0) return;
  process.stderr.write(
    `note: ${stray.join(', ')} came after \`--\`, so ${stray.length === 1 ? 'it was' : 'they were'} passed to the workload ` +
      'and did not configure the machine. Machine options go before `--`.\n',
  );
}

function printCreated({ name, cpus, mem, volumes }: MachineRecord): void {
  say(`Created machine: ${name}\n  CPUs: ${cpus}, Memory: ${mem} MiB\n`);
  if (volumes.length > 0) say(`  Mounts: ${volumes.length}\n`);
  say(`\nUse 'smolvm machine start --name ${name}' to start the machine\n`);
  say(`Then use 'smolvm machine exec --name ${name} -- <command>' to run commands\n`);
}
