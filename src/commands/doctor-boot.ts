import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { initProgram } from '../bottles/init-program.ts';
import { currentOwner, isProvablyDead, Owner } from '../process/owner.ts';
import { run } from '../process/run.ts';
import { ifFits } from '../schema.ts';
import { Cache } from '../smolmachine/cache.ts';
import { MachineFailed } from '../smolvm/errors.ts';
import type { Smolvm } from '../smolvm/find.ts';
import { machineHome } from '../smolvm/machine-home.ts';
import { Machines } from '../smolvm/machines.ts';
import { quoteFailure } from '../smolvm/output.ts';
import { formatVersion } from '../smolvm/version.ts';
import { formatDuration } from '../terminal/units.ts';
import { type Check, orFailure } from './doctor-check.ts';
import { homeOf } from './world-bottles.ts';
import { cachePath, type World } from './world.ts';

/** Whose test a machine is: an owner as JSON. Never the label of a bottle, so that none is taken for one. */
const ownerLabel = 'claude-bottle.doctor';
const inside = '/run/claude-bottle-init';
/** How long a machine that says that it runs may take to answer, in milliseconds. */
const answerMs = 15_000;

/**
 * Boots a machine from the artifact that was used last, runs a program in it and removes it. Boots no bottle: the first
 * process of bottles idles in it, nothing of the image is started.
 */
export function checkBoot(world: World, found: Promise<Smolvm>): Promise<Check> {
  const name = 'boot';
  return orFailure(name, async () => {
    const { environment } = world;
    const cache = await Cache.open(cachePath(world));
    const entry = (await cache.list()).find(({ record }) => record.form === 'smolmachine');
    if (entry === undefined) {
      return {
        name,
        status: 'failed',
        detail: 'there is no artifact to boot',
        hint: 'make one: claude-bottle pack DIRECTORY, or claude-bottle pack --image alpine',
      };
    }
    await using _held = await cache.hold(entry.record.key);
    const smolvm = await found;
    const home = await machineHome(environment, homeOf(environment), process.geteuid?.() ?? 0);
    const machines = Machines.open(smolvm, home);
    await removeLeft(machines);
    const times = await boot({ smolvm, machines, artifact: entry.path, signal: world.signal });
    const steps = times.map(([step, ms]) => `${step} in ${formatDuration(ms)}`).join(', ');
    return { name, status: 'ok', detail: `${entry.record.image.reference}: ${steps}` };
  });
}

/** Removes the machines of tests whose process was killed. */
async function removeLeft(machines: Machines): Promise<void> {
  for (const { name, labels } of await machines.list()) {
    const owner = ownerIn(labels[ownerLabel]);
    if (owner !== undefined && (await isProvablyDead(owner))) await machines.delete(name);
  }
}

function ownerIn(label: string | undefined): Owner | undefined {
  try {
    return ifFits(Owner, JSON.parse(label ?? 'null'));
  } catch {
    return undefined;
  }
}

interface Boot {
  readonly smolvm: Smolvm;
  readonly machines: Machines;
  readonly artifact: string;
  readonly signal: AbortSignal;
}

/** The steps of a machine's life, each with the milliseconds it took. */
async function boot(options: Boot): Promise<readonly (readonly [step: string, ms: number])[]> {
  const { machines, artifact, signal } = options;
  const name = `claude-bottle-doctor-${randomBytes(4).toString('hex')}`;
  const init = await initProgram();
  const times: [string, number][] = [];
  const timed = async (step: string, work: Promise<void>) => {
    const began = performance.now();
    await work;
    times.push([step, performance.now() - began]);
  };
  const idle = [join(inside, basename(init)), 'idle'];
  const labels = { [ownerLabel]: JSON.stringify(await currentOwner()) };
  const volumes = [{ source: dirname(init), target: inside, readOnly: true }];
  const disks = { storageGiB: 20, overlayGiB: 10 };
  const spec = { name, artifact, cpus: 1, memoryMiB: 512, ...disks, labels, volumes, command: idle };
  await using left = new AsyncDisposableStack();
  left.defer(() => machines.delete(name));
  await timed('made', machines.create({ ...spec, sockets: [], env: {} }, signal));
  await timed('started', machines.start(name, signal));
  await timed('answered', answer(name, join(inside, basename(init)), options));
  await timed('stopped', machines.stop(name));
  await timed('removed', left.disposeAsync());
  return times;
}

/** Runs the program of ours that is in it, since an image need not have any. @throws MachineFailed when it does not run. */
async function answer(name: string, program: string, { smolvm, machines, signal }: Boot): Promise<void> {
  const { command, args, env } = machines.execCommand(name, [program, '--version'], { stdin: false });
  const until = Date.now() + answerMs;
  for (let pauseMs = 50; ; pauseMs *= 2) {
    const { code, stdout, stderr } = await run(command, args, {
      env,
      cwd: '/',
      deadlineMs: answerMs,
      signal,
    });
    if (code === 0) return;
    if (Date.now() + pauseMs > until) {
      const quote = quoteFailure(stdout, stderr);
      const failure = await machines.execFailure(name, { code, stderr }, signal);
      const version = formatVersion(smolvm.version);
      throw failure ?? new MachineFailed({ action: 'exec', name, version, code, cause: 'unknown', quote });
    }
    await sleep(pauseMs, undefined, { signal });
  }
}
