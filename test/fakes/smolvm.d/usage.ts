/** One option of a command, as clap declares it. */
export interface Flag {
  readonly long: string;
  readonly short?: string;
  /** Another short name that help shows. */
  readonly alias?: string;
  /** The name of its value; without it the option is a switch. */
  readonly value?: string;
  readonly many?: boolean;
  readonly hidden?: boolean;
  /** Value bounds of an unsigned integer. */
  readonly largest?: number;
  readonly default?: string;
  readonly conflicts?: readonly string[];
  readonly requires?: string;
  /** Its value is a span of time. */
  readonly duration?: boolean;
}

export interface Command {
  /** As a user types it. */
  readonly name: string;
  readonly about: string;
  readonly flags: readonly Flag[];
  /** Options that must be given; of a group of them, any one will do. */
  readonly required?: readonly (readonly string[])[];
  /**
   * Whether operands may follow: the first and all after it, options too (`anywhere`), one by one between options (`each`),
   * or only after `--` (`last`).
   */
  readonly operands: 'none' | 'anywhere' | 'each' | 'last';
  /** Operands that must be given. */
  readonly operandNames?: readonly string[];
}

export interface Parsed {
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly operands: readonly string[];
}

/** clap ends with status 2 and these words on standard error. */
export class UsageError extends Error {}

/** `--help` was asked for: status 0, on standard output. */
export class HelpAsked extends Error {}

/** Parses as clap 4 does: bundled and attached values, `--`, and no guessing. */
export function parse(command: Command, args: readonly string[]): Parsed {
  const values = new Map<string, string[]>();
  const operands: string[] = [];
  const rest = [...args];
  let literal = false;
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (literal) {
      operands.push(arg);
    } else if (arg === '--') {
      literal = true;
    } else if (arg === '--help' || arg === '-h') {
      throw new HelpAsked(helpOf(command));
    } else if (arg.startsWith('--')) {
      const [name, attached] = split(arg.slice(2));
      take(
        command,
        values,
        flagNamed(command, `--${name}`, (flag) => flag.long === name),
        attached,
        rest,
      );
    } else if (arg.startsWith('-') && arg !== '-') {
      takeShort(command, values, arg, rest);
    } else if (command.operands === 'anywhere') {
      operands.push(arg, ...rest.splice(0));
    } else if (command.operands === 'each' && operands.length < (command.operandNames?.length ?? 0)) {
      operands.push(arg);
    } else {
      throw unexpected(command, arg);
    }
  }
  const [first] = operands;
  if (first !== undefined && command.operands === 'none') throw unexpected(command, first);
  check(command, values, operands.length);
  return { values, operands };
}

