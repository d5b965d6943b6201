/** The spinner that smolvm turns every 200 ms, whether or not anybody watches (src/cli/pack.rs `Spinner`). */
export class Spinner {
  readonly #label: string;
  readonly #timer: NodeJS.Timeout;
  #frame = 0;
  #stopped = false;

  constructor(label: string) {
    this.#label = label;
    this.#timer = setInterval(() => this.#turn(), 200);
    this.#turn();
  }

  /** Also after a failure: smolvm says `done` then, too. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    process.stdout.write(`\r\u001b[K${this.#label} done\n`);
  }

  #turn(): void {
    const frames = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';
    process.stdout.write(`\r${frames[this.#frame % frames.length]} ${this.#label}\u001b[K`);
    this.#frame += 1;
  }
}

/** The pull's line on standard error (src/cli/mod.rs `pull_with_progress`). */
export class PullLine {
  readonly #image: string;
  #percent = 0;
  #syncing = false;

  constructor(image: string) {
    this.#image = image;
    process.stderr.write(`Pulling image ${image}...`);
  }

  update(done: number, of: number, layer: string): void {
    if (layer === 'syncing') {
      if (!this.#syncing) {
        process.stderr.write(`\rPulling image ${this.#image}... [====================] 100% — syncing...`);
      }
      this.#syncing = true;
      return;
    }
    const percent = of === 0 ? 0 : Math.floor((done * 100) / of);
    if (percent === this.#percent) return;
    this.#percent = percent;
    const filled = Math.floor(percent / 5);
    const bar = `${'='.repeat(filled)}>`.slice(0, 20).padEnd(20);
    process.stderr.write(`\rPulling image ${this.#image}... [${bar}] ${percent}%`);
  }

  /** Printed for a failed pull, too. */
  done(): void {
    process.stderr.write(`\rPulling image ${this.#image}... done.                              \n`);
  }
}
