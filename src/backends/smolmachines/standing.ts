import { renameSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { ifFits, int } from '../../schema.ts';

/** How a session stands: as its broker answers, and as the last one left it on the disk. */
export const Standing = v.object({
  state: v.picklist(['created', 'running', 'exited']),
  /** Of an exited one, where somebody was there to hear it. */
  exitCode: v.optional(v.pipe(int, v.minValue(0), v.maxValue(255))),
  /** ISO 8601, UTC. */
  startedAt: v.optional(v.string()),
});
export type Standing = Readonly<v.InferOutput<typeof Standing>>;

const fileName = 'session.json';

/** Written whole or not at all; also by one that is about to end, so at once. */
export function writeStanding(directory: string, standing: Standing): void {
  const path = join(directory, fileName);
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(standing), { mode: 0o600 });
  renameSync(`${path}.${process.pid}`, path);
}

/**
 * What the last broker wrote. One that was killed could write no end: `running` here, with no broker that answers, is
 * `exited`.
 */
export async function readStanding(directory: string): Promise<Standing> {
  const text = await readFile(join(directory, fileName), 'utf8').catch(() => undefined);
  return (text === undefined ? undefined : parseStanding(text)) ?? { state: 'created' };
}

/** `undefined`: it is none. */
export function parseStanding(text: string): Standing | undefined {
  try {
    return ifFits(Standing, JSON.parse(text));
  } catch {
    return undefined;
  }
}
