import { chmod, mkdir } from 'node:fs/promises';
import type { BottlePlaces } from './places.ts';
import { type BottleRecord, createRecord, removeRecord, removeRuntime, writeRecord } from './record.ts';

/** Keeps a bottle's record true while the bottle changes. */
export class RecordKeeper implements AsyncDisposable {
  readonly #places: BottlePlaces;
  #record: BottleRecord;
  #isLeft = false;

  private constructor(places: BottlePlaces, record: BottleRecord) {
    this.#places = places;
    this.#record = record;
  }

  /** Writes the first record and makes the bottle's directories; before anything else of the bottle exists. */
  static async begin(places: BottlePlaces, record: BottleRecord): Promise<RecordKeeper> {
    await createRecord(places, record);
    await mkdir(places.scratch, { recursive: true, mode: 0o700 });
    await mkdir(places.run, { recursive: true, mode: 0o700 });
    // The user in the bottle passes through it; on the host the directory above keeps others out.
    await mkdir(places.mounted, { recursive: true });
    await chmod(places.mounted, 0o755);
    return new RecordKeeper(places, record);
  }

  get record(): BottleRecord {
    return this.#record;
  }

  async update(change: Partial<BottleRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await writeRecord(this.#places, this.#record);
  }

  /** Something of the bottle could not be removed: its record stays as it is, for the next command to try again. */
  leaveToReaper(): void {
    this.#isLeft = true;
  }

  /** Leaves nothing of a bottle that was never made, and no more than its record and log of one that was. */
  async [Symbol.asyncDispose](): Promise<void> {
    await removeRuntime(this.#places);
    if (this.#record.phase === 'making' && !this.#isLeft) await removeRecord(this.#places);
  }
}
