import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { count, ifFits, int } from '../../schema.ts';

/**
 * What this backend knows of a bottle beside what smolvm does, for whoever has it later: as public as a command line.
 * Written when the machine is there and before anything of the user's ran in it.
 */
export const BottleFile = v.object({
  identity: v.object({ user: v.string(), keepsHome: v.boolean() }),
  account: v.object({ uid: int, gid: int, home: v.string() }),
  session: v.object({
    kind: v.picklist(['pipes', 'terminal']),
    takesInput: v.boolean(),
    /** The command that runs the bottle's own, in the machine. */
    argv: v.pipe(v.array(v.string()), v.minLength(1)),
  }),
  /** Bytes that its disks had before anybody wrote to them. */
  diskBytes: count,
});
export type BottleFile = Readonly<v.InferOutput<typeof BottleFile>>;

const fileName = 'machine.json';

export async function writeBottleFile(directory: string, file: BottleFile): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, fileName);
  await writeFile(`${path}.${process.pid}`, JSON.stringify(file), { mode: 0o600 });
  await rename(`${path}.${process.pid}`, path);
}

/** `undefined`: there is none, or none that can be read. */
export async function readBottleFile(directory: string): Promise<BottleFile | undefined> {
  const text = await readFile(join(directory, fileName), 'utf8').catch(() => undefined);
  try {
    return text === undefined ? undefined : ifFits(BottleFile, JSON.parse(text));
  } catch {
    return undefined;
  }
}
