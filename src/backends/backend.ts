import type { Readable } from 'node:stream';
import type { Engine } from '../engine/engine.ts';
import type { InspectedImage } from '../engine/image.ts';
import type { ImageDefaults } from '../engine/image-defaults.ts';
import type { Owner } from '../process/owner.ts';
import type { Observer, PackRequest } from '../smolmachine/conversion.ts';

/** Where things are inside every bottle, whatever it is made of. */
export const inside = {
  /** The sockets of the host side, read-only. */
  run: '/run/claude-bottle',
  gateSocket: '/run/claude-bottle/gate.sock',
  controlSocket: '/run/claude-bottle/control.sock',
  /** Tells the bottle's secret variables to further programs. */
  variablesSocket: '/run/claude-bottle/variables.sock',
  /** bottle-init (docs/bottle-init.md), read-only. */
  init: '/run/bottle-init',
  /** The agent's system prompt, where it has one. Everyone's to read, and root's. */
  systemPrompt: '/etc/claude-bottle/system-prompt.md',
  workspace: '/workspace',
  /** Where the relay to the gate listens. */
  proxyPort: 3128,
} as const;

/** How whoever is attached to a bottle lets go of it and leaves it running. Every other key is the agent's. */
export const letGo = { key: 'Ctrl-^', times: 8 } as const;

export interface Resources {
  /** Processor cores; fractions are fine. */
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pids: number;
  /** What the bottle may write beside its image, in bytes. */
  readonly diskBytes: number;
}

/** A host path that the user asked to have in the bottle. */
export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** Everything that a bottle is made from. Holds no secret: those travel in the handshake with bottle-init, or with `exec`. */
export interface BottleSpec {
  readonly slug: string;
  /** On the host: the bottle-init for this host's processor. Mounted as `inside.init`. */
  readonly initProgram: string;
  /** What `Backend.prepare` made of the image: nothing that a name that moves meanwhile changes. */
  readonly image: string;
  /** What the image says of how to run it. Without it the backend asks, where it has somebody to ask. */
  readonly imageDefaults?: ImageDefaults;
  /** As a Dockerfile's USER. Without it: the image's own. */
  readonly user?: string;
  readonly command: readonly string[];
  readonly workdir: string;
  /** The command's standard input can be attached to. Without it: empty, for programs that wait for its end. */
  readonly stdin: boolean;
  /** The command has a terminal. */
  readonly terminal: boolean;
  /** Public variables, for every process in the bottle. */
  readonly env: Readonly<Record<string, string>>;
  readonly resources: Resources;
  /** An OCI runtime that the engine lists. Without it: `runsc` if it is listed, else the engine's default. */
  readonly runtime?: string;
  /** On the host: what is mounted as `inside.run`. Holds the gate's socket and the control socket. */
  readonly runDirectory: string;
  /** The attempts that bottle-init makes before it asks for its go: `NAME=ATTEMPT`, as docs/gate.md has them. */
  readonly probes: readonly string[];
  readonly mounts: readonly Mount[];
  /** Whose death makes this bottle a leftover. */
  readonly owner: Owner;
}

/** The user as whom everything in the bottle runs. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export interface ExecOptions {
  /** `image`: the bottle's own user (the default); `root`: for errands of ours, with no capability beyond the bottle's. */
  readonly as?: 'image' | 'root';
  readonly workdir?: string;
  /** May be secret: never on a command line, never on a disk. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to its standard input, which is otherwise empty. */
  readonly input?: string;
  /** Milliseconds until it is ended, and everything it started with it; the call then throws DeadlineExceeded. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ExecResult {
  /** 128 + n when signal n ended it; 126 and 127 as a shell has them. */
  readonly code: number;
  /** The end of each stream, 256 KiB at most. */
  readonly stdout: string;
  readonly stderr: string;
}

/** A program whose output is read as it comes. Disposing ends it. */
export interface Streaming extends AsyncDisposable {
  readonly stdout: Readable;
  /** Settles when it is gone. Never rejects for an exit status. */
  readonly done: Promise<ExecResult>;
}

/** A program for `process/foreground.ts`: it takes over this process's standard streams and terminal. */
export interface ForegroundCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** Laid over our own environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where to run it; anywhere, if absent. */
  readonly cwd?: string;
}

export interface BottleStatus {
  readonly state: 'created' | 'running' | 'exited';
  /** Of an exited one. */
  readonly exitCode?: number;
  /** The kernel ended it because its memory ran out. */
  readonly outOfMemory?: boolean;
  /** ISO 8601, UTC. */
  readonly startedAt?: string;
}

