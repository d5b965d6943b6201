import { test } from 'node:test';
import { containerGround, killMany } from './killing.ts';

const kills = Number(process.env['FAULT_KILLS'] ?? 100);

test(`${kills} SIGKILLs of a supervisor or its command line leave nothing that the next command does not remove, and lose no commit`, async (context) => {
  await using ground = await containerGround();
  const figures = await killMany(ground, kills);
  context.diagnostic(figures);
  console.log(`faults: containers: ${figures}`);
});
