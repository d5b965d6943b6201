import * as v from 'valibot';
import { DoesNotFit, held, options } from '../schema.ts';
import { callForJson, callMs } from './call.ts';
import { type Engine, signalOf } from './engine.ts';
import { EngineAnswerUnknown } from './errors.ts';

/** What an image says of how to run it, as far as we ask. */
export interface ImageDefaults {
  /** USER; '' when there is none. */
  readonly user: string;
  /** `NAME=VALUE`. */
  readonly env: readonly string[];
}

const Config = v.pipe(
  v.nullish(options({ User: v.nullish(v.string()), Env: v.nullish(v.array(v.string())) }), {}),
  v.transform((config) => ({ user: config.User ?? '', env: config.Env ?? [] })),
);
const Image = v.object({ Config });

/** @throws ImageMissing, EngineCommandFailed, EngineUnreachable or EngineDenied. */
export async function imageDefaults(
  engine: Engine,
  reference: string,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<ImageDefaults> {
  const about = { request: 'image inspect', subject: reference };
  if (engine.socket !== undefined) {
    const json = await callForJson(engine, engine.socket, {
      ...about,
      method: 'GET',
      path: `/images/${reference}/json`,
      ...signalOf(signal),
    });
    return parse(engine, Image, json).Config;
  }
  const args = ['image', 'inspect', '--format', '{{json .Config}}', reference];
  const { stdout } = await engine.succeed(about.request, args, {
    subject: reference,
    captureBytes: 4 * 1024 * 1024,
    deadlineMs: callMs,
    ...signalOf(signal),
  });
  return parse(engine, Config, jsonOf(stdout));
}

function parse<T>(engine: Engine, schema: v.GenericSchema<unknown, T>, json: unknown): T {
  const result = held(schema, json);
  if ('data' in result) return result.data;
  throw new EngineAnswerUnknown({
    command: engine.command,
    request: 'image inspect',
    reason: new DoesNotFit(result.misfits).message,
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
