import { z } from 'zod';
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

const Config = z
  .object({ User: z.string().nullish(), Env: z.array(z.string()).nullish() })
  .nullish()
  .transform((config) => ({ user: config?.User ?? '', env: config?.Env ?? [] }));
const Image = z.object({ Config });

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

function parse<T>(engine: Engine, schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new EngineAnswerUnknown({
    command: engine.command,
    request: 'image inspect',
    reason: parsed.error.message,
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
