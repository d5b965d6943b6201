import * as v from 'valibot';

/** Variables by which the bench tells the consumer what smolvm's command line has no room for. */
export const consumerVariables = {
  /** A directory of its own, in memory where the machine has it. The tree and `report.json` stay there. */
  root: 'BENCH_CONSUMER_ROOT',
  crane: 'BENCH_CRANE',
  node: 'BENCH_NODE',
} as const;

/** What the consumer did, in milliseconds, and where the tree is. */
export const ConsumerReport = v.object({
  layers: v.number(),
  tree: v.string(),
  tarBytes: v.number(),
  pulledMs: v.number(),
  mergedMs: v.number(),
  readMs: v.number(),
  totalMs: v.number(),
});
export type ConsumerReport = Readonly<v.InferOutput<typeof ConsumerReport>>;
