import type { Bottle, BottleStatus } from '../backends/backend.ts';
import type { RecordKeeper } from './keeper.ts';

/** Once nothing keeps bottle-init, it ends at once. Milliseconds. */
const endMs = 5_000;

/** A bottle that goes when its supervisor does, if it is not to be kept. */
export class MadeBottle implements AsyncDisposable {
  readonly bottle: Bottle;
  readonly #keeper: RecordKeeper;
  #isDone = false;

  constructor(bottle: Bottle, keeper: RecordKeeper) {
    this.bottle = bottle;
    this.#keeper = keeper;
  }

  /**
   * Lets it end by itself, then removes it, or leaves it as it stopped.
   * @returns how it stands in between: engines say only then whether its memory ran out.
   */
  async end(keeps: boolean): Promise<BottleStatus | undefined> {
    await this.bottle.stop(endMs);
    const status = await this.bottle.status().catch(() => undefined);
    if (!keeps) await this.bottle.remove();
    this.#isDone = true;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return;
    if (this.#keeper.record.phase === 'running') {
      // Its command may have worked, and the work is not out: what failed must not take it along. Without its gate the
      // bottle is sealed, and the next command saves the work and removes it.
      this.#keeper.leaveToReaper();
      return;
    }
    try {
      await this.bottle.remove();
    } catch (error) {
      // The next command finds the record and tries again.
      this.#keeper.leaveToReaper();
      throw error;
    }
  }
}
