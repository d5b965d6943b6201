import { plainWords } from './words.ts';

/** Where a build stopped, as far as its output tells. */
export interface BuildStop {
  /** As the builder counts: `3/7`, in a stage with a name `base 3/7`. */
  readonly step?: string;
  /** The instruction, as the builder prints it. */
  readonly command?: string;
  /** The builder's own sentence about what went wrong. */
  readonly words?: string;
  /** The last lines before the end, without notices, terminal codes and empty lines. */
  readonly tail: readonly string[];
}

const keptLines = 400;
const tailLines = 20;

/**
 * Listens to a build of any of the three builders and remembers enough to say where it stopped: Docker's classic
 * builder (`Step 2/3 : RUN x`), BuildKit's plain progress (`#5 [base 2/3] RUN x`; buildkit, util/progress/progressui)
 * and podman (`STEP 2/3: RUN x`; buildah, imagebuildah/executor.go).
 */
export class BuildLog {
  readonly #lines: string[] = [];
  /** BuildKit runs steps at once; a line says which by number. */
  readonly #vertices = new Map<string, Instruction>();
  #last: Instruction | undefined;
  #failed: Instruction | undefined;
  #words: string | undefined;
  #inNotice = false;

  line(raw: string): void {
    const line = plainWords(raw);
    if (this.#isNotice(line, raw)) return;
    if (line === '') return;
    this.#lines.push(line);
    if (this.#lines.length > keptLines) this.#lines.shift();
    this.#note(line);
  }

  /** What is known once the build has failed. */
  stop(): BuildStop {
    const at = this.#failed ?? this.#last;
    return {
      ...at,
      ...(this.#words === undefined ? {} : { words: this.#words }),
      tail: this.#lines.filter((line) => !isChatter(line)).slice(-tailLines),
    };
  }

  /** The Docker CLI without buildx opens with three lines about that; they are never the reason. */
  #isNotice(line: string, raw: string): boolean {
    if (line.startsWith('DEPRECATED: The legacy builder is deprecated')) this.#inNotice = true;
    else if (!/^\s/.test(raw) || line === '') this.#inNotice = false;
    return this.#inNotice;
  }

  #note(line: string): void {
    const started =
      /^Step (?<step>\d+\/\d+) : (?<command>.+)$/.exec(line) ??
      /^(?:\[\d+\/\d+\] )?STEP (?<step>\d+\/\d+): (?<command>.+)$/.exec(line);
    if (started !== null) {
      this.#last = instructionOf(started);
      return;
    }
    const vertex = /^#(\d+) \[(?<step>[^\]]+)\] (?<command>.+)$/.exec(line);
    if (vertex?.[1] !== undefined) {
      this.#vertices.set(vertex[1], instructionOf(vertex));
      return;
    }
    const broken = /^#(\d+) ERROR: (.+)$/.exec(line);
    if (broken !== null) {
      this.#failed ??= this.#vertices.get(broken[1] ?? '');
      this.#words ??= broken[2];
      return;
    }
    const atStep = /^Error: building at STEP "(?<command>.+?)": (.+)$/.exec(line);
    if (atStep?.groups?.command !== undefined) {
      const { command } = atStep.groups;
      this.#failed = this.#last?.command === command ? this.#last : { command };
      this.#words = atStep[2] ?? this.#words;
      return;
    }
    if (reasons.some((reason) => reason.test(line))) this.#words = line;
  }
}

interface Instruction {
  readonly step?: string;
  readonly command?: string;
}

function instructionOf({ groups }: RegExpExecArray): Instruction {
  const { step = '', command = '' } = groups ?? {};
  // BuildKit's own work, such as reading the Dockerfile, is no step of the Dockerfile.
  return step === 'internal' || step === 'auth' ? { command } : { step: step.trim(), command };
}

/** Lines by which a builder says what ended the build. */
const reasons = [
  /^ERROR: /,
  /^Error: /,
  /^Error response from daemon: /,
  /^failed to solve/,
  /^(COPY|ADD) failed: /,
  /^The command '.*' returned a non-zero code: \d+$/,
  /^executor failed running /,
  /^failed to compute cache key: /,
  /^unable to prepare context: /,
];

/** Progress that says nothing once the build has stopped. */
function isChatter(line: string): boolean {
  return (
    /^Sending build context to Docker daemon/.test(line) ||
    /^ ?---> (?:Running in )?[0-9a-f]+$/.test(line) ||
    /^---> /.test(line) ||
    /^#\d+ (?:sha256:[0-9a-f]{64}|DONE .*|CACHED|transferring .*|resolve .*|extracting .*)$/.test(line) ||
    /^#\d+ \[(?:internal|auth)\] /.test(line) ||
    /^-{3,}$/.test(line)
  );
}