function split(text: string): [string, string?] {
  const at = text.indexOf('=');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function flagNamed(command: Command, shown: string, is: (flag: Flag) => boolean): Flag {
  const flag = command.flags.find(is);
  if (flag === undefined) throw unexpected(command, shown);
  return flag;
}

function takeShort(command: Command, values: Map<string, string[]>, arg: string, rest: string[]): void {
  for (let at = 1; at < arg.length; at += 1) {
    const letter = arg[at] ?? '';
    if (letter === 'h') throw new HelpAsked(helpOf(command));
    const flag = flagNamed(command, `-${letter}`, ({ short, alias }) => short === letter || alias === letter);
    if (flag.value === undefined) {
      take(command, values, flag, undefined, rest);
      continue;
    }
    const attached = arg.slice(at + 1).replace(/^=/, '');
    take(command, values, flag, attached === '' ? undefined : attached, rest);
    return;
  }
}

function take(
  command: Command,
  values: Map<string, string[]>,
  flag: Flag,
  attached: string | undefined,
  rest: string[],
): void {
  const earlier = values.get(flag.long);
  if (earlier !== undefined && flag.many !== true) {
    throw usage(command, `the argument '${shownFlag(flag)}' cannot be used multiple times`);
  }
  if (flag.value === undefined) {
    if (attached !== undefined) {
      throw usage(
        command,
        `unexpected value '${attached}' for '--${flag.long}' found; no more were expected`,
      );
    }
    values.set(flag.long, ['true']);
    return;
  }
  // clap takes nothing that looks like an option for a value, except a lone dash.
  const next = rest[0];
  const separate = next !== undefined && (next === '-' || !next.startsWith('-')) ? rest.shift() : undefined;
  const value = attached ?? separate;
  if (value === undefined) {
    throw usage(command, `a value is required for '${shownFlag(flag)}' but none was supplied`);
  }
  checkNumber(flag, value);
  values.set(flag.long, [...(earlier ?? []), value]);
}

function checkNumber(flag: Flag, value: string): void {
  if (flag.duration === true) {
    const isSpan = /^(\s*\d+\s*(ms|s|m|h|d)\s*)+$/.test(value);
    if (!isSpan) throw invalid(flag, value, `invalid duration '${value}'`);
    if (/^[\s0a-z]*$/.test(value)) throw invalid(flag, value, 'duration must be greater than zero');
  }
  if (flag.largest === undefined) return;
  if (!/^\+?\d+$/.test(value)) {
    throw invalid(
      flag,
      value,
      value === '' ? 'cannot parse integer from empty string' : 'invalid digit found in string',
    );
  }
  if (Number(value) > flag.largest)
    throw invalid(flag, value, `${Number(value)} is not in 0..=${flag.largest}`);
}

function check(command: Command, values: ReadonlyMap<string, unknown>, operands: number): void {
  const named = (long: string) => shownFlag(command.flags.find((flag) => flag.long === long) ?? { long });
  for (const flag of command.flags) {
    if (!values.has(flag.long)) continue;
    const other = flag.conflicts?.find((long) => values.has(long));
    if (other !== undefined) {
      throw usage(command, `the argument '${shownFlag(flag)}' cannot be used with '${named(other)}'`);
    }
    if (flag.requires !== undefined && !values.has(flag.requires))
      throw missing(command, [named(flag.requires)]);
  }
  const absent = (command.required ?? []).filter((group) => !group.some((long) => values.has(long)));
  const missingOperands = (command.operandNames ?? [])
    .slice(operands)
    .map((name) => (command.operands === 'anywhere' ? `<${name}>...` : `<${name}>`));
  const all = [...absent.map(([first = '']) => named(first)), ...missingOperands];
  if (all.length > 0) throw missing(command, all);
}

function missing(command: Command, shown: readonly string[]): UsageError {
  const list = shown.map((flag) => `\n  ${flag}`).join('');
  return usage(command, `the following required arguments were not provided:${list}`);
}

function unexpected(command: Command, arg: string): UsageError {
  return usage(command, `unexpected argument '${arg}' found`);
}

function invalid(flag: Flag, value: string, why: string): UsageError {
  return new UsageError(
    `error: invalid value '${value}' for '${shownFlag(flag)}': ${why}\n\nFor more information, try '--help'.\n`,
  );
}

function usage(command: Command, message: string): UsageError {
  return new UsageError(
    `error: ${message}\n\nUsage: ${usageOf(command)}\n\nFor more information, try '--help'.\n`,
  );
}

function shownFlag(flag: Flag): string {
  return `--${flag.long}${flag.value === undefined ? '' : ` <${flag.value}>`}`;
}

function usageOf(command: Command): string {
  const must = (command.required ?? []).map(([first = '']) => {
    const flag = command.flags.find(({ long }) => long === first);
    return ` ${shownFlag(flag ?? { long: first })}`;
  });
  const names = command.operandNames?.map((name) => ` <${name}>`).join('');
  const tail = {
    none: '',
    anywhere: names === undefined ? ' [COMMAND]...' : `${names}...`,
    each: names ?? '',
    last: ' [-- <COMMAND>...]',
  }[command.operands];
  return `${command.name} [OPTIONS]${must.join('')}${tail}`;
}

function helpOf(command: Command): string {
  const options = [
    ...command.flags.filter(({ hidden }) => hidden !== true),
    { long: 'help', short: 'h' },
  ].map((flag: Flag) => {
    const short = flag.short === undefined ? '    ' : `-${flag.short}, `;
    const extras = [
      flag.default === undefined ? '' : ` [default: ${flag.default}]`,
      flag.alias === undefined ? '' : ` [short aliases: ${flag.alias}]`,
    ];
    return `  ${short}${shownFlag(flag)}${flag.many === true ? '...' : ''}${extras.join('')}\n`;
  });
  return `${command.about}\n\nUsage: ${usageOf(command)}\n\nOptions:\n${options.join('')}`;
}

/** The only value of an option, if it was given. */
export function optionOf(parsed: Parsed, long: string): string | undefined {
  return parsed.values.get(long)?.[0];
}
