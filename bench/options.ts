import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { z } from 'zod';

export const usage = `Usage: npm run bench -- pack|start|start-up|gate [options]

  --runs N             how often each way is measured (pack: 3, start: 11, start-up: 40, gate: 7)
  --quick              a small image and one run: shows that everything works, not how fast
  --source             pack: run ours from the sources as a checkout does, not from the package that npm installs
  --engine-host ADDR   measure this engine (unix:///path, tcp://...) instead of docker's own choice
  --directory DIR      where images are written before they are built, and caches kept (default: ${tmpdir()})
  --image IMAGE        start: what the bottles are made from; it needs sh (default: debian:bookworm-slim)
  --json               one JSON document instead of tables
`;

const Options = z.object({
  runs: z.coerce.number().int().positive().optional(),
  quick: z.boolean().default(false),
  source: z.boolean().default(false),
  'engine-host': z.string().optional(),
  directory: z.string().default(tmpdir()),
  image: z.string().default('debian:bookworm-slim'),
  json: z.boolean().default(false),
});
export type Options = Readonly<z.infer<typeof Options>>;

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
  return Options.parse(values);
}
