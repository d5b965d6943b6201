import { test } from 'node:test';
import { killMany, machineGround } from './killing.ts';

/** A machine is made and started once more to take its work out, so that a hundred take a quarter of an hour. */
const machineKills = Number(process.env['FAULT_MACHINE_KILLS'] ?? 24);

test(`${machineKills} SIGKILLs of anything that a machine hangs on leave nothing that the next command does not remove, and lose no commit`, async (context) => {
  await using ground = await machineGround();
  const figures = await killMany(ground, machineKills);
  context.diagnostic(figures);
  console.log(`faults: machines: ${figures}`);
});
