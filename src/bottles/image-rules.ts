import type { Bottle } from '../backends/backend.ts';
import { presetRules, type ToolConfigs } from '../gate/presets/presets.ts';
import type { Rule, RuleOrigin } from '../gate/rule.ts';
import type { ConfigText } from '../gate/tool-config.ts';
import { ByteReader } from '../tar/byte-reader.ts';
import { readTar } from '../tar/read.ts';
import type { LaunchOrder } from './messages.ts';

/** Configuration files are short; what is longer is none. */
const maxBytes = 1024 * 1024;
const maxFiles = 200;

/** Where the tools keep their configuration in an image: npmrc(5), pip's user guide, sources.list(5). */
const places = {
  npm: (home: string) => [`${home}/.npmrc`, '/etc/npmrc', '/usr/etc/npmrc', '/usr/local/etc/npmrc'],
  pip: (home: string) => [`${home}/.config/pip/pip.conf`, `${home}/.pip/pip.conf`, '/etc/pip.conf'],
  debian: () => ['/etc/apt'],
} as const;

/** What a tool itself says when no configuration does: its own default. */
const questions: Readonly<Record<string, { argv: readonly string[]; asConfig: (answer: string) => string }>> =
  {
    npm: {
      argv: ['npm', 'config', 'get', 'registry'],
      asConfig: (answer) => `registry=${answer}`,
    },
    pip: {
      // Where the index is and where the files are, as pip has them (pip, src/pip/_internal/models/index.py).
      argv: [
        'python3',
        '-c',
        'from pip._internal.models.index import PyPI as p; print(p.simple_url, "https://" + p.file_storage_domain)',
      ],
      asConfig: (answer) => `extra-index-url = ${answer}`,
    },
  };
const answerMs = 15_000;

export interface ImageRules {
  readonly rules: readonly Rule[];
  readonly problems: readonly string[];
  /** Presets for which nothing names a host yet, and whose tool can be asked. */
  readonly open: readonly string[];
}

/**
 * The rules of presets that read the tools' own configuration, from the image. The bottle has not run yet, so this is what
 * the user's Dockerfile made.
 */
export async function imageRules(
  bottle: Bottle,
  { imagePresets: presets, rules: known }: Pick<LaunchOrder, 'imagePresets' | 'rules'>,
  home: string,
  signal: AbortSignal,
): Promise<ImageRules> {
  const rules: Rule[] = [];
  const problems: string[] = [];
  const open: string[] = [];
  for (const preset of presets) {
    const paths = preset === 'npm' || preset === 'pip' || preset === 'debian' ? places[preset](home) : [];
    const texts = (await Promise.all(paths.map((path) => textsBelow(bottle, path, signal)))).flat();
    const found = presetRules(preset, configsOf(preset, texts));
    rules.push(...found.rules);
    // The user's own configuration may have named one already.
    if (found.rules.length > 0 || known.some(({ origin }) => isOf(origin, preset))) continue;
    if (preset in questions) open.push(preset);
    else problems.push(...found.problems);
  }
  return { rules, problems, open };
}

function isOf(origin: RuleOrigin, preset: string): boolean {
  return origin.kind === 'preset' && origin.preset === preset;
}

/**
 * The rules of presets whose tools have no configuration, from the tools themselves: they are asked in the bottle, while
 * bottle-init holds it, so nothing of the agent's runs yet and nothing has a value of a variable.
 */
export async function toolRules(
  bottle: Bottle,
  presets: readonly string[],
  signal: AbortSignal,
): Promise<Omit<ImageRules, 'open'>> {
  const rules: Rule[] = [];
  const problems: string[] = [];
  for (const preset of presets) {
    const question = questions[preset];
    if (question === undefined) continue;
    const { argv, asConfig } = question;
    const { code, stdout } = await bottle.exec(argv, { timeoutMs: answerMs, signal });
    const text = code === 0 ? asConfig(stdout.trim().split('\n').at(-1) ?? '') : '';
    const found = presetRules(preset, configsOf(preset, [{ path: `${argv[0]} of the image`, text }]));
    rules.push(...found.rules);
    problems.push(...found.problems);
  }
  return { rules, problems };
}

function configsOf(preset: string, texts: readonly ConfigText[]): ToolConfigs {
  const none: ToolConfigs = { npm: [], pip: [], apt: [], env: {} };
  if (preset === 'npm') return { ...none, npm: texts };
  if (preset === 'pip') return { ...none, pip: texts };
  return { ...none, apt: texts.filter(({ path }) => /\/sources\.list$|\.list$|\.sources$/.test(path)) };
}

/** The files at or below a path of the image; none if there is nothing. */
async function textsBelow(bottle: Bottle, path: string, signal: AbortSignal): Promise<ConfigText[]> {
  const texts: ConfigText[] = [];
  const parent = path.slice(0, path.lastIndexOf('/'));
  try {
    await using sent = await bottle.copyOut(path, signal);
    for await (const entry of readTar(new ByteReader(sent.stdout))) {
      if (entry.type !== '0' || entry.size > maxBytes || texts.length >= maxFiles) continue;
      const chunks: Buffer[] = [];
      for await (const chunk of entry.body) chunks.push(Buffer.from(chunk));
      texts.push({ path: `${parent}/${entry.path}`, text: Buffer.concat(chunks).toString('utf8') });
    }
  } catch {
    // There is no such file in most images.
    signal.throwIfAborted();
  }
  return texts;
}
