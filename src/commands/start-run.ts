import { isatty } from 'node:tty';
import { Supervisor } from '../bottles/supervisor-client.ts';
import { parse } from './command-line.ts';
import { confirmPlan, preparePlan, showPlan } from './start-plan.ts';
import { defineStart, startRequest } from './start-flags.ts';
import { launchOrder, secretEnv } from './start-order.ts';
import { StartSession } from './start-session.ts';
import { obtainImage, prepareImage } from './start-image.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

/**
 * Plan → y/N → build → prepare → launch → attend → what came out.
 * @param early a supervisor that was started already; it is for the caller to end when this throws before its order.
 */
export async function runStart(
  argv: readonly string[],
  world: World,
  early: Supervisor | undefined,
): Promise<number> {
  const command = defineStart(world);
  if (!parse(command, argv)) return 0;
  const terminal = { stdin: isatty(0), stdout: isatty(1) };
  const request = startRequest(command, argv, world, terminal);

  const places = await openBottles(world);
  const prepared = await preparePlan(request, world);
  showPlan(prepared, request, world);
  if (request.dryRun) return 0;
  await confirmPlan(prepared, request, world);

  const secrets = await secretEnv(prepared, request, world);
  // It loads its programs while the image is built.
  const supervisor = early ?? (await Supervisor.start());
  await using session = new StartSession(supervisor, prepared, request, world);
  const image = await obtainImage(prepared, session, request, world);
  await using held = new AsyncDisposableStack();
  const made = await prepareImage(prepared, image, session, held, request, world);
  const order = launchOrder({ prepared, image, made, secrets, places, world });
  return await session.run(order);
}
