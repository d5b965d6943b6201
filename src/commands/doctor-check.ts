import { explain } from './failures.ts';

/** One finding. `failed` keeps the main job from working, `warning` makes it worse. */
export interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly detail: string;
  readonly hint?: string;
}

/** What a check found, or the failure that it ended with, in its words. */
export async function orFailure(name: string, check: () => Promise<Check>): Promise<Check> {
  try {
    return await check();
  } catch (error) {
    const { what, why, hint } = explain(error);
    const detail = why === undefined ? what : `${what}. ${why.split('\n', 1)[0]}`;
    return { name, status: 'failed', detail, ...(hint === undefined ? {} : { hint }) };
  }
}

/** What not everybody needs keeps nobody else from working. @param without what it is like, as "without it nothing is packed". */
export async function optional(without: string, check: Promise<Check>): Promise<Check> {
  const found = await check;
  if (found.status !== 'failed') return found;
  return { ...found, status: 'warning', detail: `${found.detail.replace(/\.$/, '')}; ${without}` };
}
