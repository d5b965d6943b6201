import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import * as v from 'valibot';

export const usage = `Usage: npm run bench -- pack|start|start-up|gate [options]

  --runs N             how often each way is measured (pack: 3, start: 11, start-up: 40, gate: 7)
  --quick              a small image and one run: shows that everything works, not how fast
  --source             pack: run ours from the sources as a checkout does, not from the package that npm installs
  --engine-host ADDR   measure this engine (unix:///path, tcp://...) instead of docker's own choice
  --directory DIR      where images are written before they are built, and caches kept (default: ${tmpdir()})
  --image IMAGE        start: what the bottles are made from; it needs sh (default: debian:bookworm-slim)
  --json               one JSON document instead of tables
`;

const Options = v.object({
  runs: v.optional(v.pipe(v.string(), v.transform(Number), v.safeInteger(), v.minValue(1))),
  quick: v.optional(v.boolean(), false),
  source: v.optional(v.boolean(), false),
  'engine-host': v.optional(v.string()),
  directory: v.optional(v.string(), tmpdir()),
  image: v.optional(v.string(), 'debian:bookworm-slim'),
  json: v.optional(v.boolean(), false),
});
export type Options = Readonly<v.InferOutput<typeof Options>>;

/** @throws Error for what is not an option or has a wrong value. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      runs: { type: 'string' },
      quick: { type: 'boolean' },
      source: { type: 'boolean' },
      'engine-host': { type: 'string' },
      directory: { type: 'string' },
      image: { type: 'string' },
      json: { type: 'boolean' },
    },
  });
  return v.parse(Options, values);
}
