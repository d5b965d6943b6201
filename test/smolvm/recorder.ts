import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { versionCan } from '../../src/smolvm/capabilities.ts';
import type { Smolvm } from '../../src/smolvm/find.ts';
import { parseVersion } from '../../src/smolvm/version.ts';

/** One call of the program: its arguments, and what it saw of its surroundings. */
export interface Call {
  readonly args: readonly string[];
  readonly dataDir: string;
  readonly cwd: string;
}

/** A program in smolvm's place that notes how it was called and answers what it was told to. */
export class Recorder implements AsyncDisposable {
  readonly directory: string;
  readonly path: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.path = join(directory, 'smolvm');
  }

  static async make(): Promise<Recorder> {
    const recorder = new Recorder(await mkdtemp(join(tmpdir(), 'claude-bottle-test-recorder-')));
    const lines = [
      '#!/bin/sh',
      'd=${0%/*}',
      `{ printf '%s\\037' "\${SMOLVM_DATA_DIR-unset}" "$PWD" "$@"; echo; } >> "$d/calls"`,
      'if [ -f "$d/$2.sh" ]; then . "$d/$2.sh"; fi',
    ];
    await writeFile(recorder.path, `${lines.join('\n')}\n`);
    await chmod(recorder.path, 0o755);
    return recorder;
  }

  /** Answers what `findSmolvm` asks of a program before it believes that it is smolvm. */
  async introduce(version: string): Promise<void> {
    await this.on('', `echo 'smolvm ${version}'`);
    await this.on('create', `printf '%s\\n' '      --from <PATH>' '      --net'`);
  }

  /** @param body a shell script, run for every call of `machine ACTION` or `pack ACTION`; `$d` is a directory of its own. */
  async on(action: string, body: string): Promise<void> {
    await writeFile(join(this.directory, `${action}.sh`), `${body}\n`);
  }

  /** Answers `machine ls` and `machine status` with these, as smolvm does. */
  async machines(...machines: readonly object[]): Promise<void> {
    await this.on('ls', `cat <<'JSON'\n${JSON.stringify(machines)}\nJSON`);
    const [first] = machines;
    const absent = `echo "Error: config operation failed: machine status: machine 'x' not found" >&2; exit 1`;
    await this.on('status', first === undefined ? absent : `cat <<'JSON'\n${JSON.stringify(first)}\nJSON`);
  }

  async calls(): Promise<readonly Call[]> {
    const text = await readFile(join(this.directory, 'calls'), 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [dataDir = '', cwd = '', ...args] = line.split('\u001f').slice(0, -1);
        return { args, dataDir, cwd };
      });
  }

  /** The arguments of every call, each as one line. */
  async lines(): Promise<readonly string[]> {
    return (await this.calls()).map(({ args }) => args.join(' '));
  }

  smolvm(version: string): Smolvm {
    const parsed = parseVersion(version);
    return { path: this.path, version: parsed, can: (capability) => versionCan(parsed, capability) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true });
  }
}
