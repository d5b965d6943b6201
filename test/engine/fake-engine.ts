import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../src/engine/engine.ts';
import { Scratch } from '../../src/process/scratch.ts';

/** A program in the engine's place: it writes down how it is called, and answers as a shell script says. */
export interface FakeEngine extends AsyncDisposable {
  readonly command: string;
  readonly directory: string;
  readonly scratch: Scratch;
  connect(): Promise<Engine>;
  /** Every call but those of `connect`: the arguments, one line each. */
  calls(): Promise<string[]>;
}

export const dockerInfo = JSON.stringify({
  ServerVersion: '20.10.24',
  Driver: 'overlay2',
  OperatingSystem: 'Debian',
});
const context = JSON.stringify({ Endpoints: { docker: { Host: 'tcp://127.0.0.1:1' } } });

/**
 * @param cases of a shell's `case "$*" in`, before those for connecting. `$FAKE` is a directory to keep state in.
 */
export async function fakeEngine(cases: string, name = 'docker'): Promise<FakeEngine> {
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  const command = join(directory, name);
  const script = `#!/bin/sh
FAKE=${directory}
echo "$*" >>"$FAKE/calls"
case "$*" in
${cases}
info\\ *) echo '${dockerInfo}' ;;
context\\ *) echo '${context}' ;;
*) exit 0 ;;
esac
`;
  await writeFile(command, script);
  await chmod(command, 0o755);
  const scratch = await Scratch.create(join(directory, 'tmp'));
  return {
    command,
    directory,
    scratch,
    connect: () => Engine.connect({ command }),
    async calls() {
      const lines = (await readFile(join(directory, 'calls'), 'utf8')).trim().split('\n');
      return lines.filter((line) => !/^(info|context) /.test(line));
    },
    async [Symbol.asyncDispose]() {
      await scratch[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
