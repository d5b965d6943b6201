import {
  CST,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Pair,
  parseDocument,
  type Scalar,
  type YAMLError,
} from 'yaml';
import { DefinitionInvalid, type Problem } from './errors.ts';
import { showKey } from './spelling.ts';

/**
 * What a definition says, before it is understood: mappings, lists, and texts as they stand in the file (`1.20` stays
 * `1.20`); `null` where nothing stands.
 */
export type Written = string | null | readonly Written[] | { readonly [key: string]: Written };

export type WrittenPath = readonly (string | number)[];

/** A definition that was taken apart: front matter in YAML, then a body. */
export interface FrontMatter {
  /** As it is shown. */
  readonly path: string;
  readonly fields: Readonly<Record<string, Written>>;
  /** Without blanks around it. */
  readonly body: string;
  /** The line of a key or a list's entry; of what is around it where there is none. */
  lineOf(path: WrittenPath): number;
}

/**
 * Takes a definition apart. One plain YAML document: no tags, anchors, aliases or directives, no key twice, text keys
 * only.
 * @throws DefinitionInvalid
 */
export function parseFrontMatter(path: string, text: string): FrontMatter {
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/);
  const end = lines.findIndex((line, index) => index > 0 && /^---[ \t]*$/.test(line));
  if (!/^---[ \t]*$/.test(lines[0] ?? '')) {
    throw new DefinitionInvalid({
      path,
      problems: [
        { line: 1, problem: 'expected the front matter: a line `---`, YAML, and another line `---`' },
      ],
    });
  }
  if (end < 0) {
    throw new DefinitionInvalid({
      path,
      problems: [{ line: 1, problem: 'the front matter has no end: a second line `---` is missing' }],
    });
  }
  const yaml = `${lines.slice(1, end).join('\n')}\n`;
  const body = lines
    .slice(end + 1)
    .join('\n')
    .trim();
  const tokens = tokensOf(yaml);
  const foreign = foreignSyntax(tokens);
  if (foreign.length > 0) throw new DefinitionInvalid({ path, problems: foreign });
  return { path, body, ...readYaml(path, quoteLoneQuestions(yaml, tokens)) };
}

interface Token {
  readonly type: CST.TokenType | null;
  readonly offset: number;
  /** In the file. */
  readonly line: number;
}

function tokensOf(yaml: string): Token[] {
  const tokens: Token[] = [];
  let offset = 0;
  // The front matter's first line is the file's second.
  let line = 2;
  let isText = false;
  for (const token of new Lexer().lex(yaml)) {
    const type = isText ? 'scalar' : CST.tokenType(token);
    const isMark = !isText && marks.includes(token);
    isText = !isText && token === CST.SCALAR;
    if (isMark || token === '') continue;
    tokens.push({ type, offset, line });
    offset += token.length;
    line += token.split('\n').length - 1;
  }
  return tokens;
}

/** What the lexer says beside the text itself. */
const marks: readonly string[] = [CST.DOCUMENT, CST.FLOW_END, CST.SCALAR];

/** YAML beyond mappings, lists and texts; looked for in the tokens, so that nothing of it is ever composed. */
function foreignSyntax(tokens: readonly Token[]): Problem[] {
  return tokens
    .flatMap(({ type, line }) => {
      const problem = type === null ? undefined : refusedTokens[type];
      return problem === undefined ? [] : [{ line, problem }];
    })
    .slice(0, 10);
}

/** `NAME: ?` is a form of a variable, and to YAML the begin of a key: it gets the quotes that it would need. */
function quoteLoneQuestions(yaml: string, tokens: readonly Token[]): string {
  const shown = tokens.filter(({ type }) => type !== 'space');
  const lone = shown.filter(({ type, line }, index) => {
    const [before, next] = [shown[index - 1], shown[index + 1]];
    const ends = next === undefined || next.line > line || endOfValue.includes(next.type ?? '');
    return type === 'explicit-key-ind' && before?.type === 'map-value-ind' && before.line === line && ends;
  });
  return lone.reduceRight((text, { offset }) => `${text.slice(0, offset)}"?"${text.slice(offset + 1)}`, yaml);
}

const endOfValue: readonly string[] = ['newline', 'comment', 'comma', 'flow-map-end'];

