import * as v from 'valibot';
import { recordOf } from '../../schema.ts';

/** Where the machines of a bottle are: as a record or an order keeps it, for any later process of any environment. */
export const MachineAddress = v.object({
  /** The smolvm program, absolute. */
  smolvm: v.string(),
  /** `X.Y.Z`, when the address was written. */
  version: v.string(),
  /** Where smolvm keeps its machines; absent where that is the user's own smolvm's. */
  home: v.optional(v.string()),
  /** What of the environment decides where that is; null removes a variable. None of it is secret. */
  env: recordOf(v.nullable(v.string())),
});
export type MachineAddress = Readonly<v.InferOutput<typeof MachineAddress>>;

type Environment = Readonly<Record<string, string | undefined>>;

/** What smolvm finds its own directories by (v1.9.3, src/process.rs `apply_system_data_root`, src/data/mod.rs). */
const homeVariables = ['HOME', 'XDG_CACHE_HOME', 'XDG_DATA_HOME', 'XDG_CONFIG_HOME', 'SMOLVM_DATA_DIR'];

/** @param environment what smolvm runs in, below what its `home` lays over it. */
export function machineAddress(
  smolvm: { readonly path: string; readonly version: string },
  home: { readonly path: string | undefined; readonly env: Environment },
  environment: Environment,
): MachineAddress {
  const own = Object.fromEntries(homeVariables.map((name) => [name, environment[name]]));
  const env = Object.entries({ ...own, ...home.env }).map(([name, value]) => [name, value ?? null] as const);
  return {
    smolvm: smolvm.path,
    version: smolvm.version,
    ...(home.path === undefined ? {} : { home: home.path }),
    env: Object.fromEntries(env),
  };
}

/** The home of an address, whatever our own environment says. */
export function homeOfAddress({ home, env }: MachineAddress): {
  readonly path: string | undefined;
  readonly env: Environment;
} {
  const restored = Object.entries(env).map(([name, value]) => [name, value ?? undefined] as const);
  return { path: home, env: Object.fromEntries(restored) };
}
