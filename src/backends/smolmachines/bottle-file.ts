import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * What this backend knows of a bottle beside what smolvm does, for whoever has it later: as public as a command line.
 * Written when the machine is there and before anything of the user's ran in it.
 */
export const BottleFile = z.object({
  identity: z.object({ user: z.string(), keepsHome: z.boolean() }),
  account: z.object({ uid: z.int(), gid: z.int(), home: z.string() }),
  session: z.object({
    kind: z.enum(['pipes', 'terminal']),
    takesInput: z.boolean(),
    /** The command that runs the bottle's own, in the machine. */
    argv: z.array(z.string()).min(1),
  }),
  /** Bytes that its disks had before anybody wrote to them. */
  diskBytes: z.int().nonnegative(),
});
export type BottleFile = Readonly<z.infer<typeof BottleFile>>;

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
    return text === undefined ? undefined : BottleFile.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
