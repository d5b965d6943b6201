import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildImage, House, image } from '../bottles/house.ts';
import { countsOf, filesBelow, isEmpty, processesOf, told } from './killing.ts';

const kills = Number(process.env['FAULT_KILLS'] ?? 100);
/** A whole start takes about so long here. */
const wholeMs = 3_000;
/** A supervisor whose owner was killed ends its bottle in good order, which takes it a moment. */
const orderlyMs = 30_000;

/** What of the bottles is there; each should be empty. Records and logs of bottles that ended stay, and are told apart. */
async function leftovers(house: House): Promise<Record<string, string[]>> {
  const state = join(house.path, 'state/claude-bottle');
  return {
    containers: await house.containers(),
    processes: [...(await processesOf(house)).values()],
    sockets: await filesBelow(join(house.path, 'run'), /$^/),
    'temporary files': await filesBelow(state, /\/(bottle\.json|gate\.jsonl(\.\d)?|supervisor\.log)$/),
  };
}

async function victim(
  child: ChildProcess,
  house: House,
  kind: 'cli' | 'supervisor',
): Promise<number | undefined> {
  if (kind === 'cli') return child.pid;
  return [...(await processesOf(house))].find(([, line]) => line.includes('supervise.'))?.[0];
}

test(`${kills} SIGKILLs of a supervisor or its command line leave nothing that the next command does not remove`, async (context) => {
  await buildImage();
  await using house = await House.build();
  const script =
    'n=0; while :; do n=$((n+1)); echo $n >file; git add file; git -c user.name=a -c user.email=a@b commit -qm $n; done';
  let done = 0;
  let early = 0;
  let saved = 0;
  while (done < kills) {
    const kind = done % 2 === 0 ? 'supervisor' : 'cli';
    const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script]);
    child.stdout?.resume();
    child.stderr?.resume();
    const gone = once(child, 'exit');
    await sleep(Math.random() * wholeMs);
    const pid = await victim(child, house, kind);
    if (pid === undefined) early += 1;
    else process.kill(pid, 'SIGKILL');
    if (pid === undefined) child.kill('SIGTERM');
    await gone;
    done += 1;

    const next = await house.bottle(['list', '--json']);
    assert.equal(next.code, 0, next.stderr);
    if (/its work is the branch/.test(next.stderr)) saved += 1;
    let left = await leftovers(house);
    // Only where a supervisor lives on is it its own to end.
    const patience = Date.now() + (kind === 'cli' || pid === undefined ? orderlyMs : 0);
    while (!isEmpty(left) && Date.now() < patience) {
      await sleep(200);
      left = await leftovers(house);
    }
    assert.ok(
      isEmpty(left),
      `after kill ${done} of the ${kind}: ${JSON.stringify(left, undefined, 1)}${await told(house)}`,
    );
  }
  const left = await leftovers(house);
  context.diagnostic(`${done} kills`);
  console.log(
    `faults: ${done} SIGKILLs of bottles (${early} before there was a supervisor); work saved after ${saved}; left: ${countsOf(left)}`,
  );
});
