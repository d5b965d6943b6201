import type { RuleInput } from './rule.ts';

/** A configuration file of a package tool, read by the caller: the user's, or the image's. */
export interface ConfigText {
  /** For messages and refusals. */
  readonly path: string;
  readonly text: string;
}

/** A host that a tool is configured to use, and by which file. */
export interface ToolHost {
  readonly rule: RuleInput;
  readonly path: string;
}

/** What the configuration of a tool says. A problem is one line for the user; values are not repeated in it. */
export interface ToolHosts {
  readonly hosts: readonly ToolHost[];
  readonly problems: readonly string[];
}

/** Reading packages needs no more; over TLS the gate cannot see the method. */
const readMethods = ['GET', 'HEAD'];

/**
 * The registries of an npmrc: `registry=` and `@scope:registry=`, with `${NAME}` filled in from `env`
 * (docs.npmjs.com/cli/configuring-npm/npmrc).
 */
export function npmHosts(
  files: readonly ConfigText[],
  env: Readonly<Record<string, string | undefined>>,
): ToolHosts {
  return collect(files, (text) =>
    logicalLines(text, /^[;#]/).flatMap((line) => {
      const match = /^(?:@[^:=\s]+:)?registry\s*=\s*(.+)$/.exec(line);
      if (match === null) return [];
      const value = unquote(match[1] ?? '');
      return [value.replace(/\$\{([^}]+)\}/g, (_, name: string) => env[name.replace(/\?$/, '')] ?? '')];
    }),
  );
}

/**
 * The indexes of a pip.conf: `index-url`, `extra-index-url` and URLs of `find-links`, in any section
 * (pip.pypa.io/en/stable/topics/configuration).
 */
export function pipHosts(files: readonly ConfigText[]): ToolHosts {
  return collect(files, (text) => {
    const urls: string[] = [];
    let isList = false;
    for (const line of text.split(/\r?\n/)) {
      if (/^\s*[#;]/.test(line) || line.trim() === '') continue;
      const option = /^([A-Za-z_-]+)\s*[=:]\s*(.*)$/.exec(line);
      const isContinued = /^\s/.test(line);
      if (!isContinued) {
        isList = /^(?:index|extra-index|find-links)(?:-url)?$/.test(
          option?.[1]?.toLowerCase().replaceAll('_', '-') ?? '',
        );
      }
      const value = isContinued ? line : (option?.[2] ?? '');
      if (isList) urls.push(...value.split(/\s+/).filter((word) => /^https?:/i.test(word)));
    }
    return urls;
  });
}

/** The archives of APT sources: one line each, or in deb822 form (sources.list(5)). */
export function aptHosts(files: readonly ConfigText[]): ToolHosts {
  return collect(files, (text) =>
    (/^\s*URIs\s*:/im.test(text) ? deb822(text) : oneLine(text)).filter(isNetworkUri),
  );
}

function oneLine(text: string): string[] {
  return logicalLines(text, /^#/).flatMap((line) => {
    const match = /^deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(\S+)/.exec(line.replace(/#.*$/, ''));
    return match === null ? [] : [match[1] ?? ''];
  });
}

function deb822(text: string): string[] {
  const stanzas = text
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .split(/\n[ \t]*\n/);
  return stanzas.flatMap((stanza) => {
    const fields = new Map<string, string>();
    let name = '';
    for (const line of stanza.split('\n')) {
      const field = /^([A-Za-z0-9-]+)\s*:(.*)$/.exec(line);
      if (field !== null) name = (field[1] ?? '').toLowerCase();
      fields.set(name, `${fields.get(name) ?? ''} ${field === null ? line : (field[2] ?? '')}`);
    }
    if (/^(?:no|false|without|off|disable|0)$/i.test((fields.get('enabled') ?? '').trim())) return [];
    return (fields.get('uris') ?? '').split(/\s+/).filter((uri) => uri !== '');
  });
}

/** `cdrom:`, `file:` and `copy:` need no network. */
function isNetworkUri(uri: string): boolean {
  return !/^(?:cdrom|file|copy):/i.test(uri);
}

function logicalLines(text: string, comment: RegExp): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !comment.test(line));
}

function unquote(value: string): string {
  return value.trim().replace(/^(["'])(.*)\1$/, '$2');
}

function collect(files: readonly ConfigText[], read: (text: string) => readonly string[]): ToolHosts {
  const hosts = new Map<string, ToolHost>();
  const problems = new Set<string>();
  for (const { path, text } of files) {
    for (const found of read(text)) {
      const rule = ruleOf(found);
      if (rule === undefined) problems.add(`${path}: an address in it is not an http or https URL`);
      else if (!hosts.has(JSON.stringify(rule))) hosts.set(JSON.stringify(rule), { rule, path });
    }
  }
  return { hosts: [...hosts.values()], problems: [...problems] };
}

/** The rule that lets a tool read from a URL. Credentials and path in it go nowhere. */
function ruleOf(text: string): RuleInput | undefined {
  // `mirror+https:` fetches a list of mirrors, which have to be allowed on their own.
  const plain = text.replace(/^mirror\+(?=https?:)/i, '').replace(/^mirror:/i, 'http:');
  if (!URL.canParse(plain)) return undefined;
  const { protocol, hostname, port } = new URL(plain);
  if (hostname === '' || (protocol !== 'http:' && protocol !== 'https:')) return undefined;
  if (protocol === 'https:') return { host: hostname, ports: [port === '' ? 443 : Number(port)] };
  return { host: hostname, ports: [port === '' ? 80 : Number(port)], methods: readMethods };
}
