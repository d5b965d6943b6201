import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { DeadlineExceeded } from '../../process/errors.ts';
import { type RunResult, run } from '../../process/run.ts';
import { ifFits, int } from '../../schema.ts';
import { MachineFailed } from '../../smolvm/errors.ts';
import type { Machines } from '../../smolvm/machines.ts';
import type { Account } from '../backend.ts';
import { MachineUnready, UserUnknown } from '../errors.ts';
import { initPath, machineName } from './names.ts';

/** What `bottle-init settle` prints (docs/bottle-init.md). */
const Settled = v.object({ uid: int, gid: int, home: v.string() });

/** From the start until something in it answers; a cold disk or a busy machine may take its time. Milliseconds. */
const readyMs = 90_000;
const attemptMs = 30_000;
const firstPauseMs = 50;
const longestPauseMs = 1_000;
/** bottle-init's status for a failure of its own, and what its words are then. */
const ownFailure = 125;
const killed = 137;
const accountProblem = /^bottle-init: cannot become .*?: (there is no such (?:user|group).*)$/m;

export interface SettleRequest {
  readonly slug: string;
  /** As a Dockerfile's USER. */
  readonly user: string;
  /** For the words when there is no such user. */
  readonly image: string;
  readonly signal?: AbortSignal;
}

/** Starts a machine. A boot that was killed, as by a host short of memory for a moment, is tried once more. */
export async function bootMachine(machines: Machines, slug: string, signal?: AbortSignal): Promise<void> {
  const name = machineName(slug);
  try {
    await machines.start(name, signal);
  } catch (error) {
    const wasKilled =
      error instanceof MachineFailed && error.fields.code === killed && error.fields.cause !== 'timeout';
    if (!wasKilled) throw error;
    await machines.stop(name);
    await machines.start(name, signal);
  }
}

/** Waits until what runs in a machine answers. @throws MachineUnready */
export async function awaitMachine(machines: Machines, slug: string, signal?: AbortSignal): Promise<void> {
  const result = await untilAnswered(machines, slug, [initPath, '--version'], signal);
  if (result.code !== 0) throw new MachineUnready({ slug, words: lastWords(result) });
}

/**
 * Makes a machine that was just made as its user needs it, and tells who that is. Once, before anything of the user's ran.
 * @throws UserUnknown, MachineUnready
 */
export async function settleMachine(machines: Machines, request: SettleRequest): Promise<Account> {
  const { slug, user, image, signal } = request;
  const result = await untilAnswered(machines, slug, [initPath, 'settle', '--user', user], signal);
  if (result.code === ownFailure) {
    const reason = accountProblem.exec(result.stderr)?.[1];
    if (reason !== undefined) throw new UserUnknown({ user, image, reason: sentence(reason) });
  }
  const settled = result.code === 0 ? parseSettled(result.stdout) : undefined;
  if (settled === undefined) throw new MachineUnready({ slug, words: lastWords(result) });
  return settled;
}

/** Runs a program of bottle-init's until it was bottle-init that ended, and not smolvm that could not reach it. */
async function untilAnswered(
  machines: Machines,
  slug: string,
  argv: readonly string[],
  signal: AbortSignal | undefined,
): Promise<RunResult> {
  const { command, args, env } = machines.execCommand(machineName(slug), argv, { stdin: false });
  const until = Date.now() + readyMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const result = await run(command, args, {
      env,
      cwd: '/',
      deadlineMs: attemptMs,
      ...(signal === undefined ? {} : { signal }),
    }).catch((error: unknown) => {
      if (!(error instanceof DeadlineExceeded)) throw error;
      return { code: killed, stdout: '', stderr: `no answer within ${attemptMs / 1000} s` };
    });
    if (result.code === 0 || isFromInit(result)) return result;
    if (Date.now() > until || (await hasEnded(machines, slug, result, signal))) {
      throw new MachineUnready({ slug, words: lastWords(result) });
    }
    await sleep(pauseMs, undefined, signal === undefined ? {} : { signal }).catch(() => {
      signal?.throwIfAborted();
    });
  }
}

/** Whether the machine has ended again. One that does not answer for a moment may still be booting, or busy. */
async function hasEnded(
  machines: Machines,
  slug: string,
  { code, stderr }: RunResult,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (code !== 1 || !/^error: /im.test(stderr)) return false;
  const state = (await machines.status(machineName(slug), signal))?.state;
  return state === undefined || state === 'stopped' || state === 'failed';
}

function isFromInit({ code, stderr }: RunResult): boolean {
  return code === ownFailure && /^bottle-init: /m.test(stderr);
}

function lastWords({ stdout, stderr }: RunResult): string {
  return `${stderr}${stdout}`.trim().slice(-1000);
}

function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

function parseSettled(text: string): Account | undefined {
  try {
    return ifFits(Settled, JSON.parse(text));
  } catch {
    return undefined;
  }
}
