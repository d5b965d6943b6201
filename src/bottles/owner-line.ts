import { performance } from 'node:perf_hooks';
import { Interrupted } from '../process/errors.ts';
import { ifFits } from '../schema.ts';
import type { MessageLine } from './line.ts';
import { OwnerMessage, type StepName, type SupervisorEvent } from './messages.ts';

/** The supervisor's side of the line to whoever started it. */
export class OwnerLine {
  /** Resolves when the owner is gone, or wants out, and the bottle was not to go on without it. */
  readonly gone: Promise<void>;
  readonly #line: MessageLine;
  #isDetached: boolean;
  #wantsOut = false;
  #isLost = false;
  #onGo: () => void = () => undefined;
  #onGone: () => void = () => undefined;

  constructor(line: MessageLine, detached: boolean) {
    this.#line = line;
    this.#isDetached = detached;
    this.gone = new Promise((resolve) => (this.#onGone = resolve));
    line.listen((message) => this.#hear(message));
    void line.closed.then(() => {
      if (this.#isDetached) return;
      this.#isLost = !this.#wantsOut;
      this.#onGone();
    });
  }

  /** The owner went without a word, as SIGKILL makes it go: nobody is there to be told of work that stays in the bottle. */
  get isLost(): boolean {
    return this.#isLost;
  }

  send(event: SupervisorEvent): void {
    this.#line.send(event);
  }

  warn(text: string): void {
    this.send({ event: 'warning', text });
  }

  /** Does one step of the bottle's life and tells how long it took. */
  async step<T>(name: StepName, work: () => Promise<T>): Promise<T> {
    this.send({ event: 'step', name });
    const began = performance.now();
    const result = await work();
    this.send({ event: 'step', name, ms: performance.now() - began });
    return result;
  }

  /** Tells that the fence holds, and waits until an owner at its terminal has taken note. @throws Interrupted */
  async sealed(seal: { checks: number; ms: number }, signal: AbortSignal): Promise<void> {
    const answered = new Promise<void>((resolve) => (this.#onGo = resolve));
    this.send({ event: 'sealed', ...seal });
    if (this.#isDetached) return;
    await Promise.race([answered, this.gone]);
    if (signal.aborted) throw new Interrupted({ signal: 'SIGTERM' });
  }

  /** As if the owner were gone. */
  leave(): void {
    this.#wantsOut = true;
    this.#onGone();
  }

  flush(): Promise<void> {
    return this.#line.flush();
  }

  #hear(message: unknown): void {
    const known = ifFits(OwnerMessage, message);
    switch (known?.do) {
      case 'go':
        return this.#onGo();
      case 'abort':
        return this.leave();
      case 'detach':
        this.#isDetached = true;
        return undefined;
      case undefined:
        return undefined;
    }
  }
}
