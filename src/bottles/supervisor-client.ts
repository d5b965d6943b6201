import { fileURLToPath } from 'node:url';
import { type Daemon, startDaemon } from '../process/daemon.ts';
import { SupervisorGone } from './errors.ts';
import { MessageLine } from './line.ts';
import type { LaunchOrder, OwnerMessage, SupervisorEvent } from './messages.ts';

/** A checkout runs its sources, the package what was built from them. */
const program = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './supervise.ts' : './supervise.js', import.meta.url),
);
const modules = fileURLToPath(new URL('../../bin/modules.cjs', import.meta.url));
/**
 * One supervisor lives as long as its bottle, and there may be dozens: it is kept small rather than quick. V8 reads these
 * at its start.
 */
const nodeFlags = ['--max-semi-space-size=1', '--disable-warning=ExperimentalWarning'];
const maxWords = 4096;

/** The supervisor of one bottle, seen by the command that starts it. */
export class Supervisor {
  readonly #daemon: Daemon;
  readonly #line: MessageLine;
  #slug: string | undefined;
  #events: SupervisorEvent[] = [];
  #wake: () => void = () => undefined;
  #words = '';
  #isGone = false;

  private constructor(daemon: Daemon) {
    this.#daemon = daemon;
    this.#line = new MessageLine(daemon.stdout, daemon.stdin);
    this.#line.listen((message) => {
      // Our own program, in our own version.
      this.#events.push(message as SupervisorEvent);
      this.#wake();
    });
    daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#words = (this.#words + text).slice(-maxWords);
    });
    void daemon.ended.then(() => {
      this.#isGone = true;
      this.#wake();
    });
  }

  /** Starts one, which waits for its order. It ends by itself when we are gone without one. */
  static async start(): Promise<Supervisor> {
    return new Supervisor(
      await startDaemon(process.execPath, [...nodeFlags, '--require', modules, program], { cwd: '/' }),
    );
  }

  order(order: LaunchOrder): void {
    this.#slug = order.slug;
    this.#line.send(order);
  }

  tell(message: OwnerMessage): void {
    this.#line.send(message);
  }

  /** The next thing it tells. @throws SupervisorGone when it ended without a last word. */
  async next(): Promise<SupervisorEvent> {
    for (;;) {
      const event = this.#events.shift();
      if (event !== undefined) return event;
      if (this.#isGone) throw new SupervisorGone({ slug: this.#slug ?? '', words: this.#words.trim() });
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Lets this process end while the supervisor goes on. */
  release(): void {
    this.#daemon.release();
  }

  /** Ends one that never got its order; does nothing to any other. */
  async dismissUnordered(): Promise<void> {
    if (this.#slug === undefined) await this.dismiss();
  }

  /** Wants it to end in good order, and waits for that. */
  async dismiss(): Promise<void> {
    if (this.#slug !== undefined) this.tell({ do: 'abort' });
    this.#daemon.stdin.end();
    await this.#daemon.ended;
  }
}
