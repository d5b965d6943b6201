import { stripVTControlCharacters } from 'node:util';
import type { MachineFailureCause, PackFailureCause } from './errors.ts';

/** What `pack create` is doing, in the order in which it happens. */
export type PackProgress =
  | { readonly phase: 'starting' }
  /** `percent` of the layers is in, 0 to 100, where smolvm tells: it counts whole layers. */
  | { readonly phase: 'pulling'; readonly percent?: number }
  /** The image is in. `bytes` is what its layers take unpacked. */
  | { readonly phase: 'pulled'; readonly layers: number; readonly bytes: number }
  | { readonly phase: 'collecting' }
  | { readonly phase: 'merging'; readonly layers: number }
  /** `bytes` have come out of the VM so far, where smolvm tells. */
  | { readonly phase: 'exporting'; readonly bytes?: number }
  | { readonly phase: 'assembling' }
  | { readonly phase: 'packed' };

/**
 * Reads one line of `pack create`'s output, from either stream, whatever noise of a terminal is in it. Lines that tell
 * nothing new give `undefined`; so does `Pulling image … done.`, which is printed for a failed pull too. (v0.8.0 to
 * v1.9.3, src/cli/mod.rs `pull_with_progress`, src/cli/pack.rs.)
 */
export function readProgress(line: string): PackProgress | undefined {
  const text = withoutNoise(line);
  if (text.startsWith('Starting agent VM')) return { phase: 'starting' };
  if (text.startsWith('Pulling image ')) {
    if (/\.\.\. done\.\s*$/.test(text)) return undefined;
    const percent = /\] (\d{1,3})%/.exec(text)?.[1];
    return percent === undefined ? { phase: 'pulling' } : { phase: 'pulling', percent: Number(percent) };
  }
  const image = /^Image: .* \((\d+) layers, (\d+) bytes\)$/.exec(text);
  if (image !== null) return { phase: 'pulled', layers: Number(image[1]), bytes: Number(image[2]) };
  if (/^(Collecting |Creating storage template)/.test(text)) return { phase: 'collecting' };
  const merging = /^Merging (\d+) layers in VM/.exec(text)?.[1];
  if (merging !== undefined) return { phase: 'merging', layers: Number(merging) };
  if (text.startsWith('Layer 1/1: ') || text.startsWith('Exporting merged layer')) return exported(text);
  if (/^\S?\s*Assembling /.test(text) && !text.endsWith(' done')) return { phase: 'assembling' };
  if (text.startsWith('Packed: ')) return { phase: 'packed' };
  return undefined;
}

const units: Readonly<Record<string, number>> = {
  B: 1,
  bytes: 1,
  KB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
};

function exported(text: string): PackProgress {
  const amount = /(\d+(?:\.\d+)?) (bytes|KB|MB|GB)( done)?$/.exec(text);
  const unit = units[amount?.[2] ?? ''];
  if (amount === null || unit === undefined) return { phase: 'exporting' };
  return { phase: 'exporting', bytes: Math.round(Number(amount[1]) * unit) };
}

/** What `pack prune` has removed, or would remove. */
export interface Pruned {
  readonly entries: number;
  /** As smolvm rounds it: to a tenth of a power of 1024. */
  readonly bytes: number;
}

/**
 * Reads the last words of `pack prune` (v1.9.0 to v1.9.3, src/cli/pack.rs `PackPruneCmd`, src/cli/mod.rs `format_bytes`).
 * @returns `undefined` for words that are none of these.
 */
export function readPruned(stdout: string): Pruned | undefined {
  const last = linesOf(stdout).at(-1) ?? '';
  if (last === 'No cached entries to remove.') return { entries: 0, bytes: 0 };
  const told =
    /^(?:Removed|Would remove) (\d{1,9}) cached entr(?:y|ies)(?:, freed | \()(\d{1,12}(?:\.\d+)?) (B|KB|MB|GB|TB)\)?$/.exec(
      last,
    );
  if (told === null) return undefined;
  const [, entries, amount, unit = ''] = told;
  return { entries: Number(entries), bytes: Math.round(Number(amount) * (units[unit] ?? 1)) };
}