const refusedTokens: Readonly<Record<string, string>> = {
  tag: 'tags (`!name`) have no meaning here; quote a text that begins with `!`',
  anchor: 'anchors (`&name`) have no meaning here; quote a text that begins with `&`',
  alias: 'aliases (`*name`) have no meaning here; quote a text that begins with `*`',
  'directive-line': 'directives (`%NAME`) have no meaning here',
  'doc-start': 'one YAML document is expected, and another begins here',
  'doc-end': 'one YAML document is expected, and it ends here',
};

/** More levels than any definition has. */
const deepest = 16;

function readYaml(path: string, yaml: string): Pick<FrontMatter, 'fields' | 'lineOf'> {
  const counter = new LineCounter();
  // Keys that stand twice are looked for below: in one pass, and with their names.
  const document = parseDocument(yaml, { lineCounter: counter, prettyErrors: false, uniqueKeys: false });
  const lineAt = (offset: number) => counter.linePos(offset).line + 1;
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    const found = faults.map((fault) => ({ line: lineAt(fault.pos[0]), problem: wordsOf(fault) }));
    throw new DefinitionInvalid({ path, problems: firstOfEachLine(found).slice(0, 5) });
  }
  const problems: Problem[] = [];
  const lines = new Map<string, number>();

  const read = (node: unknown, at: WrittenPath, line: number): Written => {
    lines.set(JSON.stringify(at), line);
    if (at.length > deepest) {
      problems.push({ line, problem: 'this is nested too deeply' });
      return null;
    }
    if (isMap(node)) {
      const entries = new Map<string, Written>();
      for (const pair of node.items) {
        const key = textKey(pair);
        const keyLine = lineAt(startOf(pair.key) ?? startOf(pair.value) ?? 0);
        if (key === undefined)
          problems.push({ line: keyLine, problem: 'a key is expected to be a plain text' });
        else if (key === '__proto__') problems.push({ line: keyLine, problem: 'this key is not allowed' });
        else if (entries.has(key)) {
          const first = lines.get(JSON.stringify([...at, key])) ?? keyLine;
          problems.push({
            line: keyLine,
            problem: `${showKey(key)} stands here again; it is first on line ${first}`,
          });
        } else entries.set(key, read(pair.value, [...at, key], keyLine));
      }
      return Object.fromEntries(entries);
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        const inner = startOf(item);
        return read(item, [...at, index], inner === undefined ? line : lineAt(inner));
      });
    }
    return isScalar(node) ? textOf(node) : null;
  };

  const fields = document.contents === null ? {} : read(document.contents, [], 2);
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    problems.push({ line: 2, problem: 'expected `key: value` lines' });
  }
  if (problems.length > 0) throw new DefinitionInvalid({ path, problems });
  return {
    fields: fields as Readonly<Record<string, Written>>,
    lineOf(wanted) {
      for (let depth = wanted.length; depth > 0; depth -= 1) {
        const line = lines.get(JSON.stringify(wanted.slice(0, depth)));
        if (line !== undefined) return line;
      }
      return 1;
    },
  };
}

function startOf(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) ? node.range?.[0] : undefined;
}

function textKey({ key }: Pair): string | undefined {
  return isScalar(key) && typeof key.value === 'string' ? key.value : undefined;
}

/** Numbers and booleans as they are written: what a text means is for whoever knows what is expected. */
function textOf({ value, source }: Scalar): string | null {
  if (typeof value === 'string') return value;
  return value === null ? null : (source ?? null);
}

function firstOfEachLine(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.toReversed().map((problem) => [problem.line, problem])).values()].sort(
    (a, b) => a.line - b.line,
  );
}

/** Our own words: those of the parser quote the file. */
function wordsOf({ code }: YAMLError): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'a tab indents this line; YAML takes spaces only';
    case 'BAD_INDENT':
      return 'the indentation fits nothing above, or a bracket is not closed';
    case 'BAD_DQ_ESCAPE':
      return 'there is no such escape in double quotes; use single quotes, or write `\\\\` for a backslash';
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'MULTILINE_IMPLICIT_KEY':
      return 'a value and a key run together here: look at the indentation, and quote a text that holds `: `';
    case 'BAD_SCALAR_START':
      return 'a text cannot begin with this character; quote it';
    case 'MISSING_CHAR':
      return 'a quote, bracket, comma, colon or blank is missing here';
    case 'RESOURCE_EXHAUSTION':
      return 'this is nested too deeply';
    case 'KEY_OVER_1024_CHARS':
      return 'this key is too long';
    case 'MULTIPLE_DOCS':
      return 'one YAML document is expected, and another begins here';
    default:
      return 'this is no YAML';
  }
}
