import * as v from 'valibot';
import { DoesNotFit, held, options } from '../schema.ts';
import { Digest } from './digest.ts';
import { ConfigUnreadable } from './errors.ts';
import type { ImageConfig } from './image.ts';

// Engines write null, "" or an empty collection for what is not set, each in its own way (Go's omitempty).
const text = v.nullish(v.string());
const list = v.nullish(v.array(v.string()));
const names = v.nullish(objectOf((_value): _value is unknown => true));

const ConfigBlob = v.object({
  architecture: v.pipe(v.string(), v.minLength(1)),
  os: v.pipe(v.string(), v.minLength(1)),
  variant: text,
  created: text,
  config: v.nullish(
    options({
      User: text,
      ExposedPorts: names,
      Env: list,
      Entrypoint: list,
      Cmd: list,
      Volumes: names,
      WorkingDir: text,
      Labels: v.nullish(objectOf((value) => typeof value === 'string')),
      StopSignal: text,
    }),
  ),
});

const RootFs = v.object({
  rootfs: v.object({ type: v.literal('layers'), diff_ids: v.nullish(v.array(Digest)) }),
});

/**
 * Reads an image configuration: the blob (JSON) or the object in it, of an OCI or a Docker image (image-spec,
 * config.md §Properties; Docker's image spec v1.2 has the same names). What is null or empty counts as not set, so
 * that the same image reads the same from every engine. Other properties are left out.
 * @throws ConfigUnreadable
 */
export function parseImageConfig(source: Uint8Array | object): ImageConfig {
  const { architecture, os, variant, created, config } = parse(ConfigBlob, source);
  return {
    architecture,
    os,
    ...present('variant', variant),
    ...present('created', created),
    config: {
      ...present('User', config?.User),
      ...present('ExposedPorts', keysOnly(config?.ExposedPorts)),
      ...present('Env', config?.Env),
      ...present('Entrypoint', config?.Entrypoint),
      ...present('Cmd', config?.Cmd),
      ...present('Volumes', keysOnly(config?.Volumes)),
      ...present('WorkingDir', config?.WorkingDir),
      ...present('Labels', config?.Labels),
      ...present('StopSignal', config?.StopSignal),
    },
  };
}

/**
 * The digests of the plain layer tars, bottom first, that an image configuration promises.
 * @throws ConfigUnreadable
 */
export function parseDiffIds(source: Uint8Array | object): Digest[] {
  return parse(RootFs, source).rootfs.diff_ids ?? [];
}

/** An object as it stands. `v.record` would make a new one and lose the key `__proto__`, which a label may well have. */
function objectOf<Value>(holds: (value: unknown) => value is Value) {
  return v.custom<Readonly<Record<string, Value>>>(
    (value) =>
      typeof value === 'object' &&
      value !== null &&
      !Array.isArray(value) &&
      Object.values(value).every(holds),
    'not an object of the values that belong here',
  );
}

function parse<T>(schema: v.GenericSchema<unknown, T>, source: Uint8Array | object): T {
  const result = held(schema, source instanceof Uint8Array ? parseJson(source) : source);
  if ('data' in result) return result.data;
  throw new ConfigUnreadable({ reason: new DoesNotFit(result.misfits).message });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch {
    // JSON's own words quote the text, and variables are in it.
    throw new ConfigUnreadable({ reason: 'it is no JSON' });
  }
}

function present<Key extends string, Value extends string | object>(
  key: Key,
  value: Value | null | undefined,
): { readonly [K in Key]?: Value } {
  if (value === null || value === undefined || value === '') return {};
  if (typeof value === 'object' && Object.keys(value).length === 0) return {};
  return { [key]: value } as { readonly [K in Key]: Value };
}

/** Ports and volumes are sets, written as objects whose values carry nothing. */
function keysOnly(
  set: Readonly<Record<string, unknown>> | null | undefined,
): Record<string, object> | undefined {
  return set === null || set === undefined
    ? undefined
    : Object.fromEntries(Object.keys(set).map((key) => [key, {}]));
}
