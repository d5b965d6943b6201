import { setTimeout as sleep } from 'node:timers/promises';
import { type Backend, type Bottle, inside } from '../backends/backend.ts';
import { describeRule, Gate } from '../gate/gate.ts';
import { judgeSeal, probeArguments, sealChecks } from '../gate/seal.ts';
import { Interrupted } from '../process/errors.ts';
import { currentOwner } from '../process/owner.ts';
import { agentOf } from './agent.ts';
import { Course } from './course.ts';
import { Desk } from './desk.ts';
import { watchDisk } from './disk-watch.ts';
import { InitSilent } from './errors.ts';
import { fillBottle } from './fill.ts';
import { finishBottle, untilEnded } from './finish.ts';
import { imageRules, toolRules } from './image-rules.ts';
import { InitChannel } from './init-channel.ts';
import { RecordKeeper } from './keeper.ts';
import { MadeBottle } from './made-bottle.ts';
import type { Ending, LaunchOrder } from './messages.ts';
import type { OwnerLine } from './owner-line.ts';
import { bottlePlaces } from './places.ts';
import type { BottleRecord } from './record.ts';
import { answerRequest } from './requests.ts';
import { specOf } from './spec.ts';
import { VariablesSocket } from './variables-socket.ts';

/** From its start until bottle-init holds. A cold disk or a busy machine may take its time. */
const readyMs = 60_000;
/** What a command gets to end in when whoever started it is gone, or its gate is. */
const graceMs = 10_000;

/**
 * The life of one bottle, from its record to its end: make, fill, start, prove the fence, let the command run, take its
 * work out, remove. Everything that was acquired is given back in reverse, however it ends.
 */
export async function superviseBottle(
  order: LaunchOrder,
  backend: Backend,
  owner: OwnerLine,
): Promise<Ending> {
  const places = bottlePlaces(order.places, order.slug);
  const course = new Course();
  void owner.gone.then(() => course.request({ graceMs, discard: false }));
  await using keeper = await RecordKeeper.begin(places, await firstRecord(order));
  await using init = await InitChannel.listen(places.controlSocket);

  const agent = await agentOf(order);
  for (const warning of agent.warnings) owner.warn(warning);
  const checks = sealChecks();
  const spec = await specOf(order, places, agent, probeArguments(checks));
  await using made = new MadeBottle(backend.bottle(order.slug), keeper);
  const making = owner.step('create', () => backend.create(spec, course.signal));
  const filled = await owner.step('fill', () =>
    fillBottle(making, order, agent.files, places, course.signal),
  );
  const bottle = await making;
  owner.send({ event: 'staged', notes: filled.notes });
  for (const warning of filled.warnings) owner.warn(warning);
  if (filled.base !== undefined) await keeper.update({ base: filled.base });
  const home = filled.account?.home ?? '/';
  const fromImage = await imageRules(bottle, order, home, course.signal);
  for (const problem of fromImage.problems) owner.warn(problem);

  await using gate = await Gate.start({
    socketPath: places.gateSocket,
    socketMode: 0o666,
    slug: order.slug,
    rules: [...order.rules, ...fromImage.rules],
    audit: { path: places.gateLog },
  });
  void gate.closed.then((failure) => {
    if (failure !== undefined) course.request({ graceMs, discard: false, failure });
  });
  await using _variables = await VariablesSocket.listen(places.variablesSocket, order.secretEnv);
  await using _desk = await Desk.open(places.supervisorSocket, (request) =>
    answerRequest(request, { order, places, keeper, gate, bottle, course }),
  );

  const report = await owner.step('start', () => awaitInit(bottle, init, owner, order, course));
  const sealed = judgeSeal({ gate, slug: order.slug, checks, report, began: init.joined ?? 0 });
  const fromTools = await toolRules(bottle, fromImage.open, course.signal);
  for (const rule of fromTools.rules) gate.apply(rule);
  for (const problem of fromTools.problems) owner.warn(problem);
  const opened = [...fromImage.rules, ...fromTools.rules].map(describeRule);
  if (opened.length > 0) owner.send({ event: 'opened', rules: opened });
  await owner.sealed(sealed, course.signal);
  await keeper.update({ phase: 'running' });
  init.go(order.secretEnv);
  owner.send({ event: 'running' });
  if (order.watchesDisk) void watchDisk(bottle, order.resources.diskBytes, course);

  const end = await untilEnded(bottle, init, course);
  return await finishBottle({ end, order, agent, places, keeper, gate, made, init, owner, course });
}

/** Starts the bottle, or has it started by whoever attaches to it, and waits for the word of bottle-init. */
async function awaitInit(
  bottle: Bottle,
  init: InitChannel,
  owner: OwnerLine,
  order: LaunchOrder,
  course: Course,
): Promise<string> {
  if (order.detach) await bottle.start(course.signal);
  else owner.send({ event: 'created' });
  const limit = new AbortController();
  try {
    return await Promise.race([
      init.ready,
      course.requested().then(() => Promise.reject(stopReason(course))),
      sleep(readyMs, undefined, { signal: limit.signal }).then(() => Promise.reject(new InitSilent({}))),
    ]);
  } catch (error) {
    if (!(error instanceof InitSilent)) throw error;
    throw new InitSilent(await lastWords(bottle));
  } finally {
    limit.abort();
  }
}

function stopReason(course: Course): Error {
  return course.stop?.failure ?? new Interrupted({ signal: 'SIGTERM' });
}

async function lastWords(bottle: Bottle): Promise<{ words?: string }> {
  try {
    await using log = bottle.logs({ follow: false, tail: 5 });
    log.stdout.setEncoding('utf8');
    let text = '';
    for await (const chunk of log.stdout) text += String(chunk);
    const { stderr } = await log.done;
    const words = `${text}${stderr}`.trim().slice(-2000);
    return words === '' ? {} : { words };
  } catch {
    return {};
  }
}

async function firstRecord(order: LaunchOrder): Promise<BottleRecord> {
  const { workspace } = order;
  return {
    format: 1,
    slug: order.slug,
    version: order.version,
    agent: order.agent.name,
    bottles: [...order.bottles],
    backend: order.backend,
    engine: order.engine,
    ...(order.machine === undefined ? {} : { machine: order.machine }),
    image: { reference: order.image.reference, id: order.image.id },
    command: [...order.command],
    ...(order.user === undefined ? {} : { user: order.user }),
    workdir: workspace === undefined ? '/' : inside.workspace,
    terminal: order.terminal,
    startedAt: new Date().toISOString(),
    owner: await currentOwner(),
    phase: 'making',
    ...(workspace === undefined ? {} : { workspace }),
    gitUser: order.gitUser,
  };
}
