import type { Bottle } from '../backends/backend.ts';
import { addressKinds } from '../gate/address.ts';
import { describeRule, type Gate } from '../gate/gate.ts';
import { formatRule, parseRule } from '../gate/rule.ts';
import type { Course } from './course.ts';
import { BottleNotRunning } from './errors.ts';
import type { RecordKeeper } from './keeper.ts';
import type { LaunchOrder, PolicyAnswer, Request, StatusAnswer } from './messages.ts';
import type { BottlePlaces } from './places.ts';
import { takeFromRunning } from './take-work.ts';

export interface Desktop {
  readonly order: LaunchOrder;
  readonly places: BottlePlaces;
  readonly keeper: RecordKeeper;
  readonly gate: Gate;
  readonly bottle: Bottle;
  readonly course: Course;
}

/** What a supervisor answers to other commands of ours. */
export async function answerRequest(request: Request, desktop: Desktop): Promise<unknown> {
  const { gate, course } = desktop;
  switch (request.do) {
    case 'status':
      return status(desktop);
    case 'rules':
      return gate.rules.map(describeRule);
    case 'allow':
    case 'deny':
      return changePolicy(gate, request.do, request.rule);
    case 'collect': {
      requireRunning(desktop);
      const { bottle, places, keeper } = desktop;
      const { uncommitted, maxBytes } = request;
      const options = { uncommitted, ...(maxBytes === undefined ? {} : { maxBytes }) };
      return await takeFromRunning(bottle, { record: keeper.record, places }, options);
    }
    case 'stop':
      course.request({ graceMs: request.graceMs, discard: request.discard });
      return undefined;
  }
}

function status({ keeper, gate, course }: Desktop): StatusAnswer {
  const phase = course.signal.aborted ? 'ending' : keeper.record.phase === 'making' ? 'making' : 'running';
  return { phase, egress: gate.egress(), connections: gate.counts.connections };
}

/** @throws RuleInvalid, RuleTooBroad */
function changePolicy(
  gate: Gate,
  action: 'allow' | 'deny',
  { text, iKnow, reach }: (Request & { do: 'allow' })['rule'],
): PolicyAnswer {
  const kinds = addressKinds.filter((kind) => reach.includes(kind));
  const rule = parseRule(text, { action, origin: { kind: 'command', command: action }, iKnow }, kinds);
  const { overruledBy, cut } = gate.apply(rule);
  return {
    rule: formatRule(rule),
    cut,
    ...(overruledBy === undefined ? {} : { overruledBy: describeRule(overruledBy) }),
  };
}

function requireRunning({ keeper, order }: Desktop): void {
  const { phase } = keeper.record;
  if (phase !== 'running') throw new BottleNotRunning({ slug: order.slug, state: phase });
}
