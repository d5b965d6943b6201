import type { RunResult } from '../process/run.ts';
import { EngineCommandFailed, EngineDenied, EngineUnreachable, ImageMissing } from './errors.ts';

/** What a failed command was about; see EngineCommandFailed. */
export interface Request {
  readonly command: string;
  readonly endpoint?: string | undefined;
  readonly request: string;
  readonly subject?: string | undefined;
}

// The Docker CLI's notice about its own classic builder says nothing about the failure it happens to precede.
const notice = /^DEPRECATED: The legacy builder is deprecated[^\n]*\n(?:[ \t]+[^\n]*\n?)*\n?/m;
// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal codes are what is looked for.
const terminalCodes = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** The text without terminal codes, notices and outer white space. */
export function plainWords(text: string): string {
  return text.replace(terminalCodes, '').replace(notice, '').trim();
}

/** `{ words }`, or nothing when the program said nothing. */
export function wordsOf(text: string): { words?: string } {
  const words = plainWords(text);
  return words === '' ? {} : { words };
}

const denied = /permission denied while trying to connect|dial unix [^ ]+: connect: permission denied/i;
const unreachable =
  /Cannot connect to the Docker daemon|Cannot connect to Podman|failed to connect to the docker API|error during connect|unable to connect to Podman|Is the docker daemon running|context "[^"]*": context not found/i;
const noImage = /no such image|image not known|no such object/i;

/** The failure that a command's end stands for, told by its words: the engine's exit codes do not tell. */
export function failureOf(
  about: Request,
  result: Pick<RunResult, 'code' | 'stderr'>,
): EngineCommandFailed | EngineDenied | EngineUnreachable | ImageMissing {
  const said = wordsOf(result.stderr);
  const words = said.words ?? '';
  const place = {
    command: about.command,
    ...(about.endpoint === undefined ? {} : { endpoint: about.endpoint }),
    ...said,
  };
  if (denied.test(words)) return new EngineDenied(place);
  if (unreachable.test(words)) return new EngineUnreachable(place);
  if (about.subject !== undefined && noImage.test(words)) {
    return new ImageMissing({ reference: about.subject, ...said });
  }
  return new EngineCommandFailed({
    command: `${about.command} ${about.request}`,
    ...(about.subject === undefined ? {} : { subject: about.subject }),
    exitCode: result.code,
    ...said,
  });
}
