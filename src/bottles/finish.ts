import { setTimeout as sleep } from 'node:timers/promises';
import type { ComposedAgent } from '../agents/compose.ts';
import type { Bottle, BottleStatus } from '../backends/backend.ts';
import type { Gate } from '../gate/gate.ts';
import type { Course } from './course.ts';
import { CommandUnrunnable } from './errors.ts';
import type { CommandEnd, InitChannel } from './init-channel.ts';
import type { RecordKeeper } from './keeper.ts';
import { toMessage } from './line.ts';
import type { MadeBottle } from './made-bottle.ts';
import type { Ending, LaunchOrder } from './messages.ts';
import type { OwnerLine } from './owner-line.ts';
import type { BottlePlaces } from './places.ts';
import { type Taken, takeAtEnd, takeFromEnded } from './take-work.ts';

const graceMs = 10_000;
/** For taking the work out while the engine waits for the bottle to end. */
const collectMs = 10 * 60_000;
const killMs = 5_000;
/** An end that made something fail is heard of this much later at most. */
const noticeMs = 1_000;
/** So long a backend may take to notice that a bottle is gone. */
const noticedMs = 5_000;
const noticePollMs = 50;
/** As SIGKILL leaves it, which is what the kernel ends programs with. */
const killed = 137;

/** Waits for the command's end; when somebody wants it to end, ends it. */
export async function untilEnded(bottle: Bottle, init: InitChannel, course: Course): Promise<CommandEnd> {
  const ended = await Promise.race([init.ended, course.requested()]);
  if (ended !== undefined) return ended;
  const grace = course.stop?.graceMs ?? graceMs;
  // bottle-init passes SIGTERM on and stays until the work is out, so the engine's own patience has to last longer.
  const stopping = bottle.stop(grace + collectMs).catch(() => undefined);
  const polite = await Promise.race([init.ended, sleep(grace)]);
  if (polite !== undefined) return polite;
  await bottle.stop(0);
  await stopping;
  return await Promise.race([init.ended, sleep(killMs, { kind: 'gone' } as const)]);
}

export interface Finish {
  readonly end: CommandEnd;
  readonly order: LaunchOrder;
  readonly agent: ComposedAgent;
  readonly places: BottlePlaces;
  readonly keeper: RecordKeeper;
  readonly gate: Gate;
  readonly made: MadeBottle;
  readonly init: InitChannel;
  readonly owner: OwnerLine;
  readonly course: Course;
}

/** Takes the work out, and lets the bottle go unless work that is nowhere else would go with it. */
export async function finishBottle(parts: Finish): Promise<Ending> {
  const { end, keeper, gate, made, init, owner, course } = parts;
  const status = await statusAtEnd(made.bottle, end);
  const exitCode = end.kind === 'gone' ? status?.exitCode : end.status;
  const unrunnable = end.kind === 'unrunnable' ? unrunnableOf(end, parts) : undefined;
  const taken: Taken =
    unrunnable !== undefined || course.stop?.discard === true
      ? {}
      : await owner.step('collect', () => take(parts));
  if (taken.work !== undefined) owner.send({ event: 'collected', work: taken.work });

  init.end();
  const { keptBecause } = taken;
  const last = await owner.step('remove', () => made.end(keptBecause !== undefined));
  const egress = gate.egress();
  const { allowed, denied, failed } = egress;
  await keeper.update({
    phase: keptBecause === undefined ? 'ended' : 'kept',
    endedAt: new Date().toISOString(),
    egress: { allowed, denied, failed },
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(keptBecause === undefined ? {} : { keptBecause }),
    ...(taken.summary === undefined ? {} : { work: taken.summary }),
  });
  const failure = course.stop?.failure ?? unrunnable ?? taken.failure;
  return {
    ...(exitCode === undefined ? {} : { exitCode }),
    // Some process in it may have been ended for that, and the command not.
    outOfMemory: exitCode === killed && (last ?? status)?.outOfMemory === true,
    ...(failure === undefined ? {} : { failure: toMessage(failure) }),
    ...(keptBecause === undefined ? {} : { keptBecause }),
    egress,
  };
}

/** What went without a word is gone before its backend has noticed how. */
async function statusAtEnd(bottle: Bottle, end: CommandEnd): Promise<BottleStatus | undefined> {
  for (const until = Date.now() + noticedMs; ; await sleep(noticePollMs)) {
    const status = await bottle.status().catch(() => undefined);
    if (end.kind !== 'gone' || status?.state !== 'running' || Date.now() > until) return status;
  }
}

/**
 * While bottle-init stays, the bottle still runs; otherwise it is started once more, without its command. A second signal
 * can end bottle-init in the middle: one that whoever is attached passes on comes beside the one that we send.
 */
async function take({ end, order, places, keeper, made, init, owner }: Finish): Promise<Taken> {
  const known = { record: keeper.record, places };
  // As after the death of a supervisor: what nobody is there to decide on comes out too, and nothing stays.
  const options = { uncommitted: order.uncommitted || owner.isLost };
  if (end.kind !== 'gone') {
    const taken = await takeAtEnd(made.bottle, known, options);
    if (taken.failure === undefined) return taken;
    const isGone = await Promise.race([init.gone.then(() => true), sleep(noticeMs, false)]);
    if (!isGone) return taken;
  }
  return takeFromEnded(made.bottle, known, options);
}

function unrunnableOf(end: CommandEnd & { kind: 'unrunnable' }, { order, agent }: Finish): CommandUnrunnable {
  return new CommandUnrunnable({
    command: agent.command[0] ?? '',
    image: order.image.reference,
    status: end.status,
    detail: end.detail,
    ...(order.install === undefined ? {} : { install: order.install }),
  });
}