const quoteLimit = 2_000;
/** smolvm's own, or clap's. */
const errorLine = /^error:/i;

/**
 * smolvm's own words about its failure: from its `Error:` line (or clap's `error:`) to the end, or, if it died without
 * one, the last lines it wrote. At most 2,000 characters, no control characters.
 */
export function quoteFailure(stdout: string, stderr: string): string {
  const lines = linesOf(stderr);
  const first = lines.findIndex((line) => errorLine.test(line));
  const said = first >= 0 ? lines.slice(first) : lines.filter(saysMore).slice(-5);
  const quote = (said.length > 0 ? said : linesOf(stdout).filter(saysMore).slice(-5)).join('\n');
  return quote.length > quoteLimit ? `${quote.slice(0, quoteLimit)}…` : quote;
}

/** What is said of the host, in whatever command: smolvm's words (src/data/errors.rs, src/platform/linux.rs), the kernel's. */
const hostCauses = [
  ['kvm-permission', /kvm permission denied|cannot access \/dev\/kvm/i],
  ['no-kvm', /kvm not available|hypervisor not available/i],
] as const;
const fullDisk = /no space left|os error 28|os error 122|quota exceeded|disk full|ENOSPC|EDQUOT/i;

/**
 * The causes in the order in which they are looked for: what is said of the machine comes before what is said of the
 * network, since the one drags the other along. The words are smolvm's (src/platform/linux.rs, src/cli/pack.rs,
 * crates/smolvm-agent/src/storage.rs, v0.8.0 to v1.9.3), crane's, and the kernel's.
 */
const packCauses: readonly (readonly [PackFailureCause, RegExp])[] = [
  ...hostCauses,
  ['output-name', /--output names the executable stub/],
  ['no-space', fullDisk],
  ['too-large', /exceeding the \d+ byte cap/],
  ['auth', /\bUNAUTHORIZED\b|\bDENIED\b|\b40[13]\b (?:Unauthorized|Forbidden)|authentication required/i],
  ['timeout', /timed out|did not become ready|i\/o timeout|deadline exceeded/i],
  ['blob', /crane blob failed|(?:tar|layer) extraction failed|gunzip failed/],
  [
    'manifest',
    /crane (?:manifest|config) failed|MANIFEST_UNKNOWN|NAME_UNKNOWN|got manifest list|invalid image reference/,
  ],
];

export function causeOf(words: string): PackFailureCause {
  return packCauses.find(([, pattern]) => pattern.test(words))?.[0] ?? 'unknown';
}

/**
 * Likewise for what is done with machines (src/cli/machine.rs `run_from_smolmachine`, src/cli/vm_common.rs,
 * src/agent/manager.rs, crates/smolvm-pack/src/lib.rs, v1.8.1 to v1.9.3). A name that is taken is told from within the
 * creation, which speaks of the artifact otherwise.
 */
const machineCauses: readonly (readonly [MachineFailureCause, RegExp])[] = [
  ...hostCauses,
  ['no-space', fullDisk],
  ['exists', /machine '[^']*' already exists/],
  ['artifact', /\.smolmachine|sidecar|invalid magic|unsupported version|checksum mismatch|architecture/],
  ['not-running', /is not running/],
  ['timeout', /timed out|did not become ready|deadline exceeded/i],
];

/** @param code smolvm's exit status; one above 128 without an error of its own is a death by signal. */
export function machineCauseOf(words: string, code: number): MachineFailureCause {
  // What it said before was its progress, which names the artifact.
  if (code > 128 && !errorLine.test(words)) return 'killed';
  return machineCauses.find(([, pattern]) => pattern.test(words))?.[0] ?? 'unknown';
}

function saysMore(line: string): boolean {
  return readProgress(line) === undefined && !line.startsWith('Pulling image ');
}

/** Every piece between line ends and carriage returns, cleaned; empty ones dropped. */
function linesOf(text: string): string[] {
  return text
    .split(/[\r\n]+/)
    .map(withoutNoise)
    .filter((line) => line !== '');
}

function withoutNoise(line: string): string {
  return stripVTControlCharacters(line)
    .replace(/\p{Cc}/gu, '')
    .trim();
}
