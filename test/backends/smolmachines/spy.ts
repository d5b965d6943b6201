import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { double } from '../../smolvm/double.ts';

/** The double of smolvm behind a program that notes how it is called. */
export class Spy implements AsyncDisposable {
  readonly program: string;
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.program = join(directory, 'smolvm');
  }

  static async open(): Promise<Spy> {
    const spy = new Spy(await mkdtemp(join(tmpdir(), 'cb-spy-')));
    const lines = [
      '#!/bin/sh',
      `{ printf '%s\\037' "\${SMOLVM_DATA_DIR-unset}" "$@"; printf '\\036'; } >>${spy.#directory}/calls`,
      `exec ${double} "$@"`,
    ];
    await writeFile(spy.program, `${lines.join('\n')}\n`);
    await chmod(spy.program, 0o755);
    return spy;
  }

  /** Every call until now: where its state was to be, and its arguments. */
  async calls(): Promise<readonly { readonly home: string; readonly args: readonly string[] }[]> {
    const text = await readFile(join(this.#directory, 'calls'), 'utf8').catch(() => '');
    return text
      .split('\u001e')
      .filter((call) => call !== '')
      .map((call) => {
        const [home = '', ...args] = call.split('\u001f').slice(0, -1);
        return { home, args };
      });
  }

  /** The arguments of the calls of `machine ACTION` for that machine. */
  async of(action: string, name: string): Promise<readonly (readonly string[])[]> {
    const all = (await this.calls()).map(({ args }) => args);
    return all.filter((args) => args[1] === action && args.includes(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }
}
