import type { BuildSource } from '../engine/build.ts';
import type { Engine } from '../engine/engine.ts';
import type { FeederName } from '../engine/feed/feeder.ts';
import type { InspectedImage } from '../engine/image.ts';
import type { Scratch } from '../process/scratch.ts';
import type { Smolvm } from '../smolvm/find.ts';
import type { PackProgress } from '../smolvm/output.ts';
import type { Cache } from './cache.ts';
import type { EntryForm, NewEntry } from './entry.ts';

/** What to pack, and how. */
export interface PackRequest {
  readonly source:
    | { readonly kind: 'build'; readonly build: BuildSource }
    | {
        readonly kind: 'image';
        readonly reference: string;
        /** What it is called in the cache's list; the reference by default. */
        readonly shownAs?: string;
      };
  readonly form: EntryForm;
  /** Which registry smolvm pulls from: ours, or a container of the engine's. */
  readonly registry: 'embedded' | 'container';
  readonly feeder: 'auto' | Exclude<FeederName, 'known'>;
  /** Convert anew even if the cache has it. */
  readonly anew: boolean;
  /** Every line of the build, as it comes. */
  readonly onBuildLine?: (line: string) => void;
}

/** The steps that can be told apart from outside. */
export type StepName =
  'build' | 'inspect' | 'feed' | 'flatten' | 'registry' | 'push' | 'pack' | 'layout' | 'verify';

/** What a running step tells of itself. Figures are totals so far, in bytes. */
export type StepReport = (status: {
  bytes?: number;
  totalBytes?: number;
  pack?: PackProgress;
  detail?: string;
}) => void;

/** What happened beside the steps and is worth telling. */
export type Note =
  | { readonly kind: 'waiting'; readonly pid: number }
  | { readonly kind: 'damaged'; readonly path: string; readonly reason: string }
  | { readonly kind: 'feeder'; readonly order: readonly FeederName[]; readonly reason: string }
  | {
      readonly kind: 'fallback';
      readonly from: FeederName;
      readonly to: FeederName | undefined;
      readonly error: unknown;
    }
  | { readonly kind: 'merged-layers'; readonly layers: number }
  | { readonly kind: 'may-remain'; readonly what: string };

/** Whoever watches: runs each step, and may show it. */
export interface Observer {
  step<T>(name: StepName, work: (report: StepReport) => Promise<T>): Promise<T>;
  note(note: Note): void;
}

export interface PackTools {
  readonly engine: Engine;
  readonly cache: Cache;
  /** Needed for the form `smolmachine`. */
  readonly smolvm: Promise<Smolvm> | undefined;
  readonly observer: Observer;
  readonly signal: AbortSignal;
}

/** What a conversion is given, and what it gives back for the cache. */
export interface Conversion extends PackTools {
  readonly request: PackRequest;
  readonly image: InspectedImage;
  readonly scratch: Scratch;
  /** How the image is called in the registry that smolvm pulls from; it ends up in the artifact. */
  readonly repository: string;
  readonly tag: string;
}

export interface Converted {
  /** A file or a directory inside the scratch directory. */
  readonly path: string;
  readonly record: Omit<NewEntry, 'image' | 'platform'>;
}
