import type { Socket } from 'node:net';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { type RunResult, Tail } from '../process/run.ts';
import { stopper, tied, type TiedOptions, tiedGraceMs as graceMs } from '../process/tied.ts';
import { fit, ifFits, number } from '../schema.ts';
import { apiHijack, bodyOf, messageOf } from './api.ts';
import { callForJson, callMs, unanswered } from './call.ts';
import { isGone } from './container.ts';
import { inspectContainer, isIdle } from './container-state.ts';
import type { Engine } from './engine.ts';
import { EngineAnswerUnknown } from './errors.ts';
import { Demultiplexer } from './multiplexed.ts';

/** A program to run in a container that ends itself, with all that it started, when its standard input ends. */
export interface TiedProgram extends TiedOptions {
  readonly argv: readonly string[];
}

export interface Program extends AsyncDisposable {
  readonly stdout: Readable;
  readonly done: Promise<RunResult>;
}

/** Runs a program in a container that runs. Disposing ends it and waits until it is gone. */
export function execInContainer(engine: Engine, name: string, program: TiedProgram): Program {
  return engine.socket === undefined
    ? throughCli(engine, name, program)
    : new SocketProgram(engine, engine.socket, name, program);
}

function throughCli(engine: Engine, name: string, program: TiedProgram): Program {
  program.signal?.throwIfAborted();
  const child = engine.stream(['exec', '--interactive', name, ...program.argv], {
    input: program.input,
    holdInput: true,
  });
  return tied(child, program, (result) => judge(engine, name, result));
}

/** A command line's own failure looks like a program's; whether the container runs tells the two apart. */
async function judge(engine: Engine, name: string, result: RunResult): Promise<RunResult> {
  if (result.code === 0 || !(isGone(result.stderr) || isIdle(result.stderr))) return result;
  const container = await inspectContainer(engine, name);
  if (container?.State.Running === true) return result;
  throw engine.failure('exec', result, name);
}

const Created = v.object({ Id: v.string() });
const State = v.object({ Running: v.boolean(), ExitCode: v.nullish(number) });

class SocketProgram implements Program {
  readonly stdout = new PassThrough({ highWaterMark: 256 * 1024 });
  readonly done: Promise<RunResult>;
  readonly #engine: Engine;
  readonly #socket: string;
  readonly #name: string;
  #connection: Socket | undefined;
  #isEnding = false;
  #goOn: () => void = () => undefined;

  constructor(engine: Engine, socket: string, name: string, program: TiedProgram) {
    program.signal?.throwIfAborted();
    this.#engine = engine;
    this.#socket = socket;
    this.#name = name;
    // Whoever reads it hears of a failure through `done`.
    this.stdout.on('error', () => undefined);
    // A broken pipe would end the program alone; what it started is to end with it.
    this.stdout.once('close', () => {
      this.#end();
      this.#goOn();
    });
    this.done = stopper(program, () => this.#end()).watch(this.#run(program));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stdout.destroy();
    this.#end();
    await this.done.catch(() => undefined);
  }

  #end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#connection?.end();
    sleep(graceMs, undefined, { ref: false }).then(
      () => this.#connection?.destroy(),
      () => undefined,
    );
  }

  async #run(program: TiedProgram): Promise<RunResult> {
    try {
      const id = await this.#create(program.argv);
      const stderr = new Tail();
      await this.#carry(id, program.input, stderr);
      const code = await this.#exitCode(id);
      return { code, stdout: '', stderr: stderr.end() };
    } catch (error) {
      this.stdout.destroy(error as Error);
      throw error;
    }
  }

  async #create(argv: readonly string[]): Promise<string> {
    const json = await callForJson(this.#engine, this.#socket, {
      request: 'exec',
      subject: this.#name,
      method: 'POST',
      path: `/containers/${this.#name}/exec`,
      json: { AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: argv },
    });
    return fit(Created, json).Id;
  }

  async #carry(id: string, input: string, stderr: Tail): Promise<void> {
    const answer = await apiHijack(this.#socket, `/exec/${id}/start`, {
      body: JSON.stringify({ Detach: false, Tty: false }),
      timeoutMs: callMs,
    }).catch((error: Error) => {
      throw unanswered(this.#engine, this.#socket, error);
    });
    if ('refusal' in answer) {
      const stderr = messageOf(await bodyOf(answer.refusal));
      throw this.#engine.failure('exec', { code: 1, stderr }, this.#name);
    }
    this.#connection = answer.connection;
    answer.connection.on('error', () => undefined);
    answer.connection.write(input);
    if (this.#isEnding) answer.connection.end();
    const frames = new Demultiplexer((bytes) => stderr.push(bytes));
    // However the connection ends, what became of the program is asked for next.
    await pipeline(answer.connection, frames, (source: AsyncIterable<Buffer>) => this.#pass(source)).catch(
      () => undefined,
    );
    this.stdout.end();
  }

  /** Nobody reading any more is no reason to read no more: the program ends by its standard input. */
  async #pass(source: AsyncIterable<Buffer>): Promise<void> {
    const { stdout } = this;
    for await (const bytes of source) {
      if (stdout.destroyed) continue;
      // Until there is room again, or nobody who reads: what was being written then is never called back for.
      await new Promise<void>((resolve) => {
        this.#goOn = resolve;
        stdout.write(bytes, () => resolve());
      });
    }
  }

  async #exitCode(id: string): Promise<number> {
    // A program that does not end though its connection has: somebody stopped it, or it keeps our standard streams.
    const until = Date.now() + graceMs;
    for (;;) {
      const json = await callForJson(this.#engine, this.#socket, {
        request: 'exec',
        subject: this.#name,
        method: 'GET',
        path: `/exec/${id}/json`,
        // The container is gone, and the program with it.
        accept: [404],
        timeoutMs: callMs,
      });
      if (json === undefined) return 137;
      const state = ifFits(State, json);
      if (state !== undefined && !state.Running && typeof state.ExitCode === 'number') return state.ExitCode;
      if (Date.now() > until) break;
      await sleep(10);
    }
    throw new EngineAnswerUnknown({
      command: this.#engine.command,
      request: 'exec',
      reason: 'a program ended without an exit status',
    });
  }
}
