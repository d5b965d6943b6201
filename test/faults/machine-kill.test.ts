import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type House, image } from '../bottles/house.ts';
import {
  countsOf,
  type Ground,
  isEmpty,
  leftovers,
  machineGround,
  told,
  type Victim,
  victimOf,
} from './killing.ts';

/** A machine is made and started once more to take its work out, so that a hundred take a quarter of an hour. */
const machineKills = Number(process.env['FAULT_MACHINE_KILLS'] ?? 24);
/** A supervisor whose owner was killed ends its bottle in good order, which takes it a moment. */
const orderlyMs = 30_000;
/** A process that was killed takes a moment to be gone. */
const goneMs = 3_000;
/** What a bottle gets to notice that something of it was killed. */
const noticeMs = 8_000;

const script =
  'n=0; while :; do n=$((n+1)); echo $n >file; git add file; git -c user.name=a -c user.email=a@b commit -qm $n && echo committed $n; done';

interface Killed {
  readonly hit: boolean;
  /** The last commit that the command told of, before the kill. */
  readonly commit: number;
  readonly words: string;
}

/** Starts a bottle, and kills one process of it some time later. */
async function killOne(ground: Ground, kind: Victim, wholeMs: number): Promise<Killed> {
  const { house } = ground;
  const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script]);
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (more: string) => (text[name] += more));
  }
  const gone = once(child, 'exit');
  await sleep(Math.random() * wholeMs);
  const pid = await victimOf(kind, house, child.pid);
  const commit = Number(/committed (\d+)\n[^\n]*$/.exec(text.stdout)?.[1] ?? 0);
  const hit = pid !== undefined && isKilled(pid);
  if (!hit) child.kill('SIGTERM');
  else if (!(await endsWithin(gone, noticeMs))) end(child);
  await gone;
  return { hit, commit, words: text.stderr };
}

function isKilled(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

async function endsWithin(gone: Promise<unknown>, ms: number): Promise<boolean> {
  return await Promise.race([gone.then(() => true), sleep(ms, false, { ref: false })]);
}

function end(child: ChildProcess): void {
  child.kill('SIGTERM');
}

/** Ends bottles that stayed because their user, who was there, has to decide on what was not committed. */
async function decide(house: House): Promise<string> {
  let words = '';
  for (const { slug, status } of await house.list()) {
    if (status !== 'exited') continue;
    const { code, stderr } = await house.bottle(['collect', String(slug), '--uncommitted']);
    assert.equal(code, 0, stderr);
    words += stderr;
  }
  return words;
}

/** The number of the newest commit on any branch of a bottle's; what was not committed may lie above it. */
async function newest(house: House): Promise<number> {
  const subjects = await house.git('log', '--branches=bottle/*', '--format=%s');
  return Math.max(0, ...subjects.split('\n').map((subject) => Number.parseInt(subject, 10) || 0));
}

async function forgetBranches(house: House): Promise<void> {
  const names = await house.git('for-each-ref', '--format=%(refname:short)', 'refs/heads/bottle');
  if (names !== '') await house.git('branch', '-qD', ...names.split('\n'));
}

/** @param wholeMs a whole start takes about so long here. */
async function killMany(ground: Ground, count: number, wholeMs: number): Promise<string> {
  const { house, victims } = ground;
  let early = 0;
  let saved = 0;
  for (let done = 1; done <= count; done += 1) {
    const kind = victims[done % victims.length] ?? 'cli';
    const { hit, commit, words } = await killOne(ground, kind, wholeMs);
    if (!hit) early += 1;

    const next = await house.bottle(['list', '--json']);
    assert.equal(next.code, 0, next.stderr);
    let left = await leftovers(ground);
    // Only where a supervisor lives on is it its own to end.
    const patience = Date.now() + (kind === 'supervisor' && hit ? goneMs : orderlyMs);
    while (!isEmpty(left) && Date.now() < patience) {
      await sleep(200);
      if (kind !== 'supervisor') await decide(house);
      left = await leftovers(ground);
    }
    const story = async () =>
      `after kill ${done} of the ${kind}: ${words}\n${next.stderr}${await told(house)}`;
    assert.ok(isEmpty(left), `${JSON.stringify(left, undefined, 1)}${await story()}`);
    const came = await newest(house);
    assert.ok(came >= commit, `commit ${commit} was told of, ${came} came out; ${await story()}`);
    if (came > 0) saved += 1;
    await forgetBranches(house);
  }
  const left = await leftovers(ground);
  return `${count} SIGKILLs (${early} before there was such a process); work saved after ${saved}; left: ${countsOf(left)}`;
}

test(`${machineKills} SIGKILLs of anything that a machine hangs on leave nothing that the next command does not remove`, async (context) => {
  await using ground = await machineGround();
  const figures = await killMany(ground, machineKills, 6_000);
  context.diagnostic(figures);
  console.log(`faults: machines: ${figures}`);
});
