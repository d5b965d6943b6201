import * as v from 'valibot';
import { ifFits, int, recordOf } from '../schema.ts';

/** What a machine is made from. It never has a network card. */
export interface MachineSpec {
  readonly name: string;
  /** On the host, absolute: a `.smolmachine`. */
  readonly artifact: string;
  /** Whole, 1 to 255. */
  readonly cpus: number;
  readonly memoryMiB: number;
  /** Of the disk that the image's layers are unpacked to. */
  readonly storageGiB: number;
  /** Of the disk that takes what the machine writes. */
  readonly overlayGiB: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Directories of the host. */
  readonly volumes: readonly {
    readonly source: string;
    readonly target: string;
    readonly readOnly: boolean;
  }[];
  /** Unix sockets of the host, connected to anew for every connection in the guest. */
  readonly sockets: readonly { readonly host: string; readonly guest: string }[];
  /** On a command line and in smolvm's database: nothing secret. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs from the machine's start on, instead of the image's own. */
  readonly command: readonly string[];
}

/**
 * One machine in what `machine ls --json` and `machine status --json` print: the same object in both, with more keys in
 * every release (v0.8.0 to v1.9.3, src/cli/vm_common.rs `machine_status_json`). `labels` came with v1.8.0. Of a machine
 * that does not tell whether it has a network nothing can be believed, so that key has no default.
 */
const MachineInfo = v.pipe(
  v.object({
    name: v.pipe(v.string(), v.minLength(1)),
    /** One of those named, or a later release's. `unreachable`: its process runs, but nothing answers in it. */
    state: v.custom<MachineState>((value) => typeof value === 'string'),
    pid: v.nullish(v.pipe(int, v.minValue(1))),
    network: v.boolean(),
    labels: v.nullish(recordOf(v.string())),
  }),
  v.transform(({ pid, labels, ...rest }) => ({
    ...rest,
    ...(pid === null || pid === undefined ? {} : { pid }),
    labels: labels ?? {},
  })),
);
export interface MachineInfo {
  readonly name: string;
  readonly state: MachineState;
  /** Of the process on the host that is the machine. */
  readonly pid?: number;
  readonly network: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

export type MachineState =
  'created' | 'running' | 'stopped' | 'failed' | 'unreachable' | 'frozen' | (string & {});

const MachineList = v.array(MachineInfo);

/** Reads what `machine status --json` printed; `undefined` when it is not that. */
export function readMachine(json: string): MachineInfo | undefined {
  return read(MachineInfo, json);
}

/** Reads what `machine ls --json` printed; `undefined` when it is not that. */
export function readMachines(json: string): readonly MachineInfo[] | undefined {
  return read(MachineList, json);
}

function read<T>(schema: v.GenericSchema<unknown, T>, json: string): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  return ifFits(schema, value);
}
