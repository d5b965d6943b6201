import { z } from 'zod';

/** Variables by which the bench tells the consumer what smolvm's command line has no room for. */
export const consumerVariables = {
  /** A directory of its own, in memory where the machine has it. The tree and `report.json` stay there. */
  root: 'BENCH_CONSUMER_ROOT',
  crane: 'BENCH_CRANE',
  node: 'BENCH_NODE',
} as const;

/** What the consumer did, in milliseconds, and where the tree is. */
export const ConsumerReport = z.object({
  layers: z.number(),
  tree: z.string(),
  tarBytes: z.number(),
  pulledMs: z.number(),
  mergedMs: z.number(),
  readMs: z.number(),
  totalMs: z.number(),
});
export type ConsumerReport = Readonly<z.infer<typeof ConsumerReport>>;