/** One bottle, made and not yet removed. Every call fails with the backend's own failures. */
export interface Bottle {
  readonly slug: string;
  /** Puts back what the backend keeps in the run directory, after that was lost: a restart clears it on most machines. */
  restore(runDirectory: string): Promise<void>;
  /** Starts it without anybody attached. */
  start(signal?: AbortSignal): Promise<void>;
  /**
   * Attaches this terminal to its command. `start` starts it in the same breath, so that no output is missed. How the
   * command ended is for `status` to say: it may end without us, and podman's attach does not tell.
   */
  attach(how: 'start' | 'join'): Promise<ForegroundCommand>;
  /** A further program, run to its end. */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** A further program whose output may be large. */
  stream(argv: readonly string[], options?: ExecOptions): Streaming;
  /**
   * A further program on this terminal, or on our own streams, with the variables that the bottle's command has: it asks
   * at `inside.variablesSocket` for them, since what an engine is told of them its runtime writes into a file for a moment
   * (runc, /tmp/runc-process*). Takes a moment: who the bottle's user is may have to be asked.
   */
  foreground(
    argv: readonly string[],
    options: Pick<ExecOptions, 'as' | 'workdir' | 'signal'> & { readonly terminal: boolean },
  ): Promise<ForegroundCommand>;
  /** Who the bottle's user is, from the image's own files. Before the start: nobody can have changed them. */
  account(signal?: AbortSignal): Promise<Account>;
  /** Unpacks a tar below `directory`, with the owners and modes that it names. Also before the start. */
  copyIn(tar: Readable, directory: string, signal?: AbortSignal): Promise<void>;
  /** The tar of a file or directory, under its own name. What is in it comes from the bottle: treat it as hostile. Also after the end. */
  copyOut(path: string, signal?: AbortSignal): Promise<Streaming>;
  /** What the command printed, raw. With a terminal both streams are one. */
  logs(options: {
    readonly follow: boolean;
    readonly tail?: number;
    readonly signal?: AbortSignal;
  }): Streaming;
  /** When the command last printed something; `undefined` when it has not. */
  lastOutput(signal?: AbortSignal): Promise<Date | undefined>;
  /** `undefined`: there is no such bottle any more. */
  status(signal?: AbortSignal): Promise<BottleStatus | undefined>;
  /** Bytes written beside the image. Takes a moment: the engine counts them. */
  diskUse(signal?: AbortSignal): Promise<number>;
  /** SIGTERM, then SIGKILL after so many milliseconds. One that does not run is no error. */
  stop(graceMs: number): Promise<void>;
  /** Removes all of it by force; one that is gone is no error. */
  remove(): Promise<void>;
}

/** A bottle that was found by its label rather than by a record of ours. */
export interface FoundBottle {
  readonly slug: string;
  readonly owner: Owner;
  readonly version: string;
}

/** What making an image ready may use. */
export interface PrepareTools {
  /** Where the image is. */
  readonly engine: Engine;
  /** The directory of this user's cache. */
  readonly cacheRoot: string;
  readonly registry: PackRequest['registry'];
  /** Shows what takes its time. */
  readonly observer: Observer;
  /** What must not be taken away before the bottle is made is put on it. */
  readonly held: AsyncDisposableStack;
  readonly signal: AbortSignal;
}

/** What a bottle is made of: everything above this interface is the same for all backends. */
export interface Backend {
  readonly name: string;
  /**
   * Whether bottles can be made here at all, and with what; for the plan.
   * @throws the failure that says why not.
   */
  check(options: { readonly runtime?: string }): Promise<BackendFacts>;
  /**
   * Makes what bottles of this image are made from, once for all of them; interrupted, it leaves nothing.
   * @returns `BottleSpec.image`.
   */
  prepare(image: Pick<InspectedImage, 'id' | 'reference'>, tools: PrepareTools): Promise<string>;
  create(spec: BottleSpec, signal?: AbortSignal): Promise<Bottle>;
  /** A handle on a bottle of that slug; whether there is one shows when it is used. */
  bottle(slug: string): Bottle;
  /** Every bottle of ours in this backend. */
  find(signal?: AbortSignal): Promise<readonly FoundBottle[]>;
}

export interface BackendFacts {
  /** What runs it: `runc`, `runsc`. */
  readonly runtime: string;
  /** `enforced` by the storage, or `watched` from outside. */
  readonly diskLimit: 'enforced' | 'watched';
}
